/** What nobody needs at the first look. One file of its own, so that the first load stays small. */
export { default as ConfirmVerb } from "./ConfirmVerb.svelte";
export { default as Evidence } from "./Evidence.svelte";
export { default as HostKey } from "./HostKey.svelte";
export { default as OperationForensics } from "./OperationForensics.svelte";
export { default as Sessions } from "./Sessions.svelte";
