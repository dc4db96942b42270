import { readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, inflateSync } from "node:zlib";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openQmp, readOperations } from "../host/qmp.ts";
import { spawnDemo, type RunningDemo } from "./demo.ts";

let demo: RunningDemo;
beforeEach(async () => {
  demo = await spawnDemo();
});
afterEach(() => demo.end());

const monitor = async () => {
  const qmp = await openQmp(join(demo.dir, "102.qmp"));
  await qmp.ask("qmp_capabilities");
  return qmp;
};

it("answers its monitor at once while its disk is stalled: only the counters stand still", async () => {
  const qmp = await monitor();
  const before = await readOperations(qmp);
  await expect.poll(() => readOperations(qmp)).toBeGreaterThan(before);
  await demo.control({ do: "wedge" });
  const stalled = await readOperations(qmp);
  expect(await qmp.ask("query-status")).toEqual({ return: { status: "running", running: true } });
  expect(await readOperations(qmp)).toBe(stalled);
  expect(await qmp.ask("quit")).toMatchObject({ error: { class: "CommandNotFound" } });
  qmp.end();
});

it("draws its screen, which tells of the stall", async () => {
  const qmp = await monitor();
  const filename = join(demo.dir, "screen.png");
  const draw = async () => {
    expect(await qmp.ask("screendump", { arguments: { filename, format: "png" } })).toEqual({ return: {} });
    return lightPixels(readFileSync(filename));
  };
  const login = await draw();
  expect(login).toBeGreaterThan(100);
  await demo.control({ do: "wedge" });
  expect(await draw()).toBeGreaterThan(3 * login);
  qmp.end();
});

it("has no monitor while it is off, and one again when it is on", async () => {
  expect((await demo.control({ do: "qm", argv: ["stop", "102"] }))["code"]).toBe(0);
  await expect(monitor()).rejects.toThrow("ENOENT");
  expect((await demo.control({ do: "qm", argv: ["start", "102"] }))["code"]).toBe(0);
  (await monitor()).end();
});

/** Reads a picture of one bit a pixel, and checks it on the way. */
function lightPixels(png: Buffer): number {
  expect(png.subarray(0, 8).toString("latin1")).toBe("\x89PNG\r\n\x1a\n");
  let bits = 0;
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    const named = png.subarray(at + 4, at + 8 + length);
    expect(png.readUInt32BE(at + 8 + length)).toBe(crc32(named));
    if (named.toString("latin1", 0, 4) === "IDAT")
      for (const byte of inflateSync(named.subarray(4))) for (let b = byte; b > 0; b >>= 1) bits += b & 1;
    at += 12 + length;
  }
  return bits;
}
