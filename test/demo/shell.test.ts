import { rootsHome } from "../../demo/guest/contents.ts";
import { expect, it } from "vitest";
import { root } from "../../demo/guest/commands/system.ts";
import { observer } from "../../demo/guest/door.ts";
import { Guest, memoryTotalKb } from "../../demo/guest/guest.ts";
import { runLine, type Surroundings } from "../../demo/guest/shell.ts";

function ill() {
  let time = Date.UTC(2026, 10, 20, 12);
  const guest = new Guest(() => new Date(time));
  guest.boot({ bootId: "first", at: new Date(time - 86_400_000) });
  guest.fallIll();
  return {
    guest,
    pass: (ms: number) => (time += ms),
    sh: (line: string, account = root, around: Surroundings = {}) => runLine(guest, account, line, around),
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
  ["frobnicate x 2>/dev/null", "", 127],
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
  ["find /etc/postgresql -name '*.conf'", "/etc/postgresql/15/main/postgresql.conf\n", 0],
  ["echo \"a $(id -un) $(echo 'b  c')\" $(echo 'd  e')", "a root b  c d e\n", 0],
  ["echo $(echo $(echo a))", "a\n", 0],
  ["d=/etc; f='host name'; echo \"$d/$f\"; echo $f | wc -w", "/etc/host name\n2\n", 0],
  ["export A=1 B='2 3'; sh -c 'echo $A $B $0 $1' name x", "1 2 3 name x\n", 0],
  ["false; echo a", "a\n", 0],
  ["set -e; false || true; echo a; false; echo b", "a\n", 1],
  ["[ -d /etc ] && [ ! -e /nowhere ] && echo yes", "yes\n", 0],
  ["[ 3 -gt 4 ] || echo no", "no\n", 0],
  ["printf '%s is %s\\n' a b c d", "a is b\nc is d\n", 0],
  ["echo id | base64 | base64 -d | sh", "uid=0(root) gid=0(root) groups=0(root)\n", 0],
  ["timeout 0.01 sleep 30", "", 124],
  ["id -u; id -un; id -Gn", "0\nroot\nroot\n", 0],
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
  const ran = await sh("echo a > /tmp/f; echo $(for f in 1; do id; done)");
  expect(ran).toMatchObject({
    out: "",
    code: 2,
    err: expect.stringContaining("demo machine's simulated shell"),
  });
  expect((await sh("cat /tmp/f")).code).toBe(1);
});

it("gives its input to the first command that reads, as a text, a script or a file", async () => {
  const { sh } = ill();
  const stdin = async () => "echo $1; hostname\n";
  expect((await sh("true; cat; cat", root, { stdin })).out).toBe("echo $1; hostname\n");
  expect((await sh("bash -s a", root, { stdin })).out).toBe("a\ndevvm\n");
  expect((await sh("sudo -n sh", root, { stdin })).out).toBe("\ndevvm\n");
  expect(
    await sh('d=/tmp; [ -d "$d" ] && cat > "$d/do it" && chmod 700 "$d/do it"', root, { stdin }),
  ).toEqual({
    out: "",
    err: "",
    code: 0,
  });
  expect((await sh("sh '/tmp/do it' b; '/tmp/do it' c; ls -l '/tmp/do it'")).out).toMatch(
    /^b\ndevvm\nc\ndevvm\n-rwx------ /,
  );
  expect((await sh("sh '/tmp/do it'", observer)).code).toBe(126);
  expect((await sh("cat < /etc/hostname")).code).toBe(2);
});

it("answers what scp asks of a machine, by name", async () => {
  const { sh } = ill();
  const stdin = async () => "kept\n";
  const scp = (which: string, words: string) =>
    `sh -c 'case $1 in -*) ;; esac' breakglass-scp-${which} ${words}`;
  expect((await sh(scp("up", "/tmp notes 640 "), root, { stdin })).code).toBe(0);
  expect((await sh(scp("down", "'/tmp/notes' "))).out).toBe("-rw-r-----\nkept\n");
  expect((await sh(scp("names", "/tmp/no*"))).out).toBe("/tmp/notes\0");
  expect((await sh(scp("up", "~/'my notes' notes 600 "), root, { stdin })).code).toBe(0);
  expect((await sh(`ls -l '${rootsHome}/my notes'`)).out).toMatch(/^-rw------- /);
  expect(await sh(scp("up", "/etc passwd 644 "), observer, { stdin })).toMatchObject({
    code: 1,
    err: expect.stringContaining("Permission denied"),
  });
  for (const folder of ["up '/tmp' 'dir'", "down '/tmp' r"])
    expect((await sh(scp(folder.split(" ")[0]!, folder.slice(folder.indexOf(" "))))).err).toContain(
      "single files only",
    );
});

it("asks for its input only when something reads it", async () => {
  const { sh } = ill();
  const stdin = () => Promise.reject(new Error("nobody asked"));
  expect((await sh("hostname; echo a | cat", root, { stdin })).out).toBe("devvm\na\n");
});

it("ends in the middle when whoever waits has ended it", async () => {
  const end = new AbortController();
  const { sh } = ill();
  const running = sh("echo a > /tmp/a; sleep 600; echo b > /tmp/b", root, { signal: end.signal });
  end.abort();
  expect((await running).code).toBe(137);
  expect((await sh("cat /tmp/b")).code).toBe(1);
});

it("bounds what one line brings about: scripts that call themselves", async () => {
  const { sh } = ill();
  await sh("echo 'sh /tmp/x; sh /tmp/x; sh /tmp/x; sh /tmp/x; sh /tmp/x; sh /tmp/x' > /tmp/x");
  const ran = await sh("sh /tmp/x");
  expect(ran.code).not.toBe(0);
  expect(ran.err).toContain("too many");
});

it("answers whether an account owns nothing", async () => {
  const { sh } = ill();
  const question = `sh -c 'echo "bg-uid $(id -u)"; echo "bg-groups $(id -Gn)"; sudo -n -l >/dev/null 2>&1; echo "bg-sudo $?"'`;
  expect((await sh(question, observer)).out).toBe(
    "bg-uid 1001\nbg-groups observe adm systemd-journal\nbg-sudo 1\n",
  );
  expect((await sh(question)).out).toBe("bg-uid 0\nbg-groups root\nbg-sudo 0\n");
});

it.each([
  ["cat /proc/loadavg", /^[\d.]+ [\d.]+ [\d.]+ \d+\/\d+ \d+\n$/],
  ["cat /proc/cpuinfo", /^processor\t: 1$/m],
  ["cat /proc/vmstat", /^oom_kill 1$/m],
  ["cat /proc/mounts", /^\/dev\/sda1 \/ ext4 rw/m],
  ["df -P", /^\/dev\/sda1 +20466256 \d+ +0 +100% \/$/m],
  ["df -P", /^Filesystem +1024-blocks +Used +Available +Capacity +Mounted on$/m],
  ["df -Pi", /^\/dev\/sda1 +\d+ +\d+ +\d+ +6% \/$/m],
  ["ps -eo pid,stat,comm", /^2391 +S +node$/m],
  ["ps -eo pid,user,rss,comm", /^2391 +orders +611340 +node$/m],
  ["systemctl --failed --no-legend --plain --no-pager", /^postgresql@15-main\.service loaded failed/],
  ["systemctl list-units --no-legend --plain --state=activating,deactivating,reloading,auto-restart", /^$/],
  ["journalctl -k -b -n 2000 --no-pager", /Out of memory: Killed process 2213 \(node\)/],
  ["journalctl -p err -b -n 200 --no-pager", /No space left on device/],
  ["date +%s", /^\d{10}\n$/],
  ["timedatectl show", /^NTPSynchronized=yes$/m],
  ["ip -o link", /^2: ens18: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu/m],
  ["ip -o addr", /^2: ens18 +inet 10\.0\.20\.102\/24/m],
  ["ip route", /^default via 10\.0\.20\.1 dev ens18$/m],
  ["ip -6 route", /^::1 dev lo/],
  ["ip neigh", /^10\.0\.20\.1 dev ens18 lladdr .* REACHABLE$/m],
  ["cat /etc/resolv.conf", /^nameserver 10\.0\.20\.1$/m],
  ["ss -Hltn", /^LISTEN +0 +511 +0\.0\.0\.0:22/],
  ["find /var/log /var/tmp /tmp -xdev -type f -size +204800k", /^\/var\/log\/orders-api\/debug\.log$/m],
])("a runbook's question, %s, gets an answer from the account that owns nothing", async (line, answer) => {
  expect((await ill().sh(line, observer)).out).toMatch(answer);
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
