import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openKeyAgent, type KeyAgent } from "../../src/server/ssh/key.ts";
import { openKnownHosts } from "../../src/server/ssh/known-hosts.ts";
import { makeKey } from "../doubles/sshd.ts";

let dir: string;
let key: ReturnType<typeof makeKey>;
let opened: KeyAgent[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bg-key-"));
  key = makeKey(dir, "key");
  opened = [];
});

afterEach(async () => {
  await Promise.all(opened.map((agent) => agent.close()));
  rmSync(dir, { recursive: true });
});

function open(more: { path?: string; publicKeyPath?: string } = {}): KeyAgent {
  const agent = openKeyAgent({
    env: { PATH: more.path ?? "/usr/bin:/bin", LC_ALL: "C" },
    socketPath: join(dir, "agent"),
    publicKeyPath: more.publicKeyPath ?? join(dir, "listed.pub"),
    keyPath: key.path,
    log: () => {},
  });
  opened.push(agent);
  return agent;
}

test("a public key that cannot be written down is a problem, and is tried again", async () => {
  const agent = open({ publicKeyPath: join(dir, "listed.pub") });
  rmSync(join(dir, "listed.pub"), { force: true });
  const elsewhere = open({ publicKeyPath: join(dir, "no-such-folder", "listed.pub") });
  expect(await elsewhere.ready()).toContain("could not be written down");
  expect(elsewhere.publicKey()).toBe(null);
  await elsewhere.close();
  expect(await agent.ready()).toBe(null);
});

test("a missing ssh-agent is a problem with its mend", async () => {
  expect(await open({ path: dir }).ready()).toContain("install openssh-client");
});

test("a key whose public half cannot be listed is not taken for ready", async () => {
  // As when the process for `ssh-add -L` alone does not start.
  writeFileSync(
    join(dir, "ssh-add"),
    '#!/bin/sh\n[ "$1" != -L ] || exit 1\nexec /usr/bin/env PATH=/usr/bin:/bin ssh-add "$@"\n',
  );
  chmodSync(join(dir, "ssh-add"), 0o755);
  const agent = open({ path: `${dir}:/usr/bin:/bin` });
  expect(await agent.ready()).toContain("could not be listed");
  expect(agent.publicKey()).toBe(null);
  rmSync(join(dir, "ssh-add"));
  expect(await agent.ready()).toBe(null);
  expect(agent.publicKey()).toBe(key.publicKey);
});

test("accepted host keys that cannot be read are told, not thrown", async () => {
  const said: string[] = [];
  const memoryPath = join(dir, "known");
  const knownHosts = await openKnownHosts({ memoryPath, dir, log: (text) => said.push(text) });
  rmSync(memoryPath);
  await knownHosts.sync();
  expect(said.join()).toContain("cannot be brought up to date");
});
