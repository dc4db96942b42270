import { expect, test } from "vitest";
import { createAuth } from "../../src/server/auth/auth.ts";
import { cookieOf, HeldClock, publicUrl, request, signedIn, stage, tokenConfig } from "./stage.ts";

const day = 24 * 3600;

test("a link works once", () => {
  const { auth } = stage();
  const link = auth.mintLink("ana");
  expect(link).toMatch(/^[A-Za-z0-9_-]{43}$/);
  const answer = auth.login(request("POST"), link);
  expect(answer).toMatchObject({ kind: "in", name: "ana" });
  expect(auth.login(request("POST"), link)).toMatchObject({ kind: "refused", status: 401 });
});

test("a link works for ten minutes", () => {
  const { auth, clock } = stage();
  const [early, late] = [auth.mintLink(), auth.mintLink()];
  clock.pass(599);
  expect(auth.login(request("POST"), early).kind).toBe("in");
  clock.pass(1);
  expect(auth.login(request("POST"), late)).toMatchObject({ status: 401 });
});

test("at most 32 links are open at once: the oldest is void", () => {
  const { auth } = stage();
  const links = Array.from({ length: 33 }, () => auth.mintLink());
  expect(auth.login(request("POST"), links[0]!).kind).toBe("refused");
  expect(auth.login(request("POST"), links[1]!).kind).toBe("in");
});

test.each(["", " ", "x", "__proto__", "constructor", "\0", "x".repeat(1_000_000), "\ud800"])(
  "%j is no link",
  (credential) => {
    const { auth } = stage();
    auth.mintLink();
    expect(auth.login(request("POST"), credential)).toMatchObject({ kind: "refused", status: 401 });
  },
);

test("a foreign page cannot use a link up, or sign anybody in", () => {
  const { auth } = stage();
  const link = auth.mintLink();
  const foreign = [
    { "Sec-Fetch-Site": "cross-site", Host: "127.0.0.1:8080" },
    { Origin: "https://evil.example", Host: "127.0.0.1:8080" },
    { Origin: "http://evil.example", Host: "evil.example" },
  ];
  for (const headers of foreign)
    expect(auth.login(request("POST", headers), link)).toMatchObject({ status: 403 });
  expect(
    auth.login(request("POST", { Origin: "http://127.0.0.1:8080", Host: "127.0.0.1:8080" }), link).kind,
  ).toBe("in");
});

test("the cookie is for this site, for no script, and for https where the public URL says so", () => {
  const plain = stage();
  const overHttp = plain.auth.login(request("POST"), plain.auth.mintLink());
  expect(overHttp.kind === "in" && overHttp.setCookie).toMatch(
    /^breakglass=[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=2592000$/,
  );
  const { auth } = stage({ publicUrl });
  const overHttps = auth.login(request("POST"), auth.mintLink());
  expect(overHttps.kind === "in" && overHttps.setCookie).toMatch(
    /^__Host-breakglass=\S+; Path=\/; HttpOnly; SameSite=Strict; Secure; Max-Age=2592000$/,
  );
});

test("a cookie says who, for thirty days, and outlives a restart", () => {
  const { auth, clock } = stage();
  const cookie = signedIn(auth, "ana");
  expect(auth.identify(request("GET", { cookie }))).toMatchObject({
    kind: "actor",
    name: "ana",
    scope: "operate",
    via: "cookie",
  });
  const restarted = stage({ clock }).auth;
  clock.pass(30 * day - 1);
  expect(restarted.identify(request("GET", { cookie: `other=1; ${cookie}; more=2` }))).toMatchObject({
    name: "ana",
  });
  clock.pass(1);
  expect(restarted.identify(request("GET", { cookie })).kind).toBe("none");
});

test("with another secret it is nothing", () => {
  const cookie = signedIn(stage().auth);
  const config = {
    listen: { host: "127.0.0.1", port: 1 },
    publicUrl: null,
    auth: { tokens: [], trustedProxies: [], proxySecret: null, edgeHeader: "x" },
  };
  const other = createAuth({
    clock: new HeldClock(),
    random: (n) => Buffer.alloc(n),
    secret: Buffer.alloc(32, 8),
    config,
  });
  expect(other.identify(request("GET", { cookie })).kind).toBe("none");
  expect(() =>
    createAuth({ clock: new HeldClock(), random: (n) => Buffer.alloc(n), secret: Buffer.alloc(8), config }),
  ).toThrow("32 bytes");
});

test("no change to a cookie goes unseen", () => {
  const { auth } = stage();
  const cookie = signedIn(auth, "ana");
  const [name, value = ""] = cookie.split("=");
  const [payload = "", seal = ""] = value.split(".");
  const forgedClaims = Buffer.from(payload, "base64url").toString().replace("ana", "eve");
  const forged = Buffer.from(forgedClaims).toString("base64url");
  const values = [
    "",
    ".",
    "..",
    payload,
    `${payload}.`,
    `.${seal}`,
    `${payload}.${seal}.`,
    `${payload}.${seal}x`,
    `${forged}.${seal}`,
    `${payload}.${"A".repeat(43)}`,
    `${seal}.${payload}`,
    "null.null",
    "%00",
    "é".repeat(43),
  ];
  for (let at = 0; at < value.length; at += 7)
    values.push(value.slice(0, at) + (value[at] === "A" ? "B" : "A") + value.slice(at + 1));
  for (const wrong of values)
    expect(auth.identify(request("GET", { cookie: `${name}=${wrong}` })).kind).toBe("none");
  // One that another host planted beside it does no harm.
  expect(auth.identify(request("GET", { cookie: `${name}=planted; ${cookie}` })).kind).toBe("actor");
  expect(auth.identify(request("GET", { cookie: ["a=b", cookie] })).kind).toBe("actor");
});

test("a form token is no cookie, whatever it is sealed with", () => {
  const { auth } = stage();
  const actor = auth.identify(request("GET", { cookie: signedIn(auth) }));
  const form = actor.kind === "actor" ? auth.formToken(actor) : "";
  expect(auth.identify(request("GET", { cookie: `breakglass=${form}` })).kind).toBe("none");
});

test("a token is traded for a cookie with its name and scope, which ends with the token", () => {
  const tokens = [tokenConfig("graph", "graph-token", "read")];
  const { auth, clock } = stage({ credentials: { tokens } });
  const answer = auth.login(request("POST"), "graph-token");
  const cookie = answer.kind === "in" ? cookieOf(answer.setCookie) : "";
  expect(auth.identify(request("GET", { cookie }))).toMatchObject({
    name: "graph",
    scope: "read",
    via: "cookie",
  });
  expect(cookie).not.toContain(tokens[0]!.sha256);
  const promoted = stage({ clock, credentials: { tokens: [tokenConfig("graph", "graph-token")] } }).auth;
  expect(promoted.identify(request("GET", { cookie }))).toMatchObject({ scope: "operate" });
  const renewed = stage({ clock, credentials: { tokens: [tokenConfig("graph", "another-token")] } }).auth;
  expect(renewed.identify(request("GET", { cookie })).kind).toBe("none");
});

test("signing out voids this cookie and no other, and has the browser forget it", () => {
  const { auth } = stage();
  const [mine, other] = [signedIn(auth), signedIn(auth)];
  expect(auth.logout(request("POST", { cookie: mine }))).toHaveProperty(
    "setCookie",
    "breakglass=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0",
  );
  expect(auth.identify(request("GET", { cookie: mine })).kind).toBe("none");
  expect(auth.identify(request("GET", { cookie: other })).kind).toBe("actor");
  expect(auth.logout(request("POST"))).toMatchObject({ setCookie: expect.stringContaining("Max-Age=0") });
});

test("a revocation beyond the bound never lets a voided cookie in again", () => {
  const { auth, clock } = stage();
  const first = signedIn(auth);
  auth.logout(request("POST", { cookie: first }));
  for (let n = 0; n < 1000; n++) {
    clock.pass(1);
    auth.logout(request("POST", { cookie: signedIn(auth) }));
  }
  clock.pass(1);
  const last = signedIn(auth);
  expect(auth.identify(request("GET", { cookie: first })).kind).toBe("none");
  expect(auth.identify(request("GET", { cookie: last })).kind).toBe("actor");
});
