import { expect, test } from "vitest";
import { HumanLines } from "../../src/cli/human-lines.ts";

test("lines for machines are left out wherever the output is cut, and what a terminal would obey is named", () => {
  const output = "Stopping.\tNow\nBG1 {}\n\u001b[2J\u009b1mforged\u0007\nrunning";
  for (let at = 0; at <= output.length; at++) {
    let shown = "";
    const lines = new HumanLines((text) => (shown += text));
    lines.add(output.slice(0, at));
    lines.add(output.slice(at));
    lines.end();
    expect(shown).toBe("Stopping.\tNow\n⟨U+001B⟩[2J⟨U+009B⟩1mforged⟨U+0007⟩\nrunning\n");
  }
});
