/** What a Turn has seen of the model. `says`: what happened and the mend, for a person. */
export type ModelSign =
  | { readonly kind: "answered" }
  /** The credential, the name of the model or the account: waiting mends nothing. */
  | { readonly kind: "refused"; readonly says: string }
  /** It was reached and gave no answer: overloaded, limited, broken or silent. */
  | { readonly kind: "strained"; readonly says: string }
  | { readonly kind: "unreached"; readonly says: string };
