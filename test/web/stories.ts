import type { SessionId, TurnId } from "../../src/protocol/ids.ts";
import type { FakeServer } from "./fake-server.ts";

const turn: TurnId = "11111111-1111-4111-8111-111111111111";

const findings = `## What is wrong

The root file system is **full**, and that is why \`postgresql.service\` cannot start.

| mount | used | free |
|---|---|---|
| \`/\` | 100 % | 0 B |
| \`/srv\` | 41 % | 112 GiB |

1. \`/var/log/journal\` holds **38 GiB**.
2. \`postgresql.service\` failed at 03:12: *No space left on device*.
3. Memory and load are fine.

\`\`\`
journalctl --vacuum-size=1G
systemctl start postgresql
\`\`\`

Nothing was changed. The first command frees about 37 GiB and touches logs only.`;

/** A Triage as it reads while it runs: prompt, words, a tool with its brokered command. */
export function beginTriage(server: FakeServer, session: SessionId): void {
  const by = { turn, by: "agent" };
  server.append(
    session,
    { kind: "user", text: "Look at devvm: Triage. Change nothing." },
    { turn, by: "ana" },
  );
  server.append(session, { kind: "session", session_id: "agent-1" }, by);
  server.append(session, { kind: "text", text: "I look at load, memory, disks and failed units first." }, by);
  call(server, session, 0, "uptime && free -m", " 09:41:02 up 12 days, load average: 0.42, 0.38, 0.30\n");
  call(
    server,
    session,
    1,
    "df -h",
    "Filesystem  Size  Used Avail Use%\n/dev/vda1    60G   60G     0 \u001b[31m100%\u001b[0m /\n",
  );
  server.append(
    session,
    { kind: "tool", name: "Bash", tool_id: "t2", input: { command: "ssh devvm 'systemctl --failed'" } },
    by,
  );
  const exec = {
    kind: "exec",
    n: 2,
    target: "devvm",
    account: "breakglass",
    command: "systemctl --failed",
  } as const;
  server.append(session, { ...exec, phase: "started" }, by);
}

export function endTriage(server: FakeServer, session: SessionId): void {
  const by = { turn, by: "agent" };
  const output = "● postgresql.service loaded failed failed PostgreSQL RDBMS\n1 loaded units listed.\n";
  settle(server, session, 2, "systemctl --failed", output);
  server.append(session, { kind: "tool_result", tool_id: "t2", is_error: false, text: output }, by);
  server.append(session, { kind: "text", text: findings }, by);
  server.append(
    session,
    { kind: "result", is_error: false, result: "", duration_ms: 41_200, cost_usd: 0.0731 },
    by,
  );
  server.append(session, { kind: "turn_end", reason: "done" }, by);
}

/** Short Turns until the log holds this many Events. */
export function fill(server: FakeServer, session: SessionId, events: number): void {
  for (let n = server.logs.get(session)!.length / 5; server.logs.get(session)!.length < events; n++) {
    const extra = { turn: `22222222-2222-4222-8222-${String(n).padStart(12, "0")}` };
    server.append(session, { kind: "user", text: `Question ${n}` }, extra);
    server.append(
      session,
      { kind: "tool", name: "Bash", tool_id: `f${n}`, input: { command: `ssh devvm 'echo ${n}'` } },
      extra,
    );
    server.append(
      session,
      { kind: "tool_result", tool_id: `f${n}`, is_error: false, text: String(n) },
      extra,
    );
    server.append(session, { kind: "text", text: `Answer **${n}**.` }, extra);
    server.append(session, { kind: "turn_end", reason: "done" }, extra);
  }
}

function call(server: FakeServer, session: SessionId, n: number, command: string, output: string): void {
  const by = { turn, by: "agent" };
  server.append(
    session,
    { kind: "tool", name: "Bash", tool_id: `t${n}`, input: { command: `ssh devvm '${command}'` } },
    by,
  );
  server.append(
    session,
    { kind: "exec", phase: "started", n, target: "devvm", account: "breakglass", command },
    by,
  );
  settle(server, session, n, command, output);
  server.append(session, { kind: "tool_result", tool_id: `t${n}`, is_error: false, text: output }, by);
}

function settle(server: FakeServer, session: SessionId, n: number, command: string, excerpt: string): void {
  const end = { kind: "exited", code: 0 } as const;
  const did = { kind: "exec", n, target: "devvm", account: "breakglass", command } as const;
  const told = { end, duration_ms: 180 + n * 37, bytes: excerpt.length, excerpt };
  server.append(session, { ...did, phase: "settled", ...told }, { turn, by: "agent" });
}
