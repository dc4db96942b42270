import { afterEach, expect, test } from "vitest";
import type { GuestSight, PowerSight } from "../../src/server/watch/judge.ts";
import { Watch } from "../../src/server/watch/watch.ts";
import { handClock } from "../doubles/hand-clock.ts";

let watch: Watch;
afterEach(() => watch.close());

/** A side that is answered by the test, one question at a time. */
function side<Sight>() {
  const asked: PromiseWithResolvers<Sight>[] = [];
  return {
    asked,
    ask: () => {
      const question = Promise.withResolvers<Sight>();
      asked.push(question);
      return question.promise;
    },
  };
}

function stage(sides: { guest?: true; power?: true }) {
  const clock = handClock();
  const guest = side<GuestSight>();
  const power = side<PowerSight>();
  const news: string[] = [];
  watch = new Watch({
    clock,
    targets: [
      {
        name: "devvm",
        isDefault: true,
        askGuest: sides.guest ? guest.ask : null,
        askPower: sides.power ? power.ask : null,
      },
    ],
    others: () => ({ current: null, last: null }),
    onChange: (all) => news.push(all[0]!.state),
  });
  watch.start();
  return {
    clock,
    guest: guest.asked,
    power: power.asked,
    news,
    status: () => watch.statuses()[0]!,
    /** Seconds of the hand clock, and everything that follows from them. */
    pass: async (seconds: number) => {
      clock.advance(seconds * 1_000);
      await settled();
    },
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
const at = (seconds: number) => new Date(seconds * 1_000).toISOString();
const answers: GuestSight = { kind: "answers", seen: "answers commands" };
const running: PowerSight = { kind: "running", seen: "says running" };

test("a probe that rejects is an unreachable side with the error's words, and looking goes on", async () => {
  const { guest, news, pass, status } = stage({ guest: true });
  guest[0]!.reject(new Error("too many open files"));
  await settled();
  expect(status()).toMatchObject({
    state: "unreachable",
    evidence: [{ probe: "guest over SSH", ok: false, seen: "too many open files", at: at(0) }],
  });
  await pass(5);
  guest[1]!.resolve(answers);
  await settled();
  expect(status()).toMatchObject({ state: "up", since: at(5) });
  expect(news).toEqual(["unreachable", "up"]);
});

test("a look that does not settle becomes unreachable, its late answer is ignored, and looking goes on", async () => {
  const { guest, pass, status } = stage({ guest: true });
  await pass(30);
  expect(status()).toMatchObject({
    state: "unreachable",
    evidence: [{ seen: "did not answer within 30 s", at: at(30) }],
  });
  guest[0]!.resolve(answers);
  await settled();
  expect(status().state).toBe("unreachable");
  await pass(5);
  guest[1]!.resolve(answers);
  await settled();
  expect(status().state).toBe("up");
});

test("a late rejection of a look that was given up harms nothing", async () => {
  const { guest, pass, status } = stage({ guest: true });
  await pass(30);
  guest[0]!.reject(new Error("too late"));
  await settled();
  expect(status().evidence).toMatchObject([{ seen: "did not answer within 30 s" }]);
});

test("each line of Evidence tells when it itself was seen", async () => {
  const { guest, power, pass, status } = stage({ guest: true, power: true });
  guest[0]!.resolve(answers);
  power[0]!.resolve(running);
  await settled();
  await pass(10);
  guest[1]!.resolve(answers);
  await settled();
  expect(status().evidence).toMatchObject([
    { probe: "guest over SSH", at: at(10) },
    { probe: "hypervisor", at: at(0) },
  ]);
});

test("what was seen more than three calm periods ago is no proof of life, and stays as Evidence", async () => {
  const { guest, news, pass, status } = stage({ guest: true });
  guest[0]!.resolve(answers);
  await settled();
  await pass(10);
  // The second look hangs.
  expect(guest.length).toBe(2);
  await pass(19);
  expect(status().state).toBe("up");
  await pass(1);
  expect(status()).toMatchObject({
    state: "unknown",
    since: at(30),
    evidence: [{ ok: true, seen: "answers commands", at: at(0) }],
  });
  expect(news).toEqual(["up", "unknown"]);
  guest[1]!.resolve(answers);
  await settled();
  expect(status()).toMatchObject({ state: "up", evidence: [{ at: at(30) }] });
});

test("a hypervisor that said stopped long ago is not believed any more", async () => {
  const { power, pass, status } = stage({ power: true });
  power[0]!.resolve({ kind: "stopped", seen: "says stopped" });
  await settled();
  expect(status().state).toBe("stopped");
  await pass(5);
  await pass(30);
  expect(status().evidence).toMatchObject([{ seen: "did not answer within 30 s", at: at(35) }]);
  expect(status().state).toBe("unknown");
});

test("a closed watch asks nothing more and says nothing more", async () => {
  const { guest, news, pass } = stage({ guest: true });
  guest[0]!.resolve(answers);
  await settled();
  watch.close();
  await pass(100);
  expect(guest.length).toBe(1);
  expect(news).toEqual(["up"]);
});
