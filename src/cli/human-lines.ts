import { visibleText } from "../protocol/visible.ts";
import { humanLines } from "../protocol/words.ts";

/** Prints output as it comes, without the lines for machines: a line is held until its end shows which it is. */
export class HumanLines {
  readonly #print: (text: string) => void;
  #begun = "";

  constructor(print: (text: string) => void) {
    this.#print = print;
  }

  add(text: string): void {
    const all = this.#begun + text;
    const whole = all.lastIndexOf("\n") + 1;
    this.#begun = all.slice(whole);
    const shown = humanLines(all.slice(0, whole));
    if (shown !== "") this.#print(visibleText(shown));
  }

  /** What came without a line's end. */
  end(): void {
    if (this.#begun !== "") this.add("\n");
  }
}
