/** A clock that differs from the server's by less is left as it is: requests take time too. */
const skewMinMs = 3000;

/** The server's time, each second: a phone's own clock may be minutes off, and "40 s ago" must be true. */
export class ServerClock {
  now = $state(Date.now());
  #skewMs = 0;

  constructor() {
    setInterval(() => this.#tick(), 1000);
    document.addEventListener("visibilitychange", () => this.#tick());
  }

  heard(serverTime: Date): void {
    const skewMs = serverTime.getTime() - Date.now();
    this.#skewMs = Math.abs(skewMs) > skewMinMs ? skewMs : 0;
    this.#tick();
  }

  #tick(): void {
    this.now = Date.now() + this.#skewMs;
  }
}
