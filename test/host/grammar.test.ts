import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isUuid } from "../../src/protocol/ids.ts";
import { mutatingVerbs, parseVerb, verbNames } from "../../src/protocol/verbs.ts";
import { makeHost, type Host } from "./host.ts";

interface Case {
  readonly name: string;
  readonly pinned: readonly number[];
  readonly input?: string;
  readonly input_hex?: string;
  readonly repeat?: { readonly text: string; readonly times: number };
  readonly expect:
    "refused" | { readonly verb: string; readonly vmid: number | null; readonly job: string | null };
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const folder = join(import.meta.dirname, "../cases/grammar");
const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
const casesOf = (file: string) => JSON.parse(readFileSync(join(folder, file), "utf8")) as Case[];

let host: Host;
beforeAll(async () => {
  host = await makeHost({ scale: 5 });
});
afterAll(() => host.end());

describe.each(files)("the grammar, %s", (file) => {
  it.each(casesOf(file))("$name: the forced command", { timeout: 60_000 }, async (golden) => {
    const before = host.powerCalls().length;
    const logged = host.text("log").split("\n").length;
    const { exit_code, result, stdout, stderr } = await host.run(bytesOf(golden), golden.pinned);
    if (golden.expect === "refused") {
      expect({ exit_code, stdout }).toEqual({
        exit_code: 2,
        stdout: expect.stringMatching(/^BG1 [^\n]*\n$/),
      });
      expect(result).toMatchObject({ result: "refused", code: 2, verb: null, vmid: null });
      expect(stderr).toMatch(/^Refused: /);
      // One line, whatever was in the words.
      expect(host.text("log").split("\n").length).toBe(logged + 1);
      expect(host.text("log")).toMatch(/^[\x20-\x7e\n]*$/);
      expect(host.powerCalls().length).toBe(before);
    } else {
      expect(exit_code).not.toBe(2);
      // A mutating verb is a job in any case: without an id of the caller's the host makes one.
      const isJob = mutatingVerbs.some((verb) => verb === result["verb"]);
      const job = golden.expect.job ?? (isJob ? expect.stringMatching(uuid) : null);
      expect(result).toMatchObject({ ...golden.expect, job });
    }
  });

  it.each(casesOf(file))("$name: the protocol", (golden) => {
    expect(parseSentence(bytesOf(golden).toString("utf8"), golden.pinned)).toEqual(golden.expect);
  });
});

it("has a golden case for every verb, so that a new one cannot be forgotten in bash", () => {
  const covered = files
    .flatMap(casesOf)
    .flatMap((golden) => (golden.expect === "refused" ? [] : [golden.expect.verb]));
  expect([...new Set(covered)]).toEqual(expect.arrayContaining([...verbNames]));
});

it("knows the same mutating verbs on both sides", () => {
  const perl = readFileSync(join(import.meta.dirname, "../../host/lib/main.pl"), "utf8");
  const mutating = /^my %is_mutating = .* qw\(([a-z ]+)\);$/m.exec(perl)?.[1]?.split(" ");
  expect(mutating?.toSorted()).toEqual([...mutatingVerbs]);
});

it.each([[], ["1"], ["0102"], ["102;id"], ["-x"], ["102", "a"]])(
  "with VM ids of its own that are none (%s), does nothing and says so",
  { timeout: 60_000 },
  async (...vmids) => {
    expect((await host.run("status", vmids)).exit_code).toBe(4);
  },
);

function bytesOf({ input, input_hex, repeat }: Case): Buffer {
  if (input_hex !== undefined) return Buffer.from(input_hex, "hex");
  return Buffer.from(repeat === undefined ? input! : repeat.text.repeat(repeat.times));
}

/** The forced command's grammar in the protocol's words. */
function parseSentence(said: string, pinned: readonly number[]): Case["expect"] {
  if (said === "v2 hello") return { verb: "hello", vmid: null, job: null };
  const [, attached] = /^v2 attach ([^ ]+) (?:0|[1-9]\d{0,14})$/.exec(said) ?? [];
  if (attached !== undefined)
    return isUuid(attached) ? { verb: "attach", vmid: null, job: attached } : "refused";
  const words = said.split(" ");
  const job = words[0] === "v2" ? words.splice(0, 3, words[1] ?? "")[2] : null;
  const [word, named, ...more] = words;
  const verb = parseVerb(word);
  const vmid =
    pinned.length === 1 && named === undefined ? pinned[0] : pinned.find((id) => String(id) === named);
  const pinnedIsSaid = pinned.length === 1 && named !== undefined;
  if (verb === undefined || vmid === undefined || pinnedIsSaid || more.length > 0) return "refused";
  if (job !== null && !isUuid(job)) return "refused";
  return { verb, vmid, job };
}
