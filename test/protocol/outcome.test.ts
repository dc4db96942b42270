import { expect, test } from "vitest";
import { outcomeOf } from "../../src/protocol/outcome.ts";
import { mutatingVerbs, parseVerb, verbNames } from "../../src/protocol/verbs.ts";

const observed = (state: string, changed = true) =>
  `cycle: the machine is on\nBG1 {"result":"done","state_after":"${state}","changed":${changed}}\n`;

test("exit 0 with the goal seen is done", () => {
  expect(outcomeOf("cycle", { exit_code: 0, stdout: observed("running"), stderr: "" })).toEqual({
    kind: "done",
    changed: true,
    state: "running",
  });
});

test.each([
  ["says nothing about what it saw", "ok\n"],
  ["saw something else", observed("stopped")],
  ["ends in a torn machine line", `BG1 {"result":"do`],
])("exit 0 from a host that %s is unknown, never success", (_, stdout) => {
  expect(outcomeOf("cycle", { exit_code: 0, stdout, stderr: "" }).kind).toBe("unknown");
});

test.each([
  [2, "refused"],
  [3, "refused"],
  [9, "refused"],
  [75, "busy"],
  [4, "failed"],
  [6, "failed"],
  [7, "failed"],
  [5, "unknown"],
  [8, "unknown"],
  [255, "unknown"],
  [1, "unknown"],
  [null, "unknown"],
])("exit %j is %s", (exit_code, kind) => {
  expect(outcomeOf("cycle", { exit_code, stdout: "", stderr: "words\n" }).kind).toBe(kind);
});

test("exit 6 says that the machine is off", () => {
  const outcome = outcomeOf("cycle", { exit_code: 6, stdout: "", stderr: "start failed three times\n" });
  expect(outcome).toMatchObject({ reason: expect.stringContaining("The machine is OFF") });
});

test("the verbs are a closed list, compared whole", () => {
  expect(verbNames).toEqual(["cycle", "forensics", "reset", "start", "status", "stop"]);
  expect(mutatingVerbs).toEqual(["cycle", "reset", "start", "stop"]);
  for (const word of [
    "",
    "Status",
    "status ",
    "status\n",
    "status; id",
    "toString",
    "__proto__",
    null,
    7,
    ["status"],
  ])
    expect(parseVerb(word)).toBeUndefined();
});
