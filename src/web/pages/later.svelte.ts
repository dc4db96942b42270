type Parts = typeof import("./later.ts");

/** Where the browser cannot say when it is idle, the first picture gets this long. */
const firstPictureMs = 500;

/** Parts that come after the first load: they are there long before anybody taps, unless the network goes at once. */
export class Later {
  parts = $state.raw<Parts | null>(null);
  failed = $state(false);

  /** Fetched now, and from then on there without a network. After a failure it can be called again. */
  async fetch(): Promise<void> {
    this.failed = false;
    try {
      this.parts = await import("./later.ts");
    } catch {
      this.failed = true;
    }
  }

  fetchWhenIdle(): void {
    const fetch = () => void this.fetch();
    if ("requestIdleCallback" in window) requestIdleCallback(fetch, { timeout: firstPictureMs });
    else setTimeout(fetch, firstPictureMs);
  }
}
