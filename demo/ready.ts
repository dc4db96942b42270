/** What `demo/main.mjs` prints, as one line of JSON on stdout, once everything answers. */
export interface DemoReady {
  readonly guest: {
    readonly host: string;
    readonly port: number;
    /** The account that may do everything (root, and `sudo -n` works too). */
    readonly user: string;
    /** The account that owns nothing (groups adm, systemd-journal). */
    readonly observeUser: string;
    /** As in a `known_hosts` line, without the host: `ssh-ed25519 AAAA…`. */
    readonly hostKey: string;
  };
  readonly hypervisor: {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly hostKey: string;
    readonly vmid: number;
  };
  /** OpenSSH format, 0600, without a passphrase; opens all three accounts and nothing else. */
  readonly privateKeyPath: string;
  /** ANTHROPIC_BASE_URL of the model stand-in. */
  readonly modelUrl: string;
  /** A unix socket: one line of JSON each way, `{"do":"wedge"}`, `{"do":"state"}`; see demo/vm/control.ts. */
  readonly controlPath: string;
}

/** The ready line as it came from the child; undefined when it is none (Node may print warnings before it). */
export function parseReadyLine(line: string): DemoReady | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "controlPath" in value
      ? (value as DemoReady)
      : undefined;
  } catch {
    return undefined;
  }
}
