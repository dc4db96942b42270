import type { PendingApproval } from "../../src/protocol/api.ts";
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

/** A request as the Broker would make it; each with an id and a hash of its own. */
export function aRequest(
  session: SessionId,
  n: number,
  wish: Partial<PendingApproval> = {},
): PendingApproval {
  const at = Date.now() - 40_000 + n * 1000;
  return {
    approval: `aaaaaaaa-0000-4000-8000-00000000000${n}`,
    session_id: session,
    session_name: "Devvm does not answer",
    target: "devvm",
    account: "root",
    command: "journalctl --vacuum-size=1G && systemctl start postgresql",
    stdin: { bytes: 0, sha256: "e3b0c442".repeat(8), text: "" },
    sha256: `${n}f2a7c1e`.repeat(8),
    asked_at: new Date(at).toISOString(),
    expires_at: new Date(at + 10 * 60_000).toISOString(),
    why: "The account root on devvm is privileged.",
    ...wish,
  };
}

const script = `#!/bin/sh
set -eu
# Frees the root file system, then starts what needs it.
journalctl --vacuum-size=1G
rm -rf /var/tmp/build-*\u200b
echo "done \u202etxt.exe"
systemctl start p\u043estgresql
`;

/** A request with a here-document in which not everything is what it seems. */
export function trickyRequest(session: SessionId, n: number): PendingApproval {
  const stdin = { bytes: Buffer.byteLength(script), sha256: "5d41402a".repeat(8), text: script };
  return aRequest(session, n, { command: "bash -s", stdin });
}

export function binaryRequest(session: SessionId, n: number): PendingApproval {
  const bytes = Buffer.from("\u007fELF\u0002\u0001\u0001\u0000", "latin1");
  const stdin = {
    bytes: 256,
    sha256: "0a1b2c3d".repeat(8),
    base64: Buffer.concat([bytes, Buffer.alloc(248, 0xe9)]).toString("base64"),
  };
  return aRequest(session, n, {
    command: "cat > /usr/local/bin/repair && chmod +x /usr/local/bin/repair",
    stdin,
  });
}

export function verbRequest(session: SessionId, n: number): PendingApproval {
  return aRequest(session, n, {
    account: "hypervisor",
    command: "cycle",
    why: "cycle changes the machine.",
  });
}

/** What a Runbook found, with a step that gave no answer. */
export function triageByRunbook(server: FakeServer, session: SessionId): void {
  const by = { turn, by: "ana" };
  const named = { name: "triage", title: "Triage", target: "devvm" };
  server.append(session, { kind: "runbook", phase: "started", ...named }, by);
  call(server, session, 0, "df -P", "/dev/vda1 62914560 62914560 0 100% /\n");
  server.append(
    session,
    {
      kind: "runbook",
      phase: "settled",
      ...named,
      findings: [
        {
          level: "bad",
          step: "Disks",
          says: "/ is full.",
          evidence: "/dev/vda1   62914560  62914560         0  \u001b[31m100%\u001b[0m /",
          next: "Look at what fills it: the Disk runbook.",
        },
        {
          level: "warning",
          step: "Units",
          says: "1 unit has failed.",
          evidence: "● postgresql.service loaded failed failed <b>PostgreSQL</b> \u202eRDBMS",
        },
      ],
      unanswered: [{ step: "Kernel", reason: "No answer within 10 s." }],
      summary: "The root file system is full, and a unit has failed.",
      next: "Free space on /, then start postgresql.service.",
    },
    by,
  );
  server.append(session, { kind: "turn_end", reason: "done" }, by);
}

/** Asked, approved, run; asked, denied; ended from here; an output of which the record has a part. */
export function decidedThings(server: FakeServer, session: SessionId): void {
  const by = { turn, by: "agent" };
  server.append(session, { kind: "user", text: "Repair it" }, { turn, by: "ana" });
  const first = aRequest(session, 1);
  server.askApproval(first);
  server.decideApproval(first, { decision: "approved" }, "ana");
  const did = { kind: "exec", n: 5, target: "devvm", account: "root", approval: first.approval } as const;
  server.append(session, { ...did, command: first.command, phase: "started" }, by);
  server.append(
    session,
    {
      ...did,
      command: first.command,
      phase: "settled",
      end: { kind: "exited", code: 0 },
      duration_ms: 1800,
      bytes: 190_000,
      excerpt: "Vacuuming done, freed 37.2G of archived journals\n",
      cut: { bytes: 190_000, whole: `/api/session/${session}/exec/5` },
    },
    by,
  );
  server.outputs.set("/exec/5", `${"Deleted archived journal\n".repeat(4000)}<b>the end</b>\n`);
  const second = verbRequest(session, 2);
  server.askApproval(second);
  server.decideApproval(second, { decision: "denied" }, "ben");
  const third = {
    kind: "exec",
    n: 6,
    target: "devvm",
    account: "observer",
    command: "tail -f /var/log/syslog",
  } as const;
  server.append(session, { ...third, phase: "started" }, by);
  const end = { kind: "ended", reason: "The turn was stopped." } as const;
  server.append(session, { ...third, phase: "settled", end, duration_ms: 9000, bytes: 0, excerpt: "" }, by);
  server.append(
    session,
    {
      kind: "mode",
      mode: "autonomous",
      until: new Date(Date.now() + 9e5).toISOString(),
      back_to: "supervised",
    },
    { by: "ana" },
  );
  server.append(session, { kind: "turn_end", reason: "done" }, by);
}
