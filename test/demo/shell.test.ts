import { expect, it } from "vitest";
import { root } from "../../demo/guest/commands/system.ts";
import { observer } from "../../demo/guest/door.ts";
import { Guest, memoryTotalKb } from "../../demo/guest/guest.ts";
import { runLine } from "../../demo/guest/shell.ts";

function ill() {
  let time = Date.UTC(2026, 10, 20, 12);
  const guest = new Guest(() => new Date(time));
  guest.boot({ bootId: "first", at: new Date(time - 86_400_000) });
  guest.fallIll();
  return {
    guest,
    pass: (ms: number) => (time += ms),
    sh: (line: string, account = root) => runLine(guest, account, line),
  };
}

it.each([
  ["echo a b", "a b\n", 0],
  ["echo 'a  b' \"c d\" e\\ f", "a  b c d e f\n", 0],
  ["echo a; echo b", "a\nb\n", 0],
  ["echo a;", "a\n", 0],
  ["false && echo no", "", 1],
  ["false || echo yes", "yes\n", 0],
  ["true && echo yes || echo no", "yes\n", 0],
  ["false; echo $?", "1\n", 0],
  ["echo $HOME ${USER} \"$USER\" '$USER'", "/root root root $USER\n", 0],
  ["printf x 2>/dev/null", "", 127],
  ["cat /nowhere 2>&1 | wc -l", "1\n", 0],
  ["cat /nowhere 2>/dev/null | wc -l", "0\n", 0],
  ["echo a > /tmp/f; echo b >> /tmp/f; cat /tmp/f", "a\nb\n", 0],
  ["echo a >/dev/null", "", 0],
  ["echo 2>/dev/null a", "a\n", 0],
  ["ls /etc/post*/15/main/*.conf", "/etc/postgresql/15/main/postgresql.conf\n", 0],
  ["echo /nowhere/*", "/nowhere/*\n", 0],
  ["LC_ALL=C echo a", "a\n", 0],
  ["# nothing", "", 0],
  ["", "", 0],
  ["sh -c 'echo a; exit 3; echo b'", "a\n", 3],
  ["find /etc -name '*.conf'", "/etc/postgresql/15/main/postgresql.conf\n", 0],
  ["grep '(a+)+$' /etc/hostname", "", 1],
  ["grep -E '(a+)+$' /etc/hostname", "", 2],
  ["timeout 5 sudo -n env A=1 echo a", "a\n", 0],
  ["journalctl -k | grep -c 'Out of memory'", "1\n", 0],
  ["seq() { :; }", "", 2],
  ["echo a; ;", "", 2],
  ["echo 'a", "", 2],
  ["| echo", "", 2],
  ["echo a &", "", 2],
])("%s", async (line, out, code) => {
  expect(await ill().sh(line)).toMatchObject({ out, code });
});

it("runs nothing of a line that it does not understand, and says whose shell it is", async () => {
  const { sh } = ill();
  const ran = await sh("echo a > /tmp/f; echo $(id)");
  expect(ran).toMatchObject({
    out: "",
    code: 2,
    err: expect.stringContaining("demo machine's simulated shell"),
  });
  expect((await sh("cat /tmp/f")).code).toBe(1);
});

it("counts the same bytes in df, du and ls", async () => {
  const { sh } = ill();
  const number = async (line: string) => Number((await sh(line)).out.trim().split(/\s+/)[0]);
  const used = Number((await sh("df / | tail -n 1")).out.split(/\s+/)[2]);
  expect(await number("du -s /")).toBe(used);
  const log = (await sh("ls -l /var/log/orders-api/debug.log")).out.split(/\s+/);
  expect(await number("du -s /var/log/orders-api/debug.log")).toBe(Math.ceil(Number(log[4]) / 4096) * 4);
});

it("has the memory in use that its processes and its kernel have", async () => {
  const { sh } = ill();
  const used = async () => Number(/^Mem: +\d+ +(\d+)/m.exec((await sh("free")).out)?.[1]);
  const before = await used();
  const rss = Number(/^orders +\d+ +\S+ +\S+ +\d+ +(\d+)/m.exec((await sh("ps aux")).out)?.[1]);
  await sh("systemctl stop orders-api");
  expect(before - (await used())).toBe(rss);
  expect((await sh("cat /proc/meminfo")).out).toContain(`MemTotal:        ${memoryTotalKb} kB`);
});

it("lets time pass: uptime goes on, and the log grows again after it was emptied", async () => {
  const { sh, pass } = ill();
  await sh("truncate -s 0 /var/log/orders-api/debug.log");
  const size = async () => Number((await sh("ls -l /var/log/orders-api/debug.log")).out.split(/\s+/)[4]);
  expect(await size()).toBe(0);
  pass(3_600_000);
  expect(await size()).toBeGreaterThan(1_000_000_000);
  expect((await sh("uptime")).out).toContain("up 1 day,  1:00");
});

it("gives freed space to whoever needs it, not to the log that could not grow", async () => {
  const { sh, pass } = ill();
  pass(86_400_000);
  expect((await sh("journalctl --vacuum-size=50M")).err).toContain("freed 288M");
  expect((await sh("systemctl restart postgresql@15-main")).code).toBe(0);
});

it("keeps the unprivileged account to reading", async () => {
  const { sh } = ill();
  const refused = [
    "rm /var/log/syslog",
    "truncate -s 0 /var/log/syslog",
    "> /var/log/syslog",
    "systemctl restart nginx",
    "sudo -n true",
    "dmesg",
    "journalctl --vacuum-size=1M",
    "cat /var/lib/postgresql/15/main/base/16384/16402",
    "apt-get clean",
  ];
  for (const line of refused) expect([line, (await sh(line, observer)).code]).not.toEqual([line, 0]);
  for (const line of [
    "tail -n 1 /var/log/orders-api/debug.log",
    "journalctl -n 5",
    "systemctl --failed",
    "du -s /var/log",
  ])
    expect([line, (await sh(line, observer)).code]).toEqual([line, 0]);
});

it("has a journal that outlives a boot, and a kernel log that does not", async () => {
  const { guest, sh, pass } = ill();
  pass(60_000);
  guest.boot({ bootId: "second", at: guest.now() });
  expect((await sh("dmesg")).out).not.toContain("Out of memory");
  expect((await sh("journalctl -k -b -1")).out).toContain("Out of memory");
  expect((await sh("cat /proc/sys/kernel/random/boot_id")).out).toBe("second\n");
  // The disk is as full as before, so that the database fails again.
  expect((await sh("systemctl is-failed postgresql@15-main")).out).toBe("failed\n");
});
