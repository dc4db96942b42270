import { expect, test } from "vitest";
import { judge, type GuestSight, type PowerSight } from "../../src/server/watch/judge.ts";

const guest = (kind: GuestSight["kind"]): GuestSight => ({ kind, seen: "" });
const power = (kind: PowerSight["kind"]): PowerSight => ({ kind, seen: "" });

test.each([
  [
    "a guest that answers is up although the hypervisor is silent",
    guest("answers"),
    power("unreachable"),
    "up",
  ],
  ["a banner without a round trip is degraded", guest("no_round_trip"), power("running"), "degraded"],
  ["off is stopped", guest("unreachable"), power("stopped"), "stopped"],
  ["running is no proof of life", guest("unreachable"), power("running"), "unreachable"],
  [
    "a connection without a banner from a running machine is a suspected stall",
    guest("silent"),
    power("running"),
    "stalled",
  ],
  [
    "neither side answering is unknown: it may be our network",
    guest("unreachable"),
    power("unreachable"),
    "unknown",
  ],
  ["a silent guest of an unknown hypervisor is unknown", guest("silent"), power("unreachable"), "unknown"],
  ["a guest without a power side is unreachable", guest("unreachable"), null, "unreachable"],
  ["running alone, with no guest side, is unknown", null, power("running"), "unknown"],
  ["nothing asked yet is unknown", null, null, "unknown"],
] as const)("%s", (_, seenGuest, seenPower, state) => {
  expect(judge({ guest: seenGuest, power: seenPower })).toBe(state);
});
