import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSsh, type Ssh } from "../../src/server/ssh/ssh.ts";
import { makeKey, startSshd, type Sshd } from "../doubles/sshd.ts";
import { startRelay, type Relay } from "../doubles/relay.ts";

let dir: string;
let sshd: Sshd;
let relay: Relay;
let ssh: Ssh;
const limits = { outputBytesMax: 10_000, deadlineMs: 60_000 };

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bg-half-"));
  const key = makeKey(dir, "key");
  sshd = await startSshd({ authorizedKeys: [key.publicKey], dir, config: ["MaxSessions 10"] });
  relay = await startRelay(sshd.port);
  ssh = await openSsh({
    hosts: [
      {
        alias: "pve",
        hostName: "127.0.0.1",
        port: relay.port,
        user: sshd.user,
        side: "hypervisor",
        pinnedHostKey: sshd.hostPublicKey,
      },
    ],
    keyPath: key.path,
    knownHostsDir: dir,
  });
});
afterEach(async () => {
  await ssh.close();
  await relay.close();
  await sshd.stop();
  rmSync(dir, { recursive: true });
});

const say = (words: string) => ssh.run("pve", [`echo ${words}`], limits);
const file = (name: string) => join(dir, name);
/** On the far side: goes on when the test has made the file, or when the test is over. */
const waitFor = (name: string) => `while [ -e ${dir} ] && ! [ -e ${file(name)} ]; do sleep 0.05; done`;

test("a call that may be repeated is answered over a fresh line when the warm one has gone deaf", async () => {
  await say("warm");
  relay.goDeaf();
  const answer = await ssh.run("pve", ["echo fresh"], { ...limits, repeatable: { firstOutputMs: 500 } });
  expect(answer).toMatchObject({
    exit: { kind: "exited", code: 0 },
    stdout: "fresh\n",
    deadlinePassed: false,
  });
});

test("any other call ends with its deadline, and what comes next is not kept waiting for it", async () => {
  await say("warm");
  relay.goDeaf();
  const deaf = () => ssh.run("pve", ["echo never"], { ...limits, deadlineMs: 500 });
  expect(await Promise.all([deaf(), deaf()])).toMatchObject([
    { deadlinePassed: true },
    { deadlinePassed: true },
  ]);
  expect((await say("next")).stdout).toBe("next\n");
});

test("without a deadline it goes over another line when keepalives have given this one up, and it runs once", async () => {
  await say("warm");
  relay.goDeaf();
  const command = `echo run >> ${file("runs")}; echo late`;
  expect(await ssh.run("pve", [command], { ...limits, deadlineMs: null })).toMatchObject({
    exit: { kind: "exited", code: 0 },
    stdout: "late\n",
  });
  expect(readFileSync(file("runs"), "utf8")).toBe("run\n");
});

test("a command that was running when the line went deaf is not sent again", async () => {
  const heard = Promise.withResolvers<void>();
  const command = `echo run >> ${file("runs")}; echo begun; ${waitFor("never")}`;
  const call = ssh.run("pve", [command], { ...limits, deadlineMs: null, onOutput: () => heard.resolve() });
  await heard.promise;
  relay.goDeaf();
  expect(await call).toMatchObject({ exit: { kind: "exited", code: 255 }, stdout: "begun\n" });
  expect(readFileSync(file("runs"), "utf8")).toBe("run\n");
});

test("a call that is to be repeated where nothing passes any more ends with its deadline", async () => {
  await say("warm");
  relay.goDeaf("all");
  const answer = await ssh.run("pve", ["echo never"], {
    ...limits,
    deadlineMs: 3_000,
    repeatable: { firstOutputMs: 500 },
  });
  expect(answer).toMatchObject({ stdout: "", deadlinePassed: true });
});

test("a host that takes the connection and then says nothing is not reached, and nothing was sent", async () => {
  relay.goDeaf("all");
  const { exit } = await ssh.run("pve", ["echo never"], { ...limits, deadlineMs: null });
  expect(exit).toMatchObject({ kind: "not_sent", cause: "unreachable" });
});

test("a long call that has spoken in time is not sent again, and its output comes as it is said", async () => {
  const shown: string[] = [];
  const heard = Promise.withResolvers<void>();
  const command = `echo run >> ${file("runs")}; echo begun; sleep 4; ${waitFor("go")}; echo end`;
  const call = ssh.run("pve", [command], {
    ...limits,
    deadlineMs: null,
    repeatable: { firstOutputMs: 3_000 },
    onOutput: (_channel, text) => (shown.push(text), heard.resolve()),
  });
  await heard.promise;
  expect(shown).toEqual(["begun\n"]);
  writeFileSync(file("go"), "");
  expect(await call).toMatchObject({ exit: { kind: "exited", code: 0 }, stdout: "begun\nend\n" });
  expect(readFileSync(file("runs"), "utf8")).toBe("run\n");
});

test("of a call that was sent twice the one that spoke is the answer to its end, whatever becomes of the other", async () => {
  const shown: string[] = [];
  const heard = Promise.withResolvers<void>();
  // The first to arrive keeps silent, and ends long before the second.
  const command = `if mkdir ${file("first")}; then ${waitFor("go1")}; echo slow; else echo quick; ${waitFor("go2")}; echo end; fi 2>/dev/null`;
  const call = ssh.run("pve", [command], {
    ...limits,
    deadlineMs: null,
    repeatable: { firstOutputMs: 500 },
    onOutput: (_channel, text) => (shown.push(text), heard.resolve()),
  });
  await heard.promise;
  writeFileSync(file("go1"), "");
  // Another call goes there and back: by then the slow one has ended too, or does so later. Neither may matter.
  await say("between");
  writeFileSync(file("go2"), "");
  expect(await call).toMatchObject({ exit: { kind: "exited", code: 0 }, stdout: "quick\nend\n" });
  expect(shown.join("")).toBe("quick\nend\n");
});

test("slow twins of calls that were sent twice take no place from others", async () => {
  for (let n = 0; n < 9; n++) {
    await say("warm");
    relay.goDeaf();
    const answer = await ssh.run("pve", [`echo ${n}`], {
      ...limits,
      deadlineMs: null,
      repeatable: { firstOutputMs: 200 },
    });
    expect(answer.stdout).toBe(`${n}\n`);
  }
  const together = Array.from({ length: 8 }, (_, n) =>
    ssh.run("pve", [`touch ${file(`at${n}`)}; ${waitFor("at0")}; ${waitFor("at7")}; echo met`], {
      ...limits,
      // Two of the eight places are for what is urgent.
      urgent: n >= 6,
    }),
  );
  expect((await Promise.all(together)).map(({ stdout }) => stdout)).toEqual(together.map(() => "met\n"));
});

test("a hundred calls at once over one connection: none fails", async () => {
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, n) =>
      ssh.run("pve", [`echo $PPID ${n}`], { ...limits, repeatable: { firstOutputMs: null } }),
    ),
  );
  expect(answers.map(({ exit, stderr }) => ({ exit, stderr }))).toEqual(
    answers.map(() => ({ exit: { kind: "exited", code: 0 }, stderr: "" })),
  );
  expect(answers.map(({ stdout }) => Number(stdout.split(" ")[1]))).toEqual(
    Array.from({ length: 100 }, (_, n) => n),
  );
  expect(new Set(answers.map(({ stdout }) => stdout.split(" ")[0])).size).toBe(1);
});
