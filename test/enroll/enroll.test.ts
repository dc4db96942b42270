import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { guestPaste } from "../../src/cli/enroll/needs.ts";
import { startMachine } from "./machine.ts";
import { makeHypervisor, makeStage } from "./stage.ts";

// Dozens of real connections each; this ends what hangs.
vi.setConfig({ testTimeout: 300_000 });

test.skipIf(process.getuid?.() !== 0)(
  "from nothing to enrolled over the Operator's own ssh, and what is changed afterwards is seen",
  async () => {
    const machine = await startMachine();
    const { login } = machine;
    const install = [
      "--install-hypervisor",
      login,
      "--install-guest",
      login,
      "--vm",
      "102",
      "--from",
      "127.0.0.1",
    ];

    // A no at the first question: nothing but the key was made.
    const no = await machine.enroll(install, "n\n");
    expect(no.status).toBe(1);
    expect(machine.asRoot("id bg-observe 2>&1; ls /usr/local/lib")).not.toMatch(/uid=|breakglass/);
    expect(statSync(machine.keyPath).mode & 0o777).toBe(0o600);

    const yes = await machine.enroll(install, "y\ny\ny\n");
    expect(yes.said).toContain('"devvm" is enrolled');
    expect(yes.status).toBe(0);
    expect(yes.said).not.toContain("FAIL");
    expect(readFileSync(join(machine.dataDir, "known_hosts"), "utf8")).toContain(
      machine.asRoot("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").trim(),
    );
    // The cluster's file is as it was; the line went to this node's own.
    expect(machine.asRoot("wc -l </etc/pve/priv/authorized_keys; cat ~root/.ssh/authorized_keys2")).toMatch(
      /^1\nrestrict,command="\/usr\/local\/bin\/breakglass-host 102",from="127\.0\.0\.1" ssh-ed25519 /,
    );
    // It owns nothing, not even what says who may be it.
    const owned =
      "stat -c '%U %a' /home/bg-observe /home/bg-observe/.ssh /home/bg-observe/.ssh/authorized_keys";
    expect(machine.asRoot(owned)).toBe("root 755\nroot 755\nroot 644\n");
    expect(machine.asRoot("stat -c %a /etc/sudoers.d/breakglass-bg-admin")).toBe("440\n");

    const again = await machine.enroll([...install, "--yes"]);
    expect(again.status).toBe(0);
    expect(again.said.match(/It is so already; nothing was changed/g)).toHaveLength(2);

    machine.asRoot(
      "gpasswd -a bg-observe disk >/dev/null; sed -i 's/^restrict,//' ~root/.ssh/authorized_keys2",
    );
    const check = await machine.enroll(["--check"]);
    expect(check.status).toBe(1);
    expect(check.said).toMatch(/FAIL .*bg-observe\): is in group disk/);
    expect(check.said).toMatch(/FAIL .*devvm-power \(root\): forwarding \(-L, -W\) is GRANTED/);
  },
);

test.skipIf(process.getuid?.() !== 0)(
  "the guest's accounts are made by what is printed for pasting, and never out of somebody's account",
  async () => {
    const machine = await startMachine();
    const paste = (...args: readonly string[]) => machine.asRoot(guestPaste(machine.publicKey, args));
    const admin = ["--from", "any", "--admin", "ana", "--yes"];
    machine.asRoot("useradd --create-home ben");
    expect(paste(...admin, "--observe", "ben")).toMatch(/ben is somebody's: its home is its own/);
    expect(paste(...admin, "--observe", "ana")).toMatch(/must be two/);
    expect(paste("--from", "any", "--admin", "ana", "--observe", "root", "--yes")).toMatch(/root is root/);
    expect(paste("--from", "any", "--admin", "'ana;id'", "--yes")).toMatch(/is no account's name/);
    expect(machine.asRoot("id ana 2>&1; ls -A /home/ben/.ssh 2>&1")).not.toMatch(/uid=|authorized_keys/);

    // What visudo does not accept never gets its name.
    machine.asRoot("mv /usr/local/bin/visudo ~root/visudo; ln -s /bin/false /usr/local/bin/visudo");
    expect(paste(...admin)).toContain("Stopped: visudo does not accept");
    expect(machine.asRoot("ls -A /etc/sudoers.d")).toBe("README\n");
    machine.asRoot("mv ~root/visudo /usr/local/bin/visudo");

    expect(paste(...admin, "--observe", "looks")).toContain("Done.");
    expect(machine.asRoot("id -Gn looks; cat /etc/sudoers.d/breakglass-ana")).toBe(
      "looks adm systemd-journal\nana ALL=(ALL:ALL) NOPASSWD: ALL\n",
    );
    expect(paste(...admin, "--observe", "looks")).toContain("It is so already");
  },
);

test("without anything to install over, it prints what each side needs, and is not content", async () => {
  const { forced } = await makeHypervisor();
  const stage = await makeStage({ line: (key) => forced(key).replace("restrict,", "") });
  const env = {
    BREAKGLASS_PVE_HOST: `127.0.0.1:${stage.sshd.port}`,
    BREAKGLASS_PVE_USER: stage.sshd.user,
  };
  const unpinned = await stage.enroll(env, ["devvm", "--vm", "102"], "n\n");
  expect(unpinned.status).toBe(1);
  expect(unpinned.said).toContain("Not pinned");
  expect(existsSync(join(stage.dir, "data/known_hosts"))).toBe(false);
  expect((await stage.enroll(env, ["devvm", "--host-key", "SHA256:other"], "y\n")).said).toContain(
    "None of these was named",
  );

  const { status, said } = await stage.enroll(env, ["devvm", "--vm", "102"], "y\n");
  expect(status).toBe(1);
  expect(said).toMatch(/FAIL .*a terminal is GRANTED/);
  const bare = stage.key.publicKey.split(" ").slice(0, 2).join(" ");
  expect(said).toMatch(
    new RegExp(
      `tar -C \\S+ -cz \\. \\| ssh .*echo "${bare.replaceAll("+", "\\+")}" \\| bash .*--vm 102 --from 127\\.0\\.0\\.1`,
    ),
  );
});

test("a changed host key is shown beside the pinned one, and --yes does not trust it", async () => {
  const { forced } = await makeHypervisor();
  const stage = await makeStage({ line: forced });
  const env = { BREAKGLASS_PVE_HOST: `127.0.0.1:${stage.sshd.port}`, BREAKGLASS_PVE_USER: stage.sshd.user };
  const known = join(stage.dir, "data/known_hosts");
  writeFileSync(known, `# mine\n[127.0.0.1]:${stage.sshd.port} ${stage.key.publicKey}\n`);
  const before = readFileSync(known, "utf8");
  const { status, said } = await stage.enroll(env, ["devvm", "--yes"]);
  expect(status).toBe(1);
  expect(said).toMatch(/pinned was +SHA256:.*\n.*it shows +SHA256:.*\n.*CHANGED/);
  expect(readFileSync(known, "utf8")).toBe(before);
  const shown = /it shows +(SHA256:\S+)/.exec(said)![1]!;
  expect(await stage.enroll(env, ["devvm", "--host-key", shown])).toMatchObject({ status: 0 });
  expect(readFileSync(known, "utf8")).toBe(
    `# mine\n[127.0.0.1]:${stage.sshd.port} ${stage.sshd.hostPublicKey}\n`,
  );
});

test.each([
  [[], /Configured: devvm/],
  [["other"], /Configured: devvm/],
  [["devvm", "--install-hypervisor", "-oProxyCommand=id"], /no login|ambiguous|argument/],
  [["devvm", "--install-hypervisor", "root@h;id"], /is no login/],
  [["devvm", "--install-hypervisor", "root@h", "--vm", "102"], /--from/],
  [["devvm", "--install-hypervisor", "root@h", "--from", "any"], /--vm 102/],
  [["devvm", "--install-hypervisor", "root@h", "--vm", "1$(id)", "--from", "any"], /--vm takes/],
  [["devvm", "--install-hypervisor", "root@h", "--vm", "102", "--from", '"; id; "'], /--from takes/],
  [["devvm", "--install-guest", "root@h", "--from", "any"], /no such side/],
  [["devvm", "--chekc"], /chekc/],
])("what means nothing certain is refused before anything is sent: %j", async (args, words) => {
  const stage = await makeStage({ line: (key) => key });
  const { status, said } = await stage.enroll({ BREAKGLASS_PVE_HOST: "192.0.2.2" }, args);
  expect(status).toBe(2);
  expect(said).toMatch(words);
});
