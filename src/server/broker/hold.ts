/** A signal that is given anew each time it was ended: who took the old one sees that it was, and why. */
export class Hold {
  #controller = new AbortController();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** `why` is a sentence. */
  end(why: string): void {
    const old = this.#controller;
    this.#controller = new AbortController();
    old.abort(why);
  }
}
