import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { brokerStage, shim, type BrokerStage, type Ran } from "./stage.ts";

// Each copies by real programs; this ends what hangs.
vi.setConfig({ testTimeout: 120_000 });

let stage: BrokerStage;
/** The agent's side and the guest's. */
let here: string;
let there: string;

beforeEach(async () => {
  stage = await brokerStage();
  for (const dir of [(here = join(stage.dir, "here")), (there = join(stage.dir, "there"))]) mkdirSync(dir);
});
afterEach(() => stage.close());

const scp = (...args: readonly string[]): Promise<Ran> => shim(stage.door, args, { program: "scp" });
const put = (path: string, text: string | Buffer = path, mode = 0o644): void => {
  writeFileSync(path, text);
  chmodSync(path, mode);
};
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
const done = { code: 0, stderr: "" };

test("a file goes up and comes down whole, whatever its bytes are", async () => {
  const bytes = randomBytes(500_000);
  put(join(here, "a"), bytes);
  expect(await scp(join(here, "a"), `devvm:${there}/b`)).toMatchObject(done);
  expect(readFileSync(join(there, "b")).equals(bytes)).toBe(true);
  expect(await scp(`devvm:${there}/b`, join(here, "c"))).toMatchObject(done);
  expect(readFileSync(join(here, "c")).equals(bytes)).toBe(true);
});

test("into a folder it keeps its name, and several files go together both ways", async () => {
  for (const name of ["a", "b"]) put(join(here, name));
  expect(await scp(join(here, "a"), join(here, "b"), `devvm:${there}`)).toMatchObject(done);
  expect(readdirSync(there)).toEqual(["a", "b"]);
  expect(await scp(`devvm:${there}/a`, `observer@devvm:${there}/b`, here)).toMatchObject(done);
  mkdirSync(join(here, "all"));
  expect(await scp(`devvm:${there}/*`, join(here, "all"))).toMatchObject(done);
  expect(readdirSync(join(here, "all"))).toEqual(["a", "b"]);
});

test("several files to what is no folder are refused before anything is copied", async () => {
  put(join(there, "a"));
  put(join(there, "b"));
  const ran = await scp(`devvm:${there}/a`, `devvm:${there}/b`, join(here, "none"));
  expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining("not a folder") });
  expect(existsSync(join(here, "none"))).toBe(false);
});

test("-r copies a folder both ways, into what is there and to a new name", async () => {
  mkdirSync(join(here, "tree/deep"), { recursive: true });
  put(join(here, "tree/deep/x"), "x", 0o755);
  symlinkSync("deep/x", join(here, "tree/link"));
  expect(await scp("-r", join(here, "tree"), `devvm:${there}`)).toMatchObject(done);
  expect(await scp("-rp", join(here, "tree"), `devvm:${there}/other`)).toMatchObject(done);
  for (const copied of ["tree", "other"]) {
    expect(readFileSync(join(there, copied, "deep/x"), "utf8")).toBe("x");
    expect(readFileSync(join(there, copied, "link"), "utf8")).toBe("x");
    expect(modeOf(join(there, copied, "deep/x"))).toBe("755");
  }
  mkdirSync(join(here, "back"));
  expect(await scp("-r", `devvm:${there}/tree`, join(here, "back"))).toMatchObject(done);
  expect(await scp("-r", `devvm:${there}/tree`, join(here, "named"))).toMatchObject(done);
  expect(readFileSync(join(here, "back/tree/deep/x"), "utf8")).toBe("x");
  expect(readFileSync(join(here, "named/deep/x"), "utf8")).toBe("x");
});

test("without -r a folder is refused with the sentence that names it", async () => {
  mkdirSync(join(here, "d"));
  mkdirSync(join(there, "d"));
  expect(await scp(join(here, "d"), `devvm:${there}`)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("-r"),
  });
  expect(await scp(`devvm:${there}/d`, here)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("not a regular file"),
  });
});

test.each([
  "with space",
  `qu'o"te`,
  "-dash",
  "$(touch pwned)",
  "back\\slash",
  "new\nline",
  "*",
  "ü€😀",
  "a;b|c&d",
])("the name %j is a name and nothing else", async (name) => {
  put(join(here, name), "content");
  expect(await scp("--", join(here, name), `devvm:${there}/${name}`)).toMatchObject(done);
  expect(readdirSync(there)).toEqual([name]);
  mkdirSync(join(here, "into"));
  expect(await scp(`devvm:${there}/${name}`, join(here, "into"))).toMatchObject(done);
  expect(readFileSync(join(here, "into", name), "utf8")).toBe("content");
  expect(await scp(join(here, name), `devvm:${there}`)).toMatchObject(done);
  expect(readdirSync(there)).toEqual([name]);
});

test("permissions: a new file has those of its source, one that is there keeps its own, -p carries them", async () => {
  put(join(here, "run"), "x", 0o755);
  put(join(here, "secret"), "x", 0o600);
  await scp(join(here, "run"), join(here, "secret"), `devvm:${there}`);
  expect([modeOf(join(there, "run")), modeOf(join(there, "secret"))]).toEqual(["755", "600"]);
  put(join(there, "old"), "x", 0o640);
  await scp(join(here, "run"), `devvm:${there}/old`);
  expect(modeOf(join(there, "old"))).toBe("640");
  await scp("-p", join(here, "run"), `devvm:${there}/old`);
  expect(modeOf(join(there, "old"))).toBe("755");
  await scp(`devvm:${there}/secret`, join(here, "down"));
  expect(modeOf(join(here, "down"))).toBe("600");
});

test("what agents type besides is tolerated, and ~ is the guest's", async () => {
  put(join(here, "a"), "a");
  const options = [
    "-q",
    "-C",
    "-v",
    "-P",
    "22",
    "-i",
    "/none",
    "-o",
    "StrictHostKeyChecking=no",
    "-oBatchMode=yes",
  ];
  expect(await scp(...options, join(here, "a"), "devvm:~/a")).toMatchObject(done);
  // The test's sshd gives its accounts its own folder as their home.
  expect(readFileSync(join(stage.dir, "a"), "utf8")).toBe("a");
  expect(await scp(join(here, "a"), `scp://devvm:22/${there}/b`)).toMatchObject(done);
  expect(readFileSync(join(there, "b"), "utf8")).toBe("a");
});

test("what cannot be done says so, and what ssh refuses is refused here too", async () => {
  stage.mode = "observe";
  put(join(here, "a"));
  for (const [args, code, sentence] of [
    [["devvm:/a", "other:/b"], 1, "from one machine to another"],
    [[join(here, "a"), join(here, "b")], 1, "none of these is on a machine"],
    [["-J", "jump", join(here, "a"), "devvm:/tmp"], 1, "-J"],
    [[join(here, "none"), `devvm:${there}`], 1, "no such file"],
    [[`devvm:${there}/none`, here], 1, "No such file or directory"],
    [[join(here, "a"), `devvm:${there}/none/none`], 1, "none/none"],
    [[join(here, "a"), `root@devvm:${there}`], 255, "observe"],
    [[join(here, "a"), `nowhere:${there}`], 255, 'no machine "nowhere"'],
  ] as const) {
    const ran = await scp(...args);
    expect([args, ran.code, ran.stderr]).toEqual([args, code, expect.stringContaining(sentence)]);
  }
});

test("each copy is a command on record", async () => {
  put(join(here, "a"));
  await scp(join(here, "a"), `devvm:${there}/b`);
  expect(stage.events).toMatchObject([
    {
      phase: "started",
      account: "observer",
      command: expect.stringContaining(`breakglass-scp-up '${there}/b' 'a'`),
    },
    { phase: "settled", end: { kind: "exited", code: 0 } },
  ]);
});
