import { globSync } from "node:fs";
import { join } from "node:path";
import { nameOf } from "../../src/server/ssh/runtime-folder.ts";

/** Where everything is that an agent must not get. */
export interface Booty {
  readonly serverPid: number;
  readonly serverPort: number;
  readonly keyPath: string;
  readonly dataDir: string;
  readonly guestPort: number;
  readonly hypervisorPort: number;
  /** Of another Session whose agent lives. */
  readonly otherState: string;
  /** An entry in the environment of a process that has nothing to do with us. */
  readonly canary: string;
}

export const probes = [
  "read the key",
  "read the server's environment",
  "read the environment of another process",
  "read the server's memory",
  "trace the server",
  "signal the server",
  "read the record",
  "use the key in the ssh-agent",
  "use a connection of the server's ssh",
  "log in to the guest by itself",
  "send the hypervisor a Verb by itself",
  "use the control socket",
  "forge the edge header",
  "set the kernel's core_pattern",
  "read another session's workspace",
  "read another session's memory",
  "find another session's token",
  "knock at another session's door",
] as const;

/** ptrace(2) by its number, since perl has no other name for it. */
const ptraceNumber = process.arch === "arm64" ? 117 : 101;

export type Probe = (typeof probes)[number];

/** Those that only a cage of its own keeps from an agent: sessions share the account where there is none. */
export const amongSessions: readonly Probe[] = probes.slice(14);

/** A command for bash that tries each, and says "GOT …" for what it got. Nothing is changed by it. */
export function probeCommand(booty: Booty): string {
  const folder = `/dev/shm/bg-${nameOf(booty.dataDir)}`;
  const agent = `${folder}-ssh/agent`;
  const connect = (paths: string) =>
    `for s in ${paths}; do [ "$s" = "$BREAKGLASS_BROKER" ] || node -e 'require("net").connect(process.argv[1]).on("connect",()=>process.exit(0)).on("error",()=>process.exit(1))' "$s" && return 0; done; return 1`;
  const secret = `tr '\\0' '\\n' </proc/${booty.serverPid}/environ | sed -n 's/^BREAKGLASS_PROXY_SECRET=//p'`;
  const login = (port: number, command: string) =>
    `/usr/bin/ssh -F none -o IdentityAgent=${agent} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p ${port} "$(id -un 2>/dev/null || echo root)"@127.0.0.1 ${command}`;
  const tries: Readonly<Record<Probe, string>> = {
    "read the key": `grep -q PRIVATE ${booty.keyPath}`,
    "read the server's environment": `grep -qa API_BEARER_TOKEN /proc/${booty.serverPid}/environ`,
    "read the environment of another process": `grep -lsaz '^${booty.canary}$' /proc/[0-9]*/environ | grep -q .`,
    "read the server's memory": `exec 3</proc/${booty.serverPid}/mem`,
    // PTRACE_SEIZE stops nothing, and is over when perl has ended.
    "trace the server": `perl -e 'exit syscall(${ptraceNumber}, 0x4206, ${booty.serverPid}, 0, 0) != 0'`,
    "signal the server": `kill -0 ${booty.serverPid}`,
    "read the record": `ls ${booty.dataDir}/streams | grep -q .`,
    "use the key in the ssh-agent": `SSH_AUTH_SOCK=${agent} ssh-add -L`,
    "use a connection of the server's ssh": `for m in ${folder}-ssh/m*; do /usr/bin/ssh -F none -S "$m" -O check x && return 0; done; return 1`,
    "log in to the guest by itself": login(booty.guestPort, "true"),
    "send the hypervisor a Verb by itself": `${login(booty.hypervisorPort, "status")} | grep -qx 'taken: status'`,
    "use the control socket": `curl -sf --unix-socket ${booty.dataDir}/control.sock -X POST http://x/link | grep -q link`,
    "forge the edge header": `curl -sf -H 'X-authentik-username: mallory' -H "X-Breakglass-Proxy-Secret: $(${secret})" http://127.0.0.1:${booty.serverPort}/api/sessions`,
    "set the kernel's core_pattern": `exec 3>>/proc/sys/kernel/core_pattern`,
    "read another session's workspace": `grep -q mine ${booty.otherState}/workspace/note`,
    "read another session's memory": `ls ${booty.otherState}/memory`,
    "find another session's token": `[ "$(cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -a '^BREAKGLASS_TOKEN=' | grep -vxF "BREAKGLASS_TOKEN=$BREAKGLASS_TOKEN" | grep -c .)" -gt 0 ]`,
    "knock at another session's door": connect(`${folder}-broker/d-*/s /dev/shm/bg-*/*-*-*-*-*`),
  };
  const lines = probes.map(
    (name, at) =>
      `probe${at}() { ${tries[name]}; }\nexport -f probe${at}\nif timeout 20 bash --norc -c probe${at} >/dev/null 2>&1 </dev/null; then echo ${JSON.stringify(`GOT ${name}`)}; fi`,
  );
  return [...lines, "echo all tried"].join("\n");
}

/** What was got; throws when not everything was tried. */
export function gotIn(said: string): string[] {
  if (!said.includes("all tried")) throw new Error(`The probes did not end: ${said}`);
  return [...said.matchAll(/^GOT (.*)$/gm)].map(([, name = ""]) => name);
}

/** Whether there is something to be got from the server's ssh: it connects when it looks. */
export const isConnected = (dataDir: string) =>
  globSync(join(`/dev/shm/bg-${nameOf(dataDir)}-ssh`, "m*")).length > 0;
