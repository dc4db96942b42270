import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { run } from "../../src/server/process/run.ts";
import { start } from "../../src/server/process/start.ts";

const env = { PATH: "/usr/bin:/bin" };
const limits = { outputBytesMax: 1_000, deadlineMs: 60_000 };

test.each([
  ["a file that does not exist", "no-such-program", [], "ENOENT"],
  ["an argument that is too long for the kernel", "true", ["x".repeat(200_000)], "E2BIG"],
])("%s is a process that never started, with nothing to read", async (_name, file, args, code) => {
  const running = start({ file, args, env, stdin: "pipe" });
  running.stdin!.end("into the void");
  running.kill();
  expect(await running.exit).toMatchObject({ kind: "not_started", error: { code } });
  const ended = await run({ file, args, env }, limits, { input: "into the void" });
  expect(ended).toMatchObject({ exit: { kind: "not_started" }, stdout: "", stderr: "" });
});

test("a server out of file descriptors lives on and starts processes again when some are free", async () => {
  const file = (name: string) => JSON.stringify(new URL(`../../src/server/process/${name}`, import.meta.url));
  const program = `
    import { closeSync, openSync } from "node:fs";
    import { start } from ${file("start.ts")};
    import { run } from ${file("run.ts")};
    const command = { file: "true", args: [], env: ${JSON.stringify(env)} };
    const taken = [];
    for (;;) try { taken.push(openSync("/dev/null")); } catch { break; }
    const running = start({ ...command, stdin: "pipe" });
    running.stdin.end("into the void");
    let said = "";
    for await (const chunk of running.stdout) said += chunk;
    for await (const chunk of running.stderr) said += chunk;
    running.abandon();
    const first = await running.exit;
    const second = (await run(command, ${JSON.stringify(limits)}, { input: "void" })).exit;
    for (const fd of taken) closeSync(fd);
    const third = (await run(command, ${JSON.stringify(limits)})).exit;
    console.log(JSON.stringify({ said, exits: [first, second, third].map((e) => e.error?.code ?? e.code) }));
  `;
  const { stdout } = await promisify(execFile)(
    "/bin/sh",
    ["-c", 'ulimit -n 64; exec "$0" --input-type=module -e "$1"', process.execPath, program],
    { env },
  );
  expect(JSON.parse(stdout)).toEqual({ said: "", exits: ["EMFILE", "EMFILE", 0] });
});

test("a command that is called off, before it runs or while it does, is killed", async () => {
  const cancel = new AbortController();
  const command = { file: "sh", args: ["-c", "echo begun; sleep 1000 & wait"], env };
  const ended = await run(command, limits, {
    cancel: cancel.signal,
    onOutput: () => cancel.abort(),
  });
  expect(ended).toMatchObject({ exit: { kind: "signalled", signal: "SIGKILL" }, deadlinePassed: false });
  expect((await run(command, limits, { cancel: cancel.signal })).exit.kind).toBe("signalled");
});
