import { describe, expect, onTestFinished, test } from "vitest";
import { createServer as createHttp, type IncomingMessage, type RequestListener } from "node:http";
import { createServer as createTcp, type AddressInfo, type Server, type Socket } from "node:net";
import { createModelWatch, type ModelSign, type ModelWatch } from "../../src/server/agent/model.ts";
import { handClock, type HandClock } from "../doubles/hand-clock.ts";

const host = "127.0.0.1";

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return `${host}:${(server.address() as AddressInfo).port}`;
}

/** A place that answers as `answer` says, and keeps what it was asked. */
async function place(answer: RequestListener = (_, response) => response.writeHead(404).end()) {
  const asked: IncomingMessage[] = [];
  const server = createHttp((request, response) => {
    asked.push(request);
    answer(request, response);
  });
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  onTestFinished(close);
  return { host: await listen(server), asked, close };
}

/** A place that takes connections and does with them what the test says. */
async function rawPlace(onConnection: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createTcp((socket) => {
    sockets.add(socket.on("error", () => {}));
    onConnection(socket);
  });
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return listen(server);
}

function watchOf(url: string, further: { readonly env?: Readonly<Record<string, string>> } = {}) {
  const clock = handClock();
  let env: Record<string, string> = { ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: "sk-very-secret" };
  const watch = createModelWatch({ clock, endpoint: () => ({ env }), env: further.env ?? {} });
  onTestFinished(() => watch.close());
  return { clock, watch, move: (to: string) => void (env = { ...env, ANTHROPIC_BASE_URL: to }) };
}

/** Resolves at the next change. */
function changed(watch: ModelWatch): Promise<void> {
  return new Promise((resolve) => {
    const end = watch.watch(() => {
      end();
      resolve();
    });
  });
}

/** Resolves when no look is under way and the next one is due after `ms`. */
async function rests(clock: HandClock, ms: number): Promise<void> {
  while (clock.next() !== ms) await new Promise((resolve) => setImmediate(resolve));
}

async function looked(watch: ModelWatch) {
  const change = changed(watch);
  watch.look();
  await change;
  return watch.now();
}

const sign = {
  refused: { kind: "refused", says: "The model refused the credential (401)." },
  strained: { kind: "strained", says: "The model is overloaded (529)." },
  unreached: { kind: "unreached", says: "The model cannot be reached." },
} as const satisfies Record<string, ModelSign>;

describe("looking for the model", () => {
  test("asks for the head of its place, path and all, with no credential, and reads no more", async () => {
    const model = await place((_, response) => response.writeHead(401).end());
    const { watch } = watchOf(`http://someone:pass@${model.host}/gateway/anthropic?key=sk-very-secret`);
    expect(watch.now()).toMatchObject({ state: "unknown", detail: "" });
    expect(await looked(watch)).toMatchObject({ state: "answers", detail: "" });
    expect(model.asked).toHaveLength(1);
    const [asked] = model.asked;
    expect(asked?.method).toBe("HEAD");
    expect(asked?.url).toBe("/gateway/anthropic");
    expect(JSON.stringify(asked?.rawHeaders)).not.toMatch(/secret|someone|authorization|x-api-key/i);
  });

  test("takes a redirect for an answer, and does not follow it", async () => {
    const elsewhere = await place();
    const model = await place((_, response) =>
      response.writeHead(302, { location: `http://${elsewhere.host}/` }).end(),
    );
    const { watch } = watchOf(`http://${model.host}`);
    expect(await looked(watch)).toMatchObject({ state: "answers" });
    expect(elsewhere.asked).toEqual([]);
  });

  test("says what does not answer, why, what to look at and what works meanwhile, and nothing secret", async () => {
    const model = await place();
    await model.close();
    const { watch } = watchOf(`http://someone:pass@${model.host}/x`);
    expect(await looked(watch)).toMatchObject({
      state: "gone",
      detail: `The model (${model.host}) cannot be reached: it refuses connections. Check the network and ANTHROPIC_BASE_URL. Runbooks and the power buttons work without it.`,
    });
  });

  test("gives up on a place that takes the question and says nothing, after five seconds", async () => {
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    const silent = await rawPlace((socket) => socket.once("data", () => resolve()));
    const { watch, clock } = watchOf(`http://${silent}`);
    const change = changed(watch);
    watch.start();
    await asked;
    clock.advance(4_900);
    expect(watch.now().state).toBe("unknown");
    clock.advance(200);
    await change;
    expect(watch.now()).toMatchObject({ state: "gone", detail: expect.stringContaining("no answer in 5 s") });
  });

  test("reads no head without end, and no body", async () => {
    const header = await rawPlace((socket) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      const pour = () => {
        while (!socket.destroyed && socket.write(`x-noise: ${"x".repeat(1000)}\r\n`));
      };
      socket.on("drain", pour).once("data", pour);
    });
    expect(await looked(watchOf(`http://${header}`).watch)).toMatchObject({ state: "gone" });
    const left = Promise.withResolvers<void>();
    const body = await rawPlace((socket) => {
      socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\n\r\n"));
      socket.once("close", () => left.resolve());
    });
    expect(await looked(watchOf(`http://${body}`).watch)).toMatchObject({ state: "answers" });
    await left.promise;
  });

  test.each([407, 502, 503, 504])(
    "does not take a %i of something in between for the model",
    async (status) => {
      const model = await place((_, response) => response.writeHead(status).end());
      expect(await looked(watchOf(`http://${model.host}`).watch)).toMatchObject({
        state: "unknown",
        detail: expect.stringContaining(`${status}`),
      });
    },
  );

  test("goes through the proxy that the agent is given, and past it where it is told to", async () => {
    const model = await place();
    const proxy = await place((_, response) => response.writeHead(200).end());
    const through = { HTTP_PROXY: `http://${proxy.host}` };
    await looked(watchOf("http://model.invalid/", { env: through }).watch);
    expect(proxy.asked[0]?.url).toBe("http://model.invalid/");
    await looked(watchOf(`http://${model.host}`, { env: { ...through, NO_PROXY: host } }).watch);
    expect([proxy.asked.length, model.asked.length]).toEqual([1, 1]);
  });

  test("a proxy of a kind that cannot be used from here leaves it unknown", async () => {
    const { watch } = watchOf("https://model.invalid/", { env: { HTTPS_PROXY: "socks5://127.0.0.1:1" } });
    expect(await looked(watch)).toMatchObject({
      state: "unknown",
      detail: expect.stringContaining("from here"),
    });
  });

  test("happens every minute, and every 15 s while it is gone", async () => {
    let here = true;
    const model = await place((_, response) => {
      if (here) response.writeHead(404).end();
      else response.destroy();
    });
    const { watch, clock } = watchOf(`http://${model.host}`);
    watch.start();
    await rests(clock, 60_000);
    expect([model.asked.length, watch.now().state]).toEqual([1, "answers"]);
    here = false;
    clock.advance(60_000);
    await rests(clock, 15_000);
    expect([model.asked.length, watch.now().state]).toEqual([2, "gone"]);
    here = true;
    clock.advance(15_000);
    await rests(clock, 60_000);
    expect([model.asked.length, watch.now().state]).toEqual([3, "answers"]);
    watch.close();
    expect(clock.next()).toBeUndefined();
  });
});

describe("what a turn has seen of the model", () => {
  test("holds at once, with what works meanwhile, until a turn is answered", async () => {
    const model = await place();
    const { watch } = watchOf(`http://${model.host}`);
    await looked(watch);
    watch.noted(sign.refused);
    expect(watch.now()).toMatchObject({
      state: "gone",
      detail: "The model refused the credential (401). Runbooks and the power buttons work without it.",
    });
    watch.noted({ kind: "answered" });
    expect(watch.now()).toMatchObject({ state: "answers", detail: "" });
  });

  test("is told once, and since when", async () => {
    const { watch, clock } = watchOf("http://model.invalid");
    let told = 0;
    watch.watch(() => void told++);
    watch.noted({ kind: "answered" });
    const { since } = watch.now();
    clock.advance(1_000);
    watch.noted({ kind: "answered" });
    expect(told).toBe(1);
    expect(watch.now().since).toBe(since);
  });

  test("of a refused credential is not taken back because something answers there", async () => {
    const model = await place();
    const { watch, clock, move } = watchOf(`http://${model.host}`);
    await looked(watch);
    watch.noted(sign.refused);
    for (let looks = 1; looks < 6; looks++) {
      await rests(clock, 15_000);
      expect(model.asked).toHaveLength(looks);
      expect(watch.now().state).toBe("gone");
      clock.advance(15_000);
    }
    const other = await place();
    move(`http://${other.host}`);
    watch.look();
    expect(watch.now().state).toBe("unknown");
    await changed(watch);
    expect(watch.now().state).toBe("answers");
  });

  test("of an overloaded model holds for a minute; then only the next prompt can tell", async () => {
    const model = await place();
    const { watch, clock } = watchOf(`http://${model.host}`);
    await looked(watch);
    watch.noted(sign.strained);
    for (let looks = 0; looks < 4; looks++) {
      await rests(clock, 15_000);
      expect(watch.now().state).toBe("gone");
      clock.advance(15_000);
    }
    await rests(clock, 60_000);
    expect(model.asked).toHaveLength(5);
    expect(watch.now()).toMatchObject({
      state: "unknown",
      detail:
        "The last turn ended so: The model is overloaded (529). Whether that is over the next prompt tells.",
    });
  });

  test("of an unreachable one is in doubt as soon as something answers there", async () => {
    const model = await place();
    const { watch } = watchOf(`http://${model.host}`);
    watch.noted(sign.unreached);
    expect(watch.now().state).toBe("gone");
    expect(await looked(watch)).toMatchObject({ state: "unknown" });
  });

  test("outweighs a look that began before it", async () => {
    const held = Promise.withResolvers<() => void>();
    const model = await place((_, response) => held.resolve(() => response.writeHead(200).end()));
    const { watch } = watchOf(`http://${model.host}`);
    watch.start();
    const answer = await held.promise;
    watch.noted(sign.unreached);
    answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect(watch.now().state).toBe("gone");
  });
});
