import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { makeKey } from "../doubles/sshd.ts";
import { makeRoot } from "./stage.ts";

// Dozens of real programs each; this ends what hangs.
vi.setConfig({ testTimeout: 300_000 });

const keys = "root/.ssh/authorized_keys";
const lib = "usr/local/lib/breakglass-host";
const line = (bareKey: string, from = ',from="192.0.2.7"') =>
  `restrict,command="/usr/local/bin/breakglass-host 102"${from} ${bareKey} breakglass\n`;

test("it says what it will do, does it after a yes, and nothing after anything else", () => {
  const host = makeRoot();
  const before = host.tree();
  const args = ["--key", `${host.key.path}.pub`, "--vm", "102", "--from", "192.0.2.7"];
  expect(host.run([...args, "--dry-run"])).toMatchObject({ status: 0 });
  for (const input of ["", "n\n", "maybe\n"]) expect(host.run(args, input)).toMatchObject({ status: 1 });
  expect(host.tree()).toEqual(before);

  const { status, said } = host.run(args, "y\n");
  expect(status).toBe(0);
  expect(said).toContain(`+ ${line(host.bareKey)}`);
  expect(said).toMatch(/new +\S.*lib\/main\.pl\n/);
  expect(readFileSync(host.at(keys), "utf8")).toBe(line(host.bareKey));
  expect(statSync(host.at(keys)).mode & 0o777).toBe(0o600);
  expect(statSync(host.at("root/.ssh")).mode & 0o777).toBe(0o700);
  expect(said).toContain(fingerprint(host.at("etc/ssh/ssh_host_ed25519_key.pub")));
});

test("what is installed answers as the forced command does", () => {
  const host = makeRoot();
  host.install();
  const said = (command: string) =>
    spawnSync(host.at("usr/local/bin/breakglass-host"), ["--config", "/nonexistent", "102"], {
      env: { SSH_ORIGINAL_COMMAND: command },
      encoding: "utf8",
    }).stdout;
  // It has found its lib/, read its settings there, and says which file is missing.
  expect(said("v2 hello")).toContain('"code":4');
});

test("twice over is no change at all", () => {
  const host = makeRoot();
  host.install();
  const after = host.tree();
  const { status, said } = host.install();
  expect({ status, after: host.tree() }).toEqual({ status: 0, after });
  expect(said).toContain("nothing was changed");
});

test.each([
  ["other keys", 'ssh-rsa AAAAB3NzaC1yc2E= ana@desk\n# a comment\n\ncommand="x" ssh-ed25519 AAAAother bob\n'],
  ["no last newline", "ssh-rsa AAAAB3NzaC1yc2E= ana@desk"],
  [
    "carriage returns, NUL bytes and bytes that are no UTF-8",
    Buffer.from("a\r\n\0b\xff\xfe\r\n  \t\n\0", "latin1"),
  ],
])("uninstalling leaves authorized_keys byte for byte as it was: %s", (_, contents) => {
  const host = makeRoot();
  host.put(keys, contents, 0o640);
  chmodSync(host.at("root/.ssh"), 0o750);
  const before = host.tree();
  expect(host.install().status).toBe(0);
  expect(readFileSync(host.at(keys))).toEqual(
    Buffer.concat([Buffer.from(line(host.bareKey)), Buffer.from(contents)]),
  );
  expect(host.run(["--uninstall", "--yes"]).status).toBe(0);
  const empty = ["usr/local/ 755", "usr/local/bin/ 755", "usr/local/lib/ 755"];
  expect(host.tree().filter((entry) => !empty.includes(entry))).toEqual(before);
});

test("our line is known by its key: others with the same command, and lines that only mention the key, are not ours", () => {
  const host = makeRoot();
  const other = makeKey(host.dir, "other").publicKey;
  const foreign = [
    `restrict,command="/usr/local/bin/breakglass-host 103" ${other}`,
    `# was: ${host.key.publicKey}`,
    `ssh-rsa AAAAB3NzaC1yc2E= see ${host.key.publicKey}`,
    `environment="A=\\"${host.key.publicKey} " ${other}`,
  ];
  const ours = [
    `restrict,command="/usr/local/bin/breakglass-host 999" ${host.key.publicKey}`,
    `  from="a b\\" c",no-pty\t${host.key.publicKey} old`,
    host.key.publicKey,
  ];
  host.put(keys, [...ours, ...foreign].join("\n"));
  const { said } = host.install();
  expect(readFileSync(host.at(keys), "utf8")).toBe(line(host.bareKey) + foreign.join("\n"));
  for (const each of ours) expect(said).toContain(`- ${each}\n`);
});

test("sshd obeys the line that was written", () => {
  const host = makeRoot();
  host.install("--vm", "103");
  const options = readFileSync(host.at(keys), "utf8");
  expect(options).toMatch(
    /^restrict,command="\/usr\/local\/bin\/breakglass-host 102 103",from="192\.0\.2\.7" ssh-ed25519 /,
  );
  expect(execFileSync("ssh-keygen", ["-lf", host.at(keys)], { encoding: "utf8" })).toContain(
    fingerprint(`${host.key.path}.pub`),
  );
});

test("on Proxmox nothing is written through the link into /etc/pve: the account's second file is taken", () => {
  const host = makeRoot();
  host.put("etc/pve/priv/authorized_keys", "ssh-rsa AAAAB3NzaC1yc2E= root@node2\n", 0o600);
  mkdirSync(host.at("root/.ssh"), { mode: 0o700 });
  symlinkSync("../../etc/pve/priv/authorized_keys", host.at(keys));
  const { status, said } = host.install();
  expect(status).toBe(0);
  expect(said).toMatch(/note .*authorized_keys is a link to .*etc\/pve/);
  expect(readFileSync(host.at(`${keys}2`), "utf8")).toBe(line(host.bareKey));
  expect(readFileSync(host.at("etc/pve/priv/authorized_keys"), "utf8")).toBe(
    "ssh-rsa AAAAB3NzaC1yc2E= root@node2\n",
  );
  expect(lstatSync(host.at(keys)).isSymbolicLink()).toBe(true);
  expect(host.run(["--uninstall", "--yes"]).status).toBe(0);
  expect(existsSync(host.at(`${keys}2`))).toBe(false);
});

test("a key that stands in the cluster's file too is a problem: its line there would count first", () => {
  const host = makeRoot();
  host.put("etc/pve/priv/authorized_keys", `${host.key.publicKey}\n`, 0o600);
  mkdirSync(host.at("root/.ssh"), { mode: 0o700 });
  symlinkSync("../../etc/pve/priv/authorized_keys", host.at(keys));
  refuses(host, /same key stands in \/root\/.ssh\/authorized_keys as well/);
});

test.each([
  ["PubkeyAuthentication no", /accepts no keys/],
  ["PermitRootLogin no", /PermitRootLogin forced-commands-only/],
  ["ForceCommand /bin/false", /ForceCommand \/bin\/false/],
  ["AuthorizedKeysFile none", /reads no keys of this account/],
  ["Match User root\nForceCommand internal-sftp", /ForceCommand internal-sftp/],
  ["NoSuchOption yes", /sshd -T failed: .*NoSuchOption/],
])("sshd's own settings are asked: with %s nothing is done", (config, words) => {
  const host = makeRoot();
  host.configureSshd(config);
  refuses(host, words);
});

test("that sshd looks after lost clients is asked for", () => {
  const host = makeRoot();
  expect(host.install("--dry-run").said).not.toContain("ClientAliveInterval");
  host.put(
    "etc/ssh/sshd_config",
    readFileSync(host.at("etc/ssh/sshd_config"), "utf8").replace("ClientAliveInterval 15\n", ""),
  );
  expect(host.install("--dry-run").said).toContain(
    'note     sshd does not look after lost clients: put "ClientAliveInterval 15"',
  );
});

test.each([
  ["prints", "echo welcome", /\/root\/\.bashrc prints something before every command/],
  ["prints on stderr", "echo welcome >&2", /\/root\/\.bashrc prints something/],
  ["fails", "exit 3", /\/root\/\.bashrc fails before every command/],
  ["hangs", "sleep 600", /\/root\/\.bashrc does not end within 10 s/],
  ["leaves something behind that holds the line", "sleep 600 &", /\/root\/\.bashrc does not end within 10 s/],
])("a .bashrc that %s is named, with the mend, and nothing is done", (_, text, words) => {
  const host = makeRoot();
  host.put("root/.bashrc", `${text}\n`);
  expect(refuses(host, words)).toContain("[[ $- == *i* ]] || return");
});

test("a .bashrc that is quiet for who is not at a terminal is no problem", () => {
  const host = makeRoot();
  host.put("root/.bashrc", "[[ $- == *i* ]] || return\necho welcome\nsleep 600\n");
  expect(host.install().status).toBe(0);
});

test("without qm, or with one that hangs, it is no hypervisor; a VM on another node is only noted", () => {
  const host = makeRoot();
  expect(host.install("--vm", "103").said).toMatch(/note +VM 103 is not on this node now \(no such VM\)/);
  host.put("usr/sbin/qm", "#!/bin/sh\nexec sleep 600\n", 0o755);
  refuses(host, /qm status 102 did not end within 10 s/);
  const none = makeRoot();
  none.put("usr/sbin/qm", "", 0o644);
  refuses(none, /qm does not run here/);
});

test.each([
  [["--key", "KEY", "--from", "any"], "--vm"],
  [["--key", "KEY", "--vm", "102"], "--from"],
  [["--key", "KEY", "--vm", "102", "--from", 'x",command="sh'], "is no list of address patterns"],
  [["--key", "KEY", "--vm", "102;id", "--from", "any"], "is no VM id"],
  [["--key", "KEY", "--vm", "0102", "--from", "any"], "is no VM id"],
  [["--key", "/etc/hostname", "--vm", "102", "--from", "any"], "holds no public key"],
  [["--key"], "needs a value"],
  [["--account", "ana"], "There is no account ana"],
  [["--purge"], "belongs to --uninstall"],
  [["--frmo", "any"], "There is no option"],
])("options that mean nothing certain are refused: %j", (args, words) => {
  const host = makeRoot();
  const before = host.tree();
  const { status, said } = host.run(args.map((arg) => (arg === "KEY" ? `${host.key.path}.pub` : arg)));
  expect(status).toBe(2);
  expect(said).toContain(words);
  expect(host.tree()).toEqual(before);
});

test("a hostile public key does not get into the file", () => {
  const host = makeRoot();
  for (const text of [`command="sh" ${host.bareKey}`, `${host.bareKey}\u0001"`, "ssh-ed25519 AAAA", ""]) {
    const { status } = host.run(
      ["--key", "-", "--vm", "102", "--from", "any", "--yes"],
      `${text}\nssh-rsa second line`,
    );
    if (status !== 2) expect(readFileSync(host.at(keys), "utf8")).toBe(line(host.bareKey, ""));
    else expect(existsSync(host.at(keys))).toBe(false);
  }
});

test("an update leaves a running job the modules that it began with, and clears up when it has ended", async () => {
  const host = makeRoot();
  host.install();
  const first = realpathSync(host.at(lib));
  // A worker: Perl with the path of its release in its arguments, that loads a module late.
  const worker = spawn("perl", [
    `-I${first}/lib`,
    "-e",
    "<STDIN>; require Breakglass::Json; print 'loaded'",
    "--",
    `${first}/lib/main.pl`,
  ]);
  onTestFinished(() => void worker.kill("SIGKILL"));
  const update = (text: string) => {
    const source = join(host.dir, text);
    cpSync("host", source, { recursive: true });
    writeFileSync(join(source, "lib/Breakglass/Json.pm"), `package Breakglass::Json;\n# ${text}\n1;\n`);
    return spawnSync(join(source, "install"), ["--root", host.at(), "--yes"], { encoding: "utf8" });
  };
  for (const each of ["one", "two", "three"]) expect(update(each)).toMatchObject({ status: 0 });
  expect(readFileSync(host.at(lib, "lib/Breakglass/Json.pm"), "utf8")).toContain("# three");
  expect(existsSync(first)).toBe(true);
  expect(host.run(["--uninstall", "--yes"])).toMatchObject({
    status: 1,
    said: expect.stringContaining("a job is running"),
  });
  let said = "";
  worker.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  worker.stdin.end("\n");
  await once(worker, "close");
  expect(said).toBe("loaded");
  expect(update("four")).toMatchObject({ status: 0 });
  expect(existsSync(first)).toBe(false);
});

test("a damaged release is mended, and a folder that somebody else made is left alone", () => {
  const host = makeRoot();
  host.install();
  const gate = host.at(lib, "breakglass-host");
  writeFileSync(gate, "#!/bin/sh\n");
  expect(host.install().said).toMatch(/changed +\S.*breakglass-host\n/);
  expect(readFileSync(gate)).toEqual(readFileSync("host/breakglass-host"));
  const other = makeRoot();
  mkdirSync(other.at(lib), { recursive: true });
  refuses(other, /is a folder that this installer did not make/);
});

test("uninstalling one of two keys leaves the other, and the evidence stays unless it is purged", () => {
  const host = makeRoot();
  const second = makeKey(host.dir, "second");
  host.install();
  host.run(["--key", `${second.path}.pub`, "--vm", "103", "--from", "any", "--yes"]);
  host.put("var/lib/breakglass-host/forensics/1/verdict", "x");
  host.put("var/log/breakglass-host.log", "x");
  expect(host.run(["--uninstall", "--key", `${second.path}.pub`, "--yes"]).status).toBe(0);
  expect(readFileSync(host.at(keys), "utf8")).toBe(line(host.bareKey));
  expect(readlinkSync(host.at("usr/local/bin/breakglass-host"))).toBe(
    "../lib/breakglass-host/breakglass-host",
  );
  expect(host.run(["--uninstall", "--yes"]).said).toMatch(/keep +\S.*var\/lib\/breakglass-host/);
  expect(existsSync(host.at("var/lib/breakglass-host/forensics/1/verdict"))).toBe(true);
  host.run(["--uninstall", "--purge", "--yes"]);
  expect(existsSync(host.at("var/lib/breakglass-host"))).toBe(false);
  expect(existsSync(host.at("var/log/breakglass-host.log"))).toBe(false);
});

test("what others may write is closed to them, since sshd would refuse it, also beside a line that is right already", () => {
  const host = makeRoot();
  host.put(keys, "", 0o666);
  chmodSync(host.at("root/.ssh"), 0o777);
  host.install();
  const modes = () => [keys, "root/.ssh"].map((path) => statSync(host.at(path)).mode & 0o777);
  expect(modes()).toEqual([0o644, 0o755]);
  chmodSync(host.at(keys), 0o620);
  expect(host.install().said).toContain("Done.");
  expect(modes()).toEqual([0o600, 0o755]);
});

/** Told, and nothing changed. */
function refuses(host: ReturnType<typeof makeRoot>, words: RegExp): string {
  const before = host.tree();
  const { status, said } = host.install();
  expect(said).toMatch(words);
  expect({ status, tree: host.tree() }).toEqual({ status: 1, tree: before });
  return said;
}

function fingerprint(path: string): string {
  return execFileSync("ssh-keygen", ["-lf", path], { encoding: "utf8" }).split(" ")[1]!;
}
