import type { Mode, Preset } from "../../protocol/api.ts";
import type { AddressRange } from "./ranges.ts";

/** Everything that an Operator may set, checked. Read once at start, by `readConfig`. */
export interface Config {
  readonly listen: Endpoint;
  /** The origin under which browsers reach the page, as browsers write it: `https://rescue.example.org`. */
  readonly publicUrl: string | null;
  readonly dataDir: string;
  /** The agent's own state: outside the store, unredacted. */
  readonly sessionsDir: string;
  /** The first is the default Target. Empty: nothing can be rescued. */
  readonly targets: readonly TargetConfig[];
  readonly keyPath: string | null;
  readonly agent: AgentConfig;
  readonly mode: Mode;
  readonly isolation: IsolationChoice;
  /** Ends the waiting for a Verb, never the Job. */
  readonly verbTimeoutSeconds: number;
  readonly sseKeepaliveSeconds: number;
  readonly auth: AuthConfig;
  /** null: the built-in five. */
  readonly presets: readonly Preset[] | null;
  /** As they stand in the file, under `runbooks`: read and checked by their room. */
  readonly runbooks: readonly unknown[];
  /** No Target and no file was named: then the demo is what a newcomer wants. */
  readonly nothingConfigured: boolean;
}

export interface Endpoint {
  /** An IP address without brackets, or a name. */
  readonly host: string;
  readonly port: number;
}

/** At least one side is there. */
export interface TargetConfig {
  readonly name: string;
  readonly guest?: GuestConfig;
  readonly power?: PowerConfig;
}

export interface GuestConfig extends Endpoint {
  readonly user: string;
  /** The account that owns nothing; without it every command runs as `user`, and needs an Approval. */
  readonly observeUser?: string;
}

export interface PowerConfig extends Endpoint {
  readonly user: string;
  /** Only where the forced command serves several machines. */
  readonly vmid?: number;
}

export interface AgentConfig {
  readonly definitionPath: string;
  /** null: the agent's own default. */
  readonly model: string | null;
  /** null: the executable that comes with the SDK. */
  readonly claudePath: string | null;
  readonly maxConcurrentTurns: number;
  readonly turnTimeoutSeconds: number;
  readonly silenceTimeoutSeconds: number;
  readonly modelCallsMax: number;
  readonly outputCharsMax: number;
  /** null: no limit. */
  readonly turnCostUsdMax: number | null;
  readonly warmMax: number;
  /** Passed on to the agent's environment, and shown to nobody. */
  readonly credentials: Readonly<Record<string, string>>;
  /** One sentence: Turns are refused with it, because an option of the agent is wrong. */
  readonly problem: string | null;
}

/** How agents are to be confined. "auto": by bubblewrap where it works, and no Turns elsewhere. */
export type IsolationChoice =
  | { readonly kind: "auto" | "bubblewrap" | "none" }
  | { readonly kind: "account"; readonly account: string }
  | { readonly kind: "runner"; readonly socketPath: string };
export type Scope = "operate" | "read";

export interface AuthConfig {
  readonly tokens: readonly TokenConfig[];
  readonly trustedProxies: readonly AddressRange[];
  readonly proxySecret: string | null;
  /** The header in which a trusted proxy names the person. */
  readonly edgeHeader: string;
}

/** The token itself is not kept, so that nothing can print it. */
export interface TokenConfig {
  readonly name: string;
  readonly scope: Scope;
  /** Lower-case hex of the token's bytes. */
  readonly sha256: string;
}

export interface Problem {
  /** A variable's name, or a place in the file: `targets[0].guest.host`. */
  readonly option: string;
  /** As it was given, shortened; never a secret's. */
  readonly value: string;
  /** What is wrong, what holds until it is mended, and how to mend it. */
  readonly mend: string;
  /** The server does not start. */
  readonly stops: boolean;
}
