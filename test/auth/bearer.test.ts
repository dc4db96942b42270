import { expect, test } from "vitest";
import { request, stage, tokenConfig } from "./stage.ts";

const tokens = [tokenConfig("ana", "ana-token"), tokenConfig("graph", "graph-token", "read")];
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

test("a configured token names who comes with it, and what they may", () => {
  const { auth } = stage({ credentials: { tokens } });
  expect(auth.identify(request("GET", bearer("ana-token")))).toEqual({
    kind: "actor",
    name: "ana",
    scope: "operate",
    via: "bearer",
  });
  expect(auth.identify(request("GET", bearer("graph-token")))).toMatchObject({
    name: "graph",
    scope: "read",
  });
});

test.each(["bearer ana-token", "BEARER ana-token", "Bearer   ana-token", "Bearer\tana-token"])(
  "%j is a bearer",
  (value) => {
    expect(
      stage({ credentials: { tokens } }).auth.identify(request("GET", { authorization: value })).kind,
    ).toBe("actor");
  },
);

test.each([
  "Bearer",
  "Bearer ",
  "Bearer ana-toke",
  "Bearer ana-tokenn",
  "Bearer ANA-TOKEN",
  "Bearer ana-token, graph-token",
  "Bearer ana-token\0",
  "Bearer ana-token ana-token",
  "Bearer 'ana-token'",
  `Bearer ${"x".repeat(15_000)}`,
  `Bearer ${tokens[0]!.sha256}`,
  "Bearer undefined",
  "Bearer [object Object]",
])("%j is refused with 401 and the reason", (value) => {
  const answer = stage({ credentials: { tokens } }).auth.identify(request("GET", { authorization: value }));
  expect(answer).toMatchObject({ kind: "refused", status: 401, headers: { "WWW-Authenticate": "Bearer" } });
});

test("with no token configured every bearer is refused, the empty one too", () => {
  for (const value of ["Bearer", "Bearer ", "Bearer x"])
    expect(stage().auth.identify(request("GET", { authorization: value }))).toMatchObject({
      kind: "refused",
      status: 401,
    });
});

test("two Authorization headers are refused, even when both are right", () => {
  const both = request("GET", { authorization: ["Bearer ana-token", "Bearer ana-token"] });
  expect(stage({ credentials: { tokens } }).auth.identify(both)).toMatchObject({
    kind: "refused",
    status: 400,
  });
});

test("another scheme is nobody's identity here", () => {
  for (const value of ["Basic YW5hOmFuYQ==", "Bearerana-token", "", "Token ana-token"])
    expect(
      stage({ credentials: { tokens } }).auth.identify(request("GET", { authorization: value })).kind,
    ).toBe("none");
});

test("a bearer may act from anywhere, unless it may only read", () => {
  const { auth } = stage({ credentials: { tokens } });
  const foreign = { Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site", Host: "evil.example" };
  expect(auth.admit(request("POST", { ...bearer("ana-token"), ...foreign }))).toMatchObject({
    kind: "actor",
    name: "ana",
  });
  expect(auth.admit(request("GET", bearer("graph-token")))).toMatchObject({ kind: "actor", name: "graph" });
  for (const method of ["POST", "PUT", "PATCH", "DELETE", "PURGE"])
    expect(auth.admit(request(method, bearer("graph-token")))).toMatchObject({
      kind: "refused",
      status: 403,
    });
});

test("a wrong token is not helped by a right cookie or by an edge", () => {
  const { auth } = stage({ credentials: { tokens } });
  const login = auth.login(request("POST"), "ana-token");
  const cookie = login.kind === "in" ? login.setCookie.split(";")[0]! : "";
  expect(auth.identify(request("GET", { cookie })).kind).toBe("actor");
  expect(auth.identify(request("GET", { cookie, ...bearer("wrong") }))).toMatchObject({ status: 401 });
});

test("wrong credentials wait longer and longer by source, and the right one works at once all the same", () => {
  const { auth, clock } = stage({ credentials: { tokens } });
  const wrong = (address: string) => auth.identify(request("GET", bearer("wrong"), address));
  for (let n = 0; n < 5; n++) expect(wrong("192.0.2.1")).toMatchObject({ status: 401 });
  const waits = Array.from({ length: 12 }, () => wrong("192.0.2.1")).map((answer) =>
    answer.kind === "refused" && answer.status === 429 ? Number(answer.headers?.["Retry-After"]) : NaN,
  );
  expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
  expect(auth.identify(request("GET", bearer("ana-token"), "192.0.2.1")).kind).toBe("actor");
  expect(wrong("::ffff:192.0.2.1")).toMatchObject({ status: 429 });
  expect(wrong("192.0.2.2")).toMatchObject({ status: 401 });
  expect(auth.login(request("POST", {}, "192.0.2.1"), "wrong")).toMatchObject({ status: 429 });
  expect(auth.login(request("POST", {}, "192.0.2.1"), auth.mintLink())).toMatchObject({ kind: "in" });
  clock.pass(15 * 60 + 1);
  expect(wrong("192.0.2.1")).toMatchObject({ status: 401 });
});

test("one customer's IPv6 addresses are one source", () => {
  const { auth } = stage({ credentials: { tokens } });
  const wrong = (address: string | undefined) =>
    auth.identify({ ...request("GET", bearer("wrong")), remoteAddress: address });
  for (let n = 0; n < 5; n++) wrong(`2001:db8:1:2::${n}`);
  expect(wrong("2001:db8:1:2:ffff::1")).toMatchObject({ status: 429 });
  expect(wrong("2001:db8:1:3::1")).toMatchObject({ status: 401 });
  for (const address of ["::1", "::", "fe80::1%eth0", undefined, ""])
    expect(wrong(address)).toMatchObject({ status: 401 });
});

test("a flood of sources forgets the oldest and keeps serving", () => {
  const { auth } = stage({ credentials: { tokens } });
  const wrong = (address: string) => auth.identify(request("GET", bearer("wrong"), address));
  for (let n = 0; n < 6; n++) wrong("192.0.2.1");
  for (let n = 0; n < 1024; n++) wrong(`10.0.${n >> 8}.${n & 255}`);
  expect(wrong("192.0.2.1")).toMatchObject({ status: 401 });
});
