import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { root } from "../../demo/guest/commands/system.ts";
import { Guest } from "../../demo/guest/guest.ts";
import { runLine } from "../../demo/guest/shell.ts";
import { spawnDemo, type RunningDemo } from "./demo.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let demo: RunningDemo;
let dir: string;
beforeAll(async () => {
  demo = await spawnDemo();
  dir = await mkdtemp(join(tmpdir(), "breakglass-trace-"));
});
afterAll(async () => {
  await demo.end();
  await rm(dir, { recursive: true });
});

/** X stands for a file that must not come to be. */
const attempts = [
  "touch X",
  "$(touch X)",
  "`touch X`",
  'echo "$(touch X)"',
  'echo "`touch X`"',
  "true; touch X",
  "true && touch X",
  "false || touch X",
  "true | touch X",
  "echo 'touch X' | sh",
  "echo 'touch X' | bash -s",
  "sh -c 'touch X'",
  "bash -lc 'sh -c \"touch X\"'",
  "eval touch X",
  "exec touch X",
  "env touch X",
  "command touch X",
  "timeout 5 touch X",
  "nohup setsid touch X",
  "sudo touch X",
  "sudo -n sh -c 'touch X'",
  "> X",
  "echo x > X",
  "echo x >> X",
  "echo x 2> X",
  "echo x &> X",
  "echo x | tee X",
  "cat <<EOF > X\nx\nEOF",
  "true\ntouch X",
  "true\r\ntouch X",
  "\u0000touch X",
  "/usr/bin/touch X",
  "/bin/sh -c 'touch X'",
  "../../../usr/bin/touch X",
  'python3 -c \'open("X","w")\'',
  "perl -e 'open F, \">X\"'",
  'node -e \'require("fs").writeFileSync("X","")\'',
  "find / -exec touch X ;",
  "find / -delete",
  "truncate -s 1 X",
  "cp /etc/passwd X",
  "cp /etc/hostname X",
  "mv /etc/hostname X",
  "mkdir -p X",
  "echo a | tee X",
  "echo a > /tmp/s; chmod +x /tmp/s; /tmp/s X",
  "echo touch X | sh",
  "echo $(touch X)",
  "echo dG91Y2ggWA== | base64 -d | bash",
  "dd of=X",
  "awk 'BEGIN { system(\"touch X\") }'",
  "sed -n '1w X' /etc/hostname",
  "sort -o X /etc/hostname",
  "systemctl start ';touch X'",
  "journalctl -u '$(touch X)'",
  "grep '$(touch X)' /etc/hostname",
  "constructor",
  "__proto__ touch X",
  "toString",
  "IFS=; touch X",
  "PATH=/usr/bin touch X",
  "${IFS}touch X",
  "[ -w / ] && touch X",
  "for f in 1; do touch X; done",
  "touch X &",
  "(touch X)",
  "{ touch X; }",
  "cat <(touch X)",
];

it.each(attempts)("%s leaves no trace on the machine that the demo runs on", async (attempt) => {
  const trace = join(dir, "trace");
  const line = attempt.replaceAll("X", trace);
  // ssh cannot carry a NUL in an argument; the shell itself gets it all the same.
  if (!line.includes("\u0000")) await demo.guest(line);
  await runLine(new Guest(), root, line);
  expect(existsSync(trace)).toBe(false);
  expect(readdirSync(dir)).toEqual([]);
});

it("shows nothing of the machine that it runs on", async () => {
  for (const path of [
    import.meta.filename,
    "/etc/passwd",
    "/proc/self/environ",
    "/proc/1/cmdline",
    demo.ready.privateKeyPath,
  ])
    expect((await demo.guest(`cat ${path}`)).code).toBe(1);
  expect((await demo.guest("ls /")).stdout).not.toContain("lost+found");
});

it("has no way to: nothing of the simulated shell imports processes, files or the network", () => {
  const folder = join(import.meta.dirname, "../../demo/guest");
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  const imports = files.flatMap((name) =>
    [...readFileSync(join(folder, name), "utf8").matchAll(/(?:from|import\()\s*"([^"]+)"/g)].map(
      ([, from]) => `${name}: ${from}`,
    ),
  );
  const outside = imports.filter((line) => !/: \.{1,2}\//.test(line) || /\.\.\/\.\.\/src/.test(line));
  expect(outside.toSorted()).toEqual(["door.ts: node:net", "door.ts: ssh2"]);
});

it("answers any line at all within its limits", async () => {
  const words = fc.constantFrom(
    "echo",
    "cat",
    "ls",
    "|",
    ";",
    "&&",
    "||",
    ">",
    "2>&1",
    "'",
    '"',
    "\\",
    "$",
    "*",
    "-n",
    "/tmp/x",
    "grep",
    "(a+)+",
    "{1,2}",
    "\n",
    "~",
    "df",
    "sort",
    "-k",
  );
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc.array(words, { maxLength: 12 }).map((parts) => parts.join(" ")),
      ),
      async (line) => {
        const ran = await runLine(new Guest(), root, line);
        expect(Number.isInteger(ran.code)).toBe(true);
      },
    ),
    { numRuns: 500 },
  );
});

it("refuses a line that no kernel would take", async () => {
  expect((await runLine(new Guest(), root, "a".repeat(100_000))).code).toBe(126);
});
