import { expect, test } from "vitest";
import { proxySecret, ranges, request, signedIn, stage } from "./stage.ts";

const proxy = "198.51.100.7";
const credentials = { trustedProxies: ranges("198.51.100.7", "2001:db8::7") };
const named = (name: string) => ({ "X-authentik-username": name });

test.each([proxy, "::ffff:198.51.100.7", "::ffff:c633:6407", "2001:db8::7", "2001:0db8:0::7"])(
  "a trusted proxy at %s names the person",
  (address) => {
    const answer = stage({ credentials }).auth.identify(request("GET", named("ana"), address));
    expect(answer).toEqual({ kind: "actor", name: "ana", scope: "operate", via: "edge" });
  },
);

test.each([
  "192.0.2.1",
  "127.0.0.1",
  "::1",
  "::ffff:127.0.0.1",
  "198.51.100.8",
  "2001:db8::8",
  "",
  "not an address",
  "198.51.100.7.",
  "::ffff:198.51.100.8",
])("from %j the header is nothing", (address) => {
  const { auth } = stage({ credentials });
  expect(
    auth.identify(request("GET", { ...named("ana"), "X-Forwarded-For": proxy, "X-Real-IP": proxy }, address))
      .kind,
  ).toBe("none");
});

test("a peer that is gone is nobody", () => {
  expect(
    stage({ credentials }).auth.identify({ ...request("GET", named("ana")), remoteAddress: undefined }).kind,
  ).toBe("none");
});

test("without trusted proxies the header is nothing from anywhere", () => {
  for (const address of [proxy, "127.0.0.1", "::1"])
    expect(stage().auth.identify(request("GET", named("ana"), address)).kind).toBe("none");
});

test.each<[string, Record<string, string | string[]>]>([
  ["twice", { "X-authentik-username": ["ana", "root"] }],
  ["twice, alike", { "X-authentik-username": ["ana", "ana"] }],
  ["in two cases", { "X-authentik-username": "ana", "x-AUTHENTIK-username": "root" }],
  ["with underscores as well", { "X-authentik-username": "ana", X_authentik_username: "root" }],
  ["with underscores only", { X_AUTHENTIK_USERNAME: "root" }],
  ["half with underscores", { "X-authentik_username": "root" }],
  ["with dots", { "X.authentik.username": "root" }],
  ["with a tilde", { "X-authentik~username": "root" }],
  ["with two proxy secrets", { ...named("ana"), "X-Breakglass-Proxy-Secret": [proxySecret, "x"] }],
  ["with another spelling of the secret", { ...named("ana"), X_Breakglass_Proxy_Secret: proxySecret }],
])("a name that comes %s is refused", (_, headers) => {
  expect(stage({ credentials }).auth.identify(request("GET", headers, proxy))).toMatchObject({
    kind: "refused",
    status: 400,
  });
});

test.each([
  "ana,root",
  "ana, root",
  "agent",
  "AGENT",
  "breakglass",
  "a\tb",
  "a\u0001b",
  "x".repeat(101),
  "ana\xff",
  "\xe2\x80\xaeana",
  "a\xe2\x80\x8bb",
])("%j is no name for the record", (name) => {
  expect(stage({ credentials }).auth.identify(request("GET", named(name), proxy))).toMatchObject({
    kind: "refused",
    status: 403,
  });
});

test("a name in UTF-8 arrives as it was written", () => {
  const onTheWire = Buffer.from("Žofie Nováková").toString("latin1");
  expect(stage({ credentials }).auth.identify(request("GET", named(onTheWire), proxy))).toMatchObject({
    name: "Žofie Nováková",
  });
});

test("a proxy that names nobody leaves the cookie its say", () => {
  const { auth } = stage({ credentials });
  const cookie = signedIn(auth, "bo");
  expect(auth.identify(request("GET", { cookie }, proxy))).toMatchObject({ name: "bo", via: "cookie" });
  expect(auth.identify(request("GET", { cookie, ...named("") }, proxy))).toMatchObject({
    name: "bo",
    via: "cookie",
  });
  expect(auth.identify(request("GET", { cookie, ...named("ana") }, proxy))).toMatchObject({
    name: "ana",
    via: "edge",
  });
});

test("where a proxy secret is configured, the address alone is not enough", () => {
  const { auth } = stage({ credentials: { trustedProxies: ranges("127.0.0.0/8"), proxySecret } });
  const from = (given: string | undefined) =>
    auth.identify(
      request(
        "GET",
        { ...named("ana"), ...(given !== undefined && { "x-breakglass-proxy-secret": given }) },
        "127.0.0.1",
      ),
    );
  expect(from(proxySecret)).toMatchObject({ kind: "actor", name: "ana" });
  for (const given of [undefined, "", "x", `${proxySecret}x`, proxySecret.toUpperCase()]) {
    expect(from(given)).toMatchObject({
      kind: "refused",
      status: expect.toSatisfy((status) => [401, 429].includes(status)),
    });
  }
  expect(auth.identify(request("GET", { "x-breakglass-proxy-secret": proxySecret }, "127.0.0.1")).kind).toBe(
    "none",
  );
  expect(
    auth.identify(request("GET", { ...named("ana"), "x-breakglass-proxy-secret": proxySecret }, "192.0.2.1"))
      .kind,
  ).toBe("none");
});

test("the header's name is configurable", () => {
  const { auth } = stage({ credentials: { ...credentials, edgeHeader: "X-Forwarded-User" } });
  expect(auth.identify(request("GET", { "x-forwarded-user": "ana" }, proxy))).toMatchObject({ name: "ana" });
  expect(auth.identify(request("GET", named("ana"), proxy)).kind).toBe("none");
  expect(auth.identify(request("GET", { "x-forwarded_user": "ana" }, proxy))).toMatchObject({ status: 400 });
});

test("whom an edge names needs the same origin as whoever comes with a cookie", () => {
  const { auth } = stage({ credentials, publicUrl: "https://rescue.example.org" });
  const headers = { ...named("ana"), Host: "rescue.example.org" };
  expect(auth.admit(request("POST", { ...headers, Origin: "https://rescue.example.org" }, proxy)).kind).toBe(
    "actor",
  );
  expect(auth.admit(request("POST", { ...headers, Origin: "https://evil.example" }, proxy))).toMatchObject({
    status: 403,
  });
  expect(auth.admit(request("POST", headers, proxy))).toMatchObject({ status: 403 });
});
