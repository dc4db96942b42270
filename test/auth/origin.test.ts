import { expect, test } from "vitest";
import type { Endpoint } from "../../src/server/config/config.ts";
import { publicUrl, request, signedIn, stage } from "./stage.ts";

type Headers = Record<string, string | string[]>;

function verdict(
  where: { publicUrl?: string; listen?: Endpoint },
  headers: Headers,
  method = "POST",
): number {
  const { auth } = stage({
    publicUrl: where.publicUrl ?? null,
    ...(where.listen && { listen: where.listen }),
  });
  const answer = auth.admit(request(method, { cookie: signedIn(auth), ...headers }));
  return answer.kind === "actor" ? 200 : answer.status;
}

const local: Headers = { Host: "127.0.0.1:8080" };

test.each<[string, Headers, number]>([
  ["Sec-Fetch-Site same-origin", { ...local, "Sec-Fetch-Site": "same-origin" }, 200],
  [
    "and the Origin as well",
    { ...local, "Sec-Fetch-Site": "same-origin", Origin: "http://127.0.0.1:8080" },
    200,
  ],
  ["Origin alone", { ...local, Origin: "http://127.0.0.1:8080" }, 200],
  ["localhost", { Host: "localhost:8080", Origin: "http://localhost:8080" }, 200],
  ["LOCALHOST", { Host: "LOCALHOST:8080", Origin: "http://localhost:8080" }, 200],
  ["IPv6 loopback", { Host: "[::1]:8080", Origin: "http://[::1]:8080" }, 200],
  ["a forwarded port", { Host: "localhost:9999", Origin: "http://localhost:9999" }, 200],
  ["TLS in front", { Host: "localhost", Origin: "https://localhost" }, 200],
  [
    "a form of ours whose Origin is hidden",
    { ...local, "Sec-Fetch-Site": "same-origin", Origin: "null" },
    200,
  ],
  ["nothing at all", { ...local }, 403],
  ["Origin null", { ...local, Origin: "null" }, 403],
  ["cross-site", { ...local, "Sec-Fetch-Site": "cross-site" }, 403],
  ["same-site: another port of this machine", { ...local, "Sec-Fetch-Site": "same-site" }, 403],
  ["none: typed by hand", { ...local, "Sec-Fetch-Site": "none" }, 403],
  ["an unknown word", { ...local, "Sec-Fetch-Site": "Same-Origin" }, 403],
  ["an empty word", { ...local, "Sec-Fetch-Site": "" }, 403],
  ["two words", { ...local, "Sec-Fetch-Site": ["same-origin", "cross-site"] }, 403],
  [
    "same-origin with a foreign Origin",
    { ...local, "Sec-Fetch-Site": "same-origin", Origin: "https://evil.example" },
    403,
  ],
  [
    "cross-site with our Origin",
    { ...local, "Sec-Fetch-Site": "cross-site", Origin: "http://127.0.0.1:8080" },
    403,
  ],
  ["a foreign Origin", { ...local, Origin: "https://evil.example" }, 403],
  ["two Origins", { ...local, Origin: ["http://127.0.0.1:8080", "http://127.0.0.1:8080"] }, 403],
  ["another port", { ...local, Origin: "http://127.0.0.1:3000" }, 403],
  ["our Origin with a path", { ...local, Origin: "http://127.0.0.1:8080/" }, 403],
  ["our Origin as a prefix", { ...local, Origin: "http://127.0.0.1:8080.evil.example" }, 403],
  ["a user in the Origin", { ...local, Origin: "http://127.0.0.1:8080@evil.example" }, 403],
  ["another loopback name", { ...local, Origin: "http://localhost:8080" }, 403],
  ["a rebound name, seen by Origin", { Host: "evil.example:8080", Origin: "http://evil.example:8080" }, 403],
  [
    "a rebound name, seen by Sec-Fetch-Site",
    { Host: "evil.example:8080", "Sec-Fetch-Site": "same-origin" },
    403,
  ],
  [
    "a name that begins like ours",
    { Host: "localhost.evil.example", Origin: "http://localhost.evil.example" },
    403,
  ],
  [
    "a name that looks like an address",
    { Host: "127.0.0.1.nip.io:8080", Origin: "http://127.0.0.1.nip.io:8080" },
    403,
  ],
  ["another address", { Host: "192.0.2.1:8080", Origin: "http://192.0.2.1:8080" }, 403],
  ["no Host", { Origin: "http://127.0.0.1:8080" }, 403],
  ["two Hosts", { Host: ["127.0.0.1:8080", "127.0.0.1:8080"], Origin: "http://127.0.0.1:8080" }, 403],
  ["an empty Host", { Host: "", Origin: "http://127.0.0.1:8080" }, 403],
  ["a user in the Host", { Host: "evil.example@127.0.0.1:8080", Origin: "http://127.0.0.1:8080" }, 403],
  ["a path in the Host", { Host: "127.0.0.1:8080/x", Origin: "http://127.0.0.1:8080" }, 403],
  ["a port out of range", { Host: "127.0.0.1:99999", Origin: "http://127.0.0.1:99999" }, 403],
  [
    "a forwarded Host",
    { Host: "evil.example", "X-Forwarded-Host": "127.0.0.1:8080", Origin: "http://127.0.0.1:8080" },
    403,
  ],
])("without a public URL: %s", (_, headers, status) => {
  expect(verdict({}, headers)).toBe(status);
});

test.each<[string, Headers, number]>([
  ["its Origin", { Host: "rescue.example.org", Origin: publicUrl }, 200],
  ["its Host with the default port", { Host: "rescue.example.org:443", Origin: publicUrl }, 200],
  ["Sec-Fetch-Site", { Host: "RESCUE.example.org", "Sec-Fetch-Site": "same-origin" }, 200],
  ["a port forwarded to this machine", { Host: "localhost:8080", Origin: "http://localhost:8080" }, 200],
  ["its Origin without TLS", { Host: "rescue.example.org", Origin: "http://rescue.example.org" }, 403],
  ["another port", { Host: "rescue.example.org:8443", Origin: `${publicUrl}:8443` }, 403],
  ["a sibling", { Host: "rescue.example.org", Origin: "https://evil.example.org" }, 403],
  ["a Host that the proxy changed", { Host: "breakglass:8080", Origin: publicUrl }, 403],
  ["a rebound name", { Host: "evil.example", Origin: "https://evil.example" }, 403],
  ["an address", { Host: "192.0.2.1:8080", Origin: "http://192.0.2.1:8080" }, 403],
  ["our Origin under a loopback Host", { Host: "127.0.0.1:8080", Origin: publicUrl }, 403],
])("with a public URL: %s", (_, headers, status) => {
  expect(verdict({ publicUrl }, headers)).toBe(status);
});

test("on all interfaces an address is ours, and a name is not", () => {
  const listen = { host: "0.0.0.0", port: 8080 };
  expect(verdict({ listen }, { Host: "192.0.2.1:8080", Origin: "http://192.0.2.1:8080" })).toBe(200);
  expect(
    verdict({ listen: { host: "::", port: 1 } }, { Host: "[2001:db8::1]", Origin: "http://[2001:db8::1]" }),
  ).toBe(200);
  expect(verdict({ listen }, { Host: "evil.example:8080", Origin: "http://evil.example:8080" })).toBe(403);
});

test("with a public URL the address listened on is not ours any more", () => {
  const headers = { Host: "192.0.2.1:8080", Origin: "http://192.0.2.1:8080" };
  for (const host of ["0.0.0.0", "192.0.2.1"])
    expect(verdict({ publicUrl, listen: { host, port: 8080 } }, headers)).toBe(403);
});

test("on one address that address is ours, and no other", () => {
  const listen = { host: "2001:DB8::1", port: 8080 };
  expect(verdict({ listen }, { Host: "[2001:db8:0::1]:8080", Origin: "http://[2001:db8::1]:8080" })).toBe(
    200,
  );
  expect(verdict({ listen }, { Host: "[2001:db8::2]:8080", Origin: "http://[2001:db8::2]:8080" })).toBe(403);
});

test("looking needs no origin; asking beforehand is always refused; every other method is a change", () => {
  const foreign = { Host: "evil.example", Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site" };
  for (const method of ["GET", "HEAD"]) expect(verdict({}, foreign, method)).toBe(200);
  for (const method of ["OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY", "get"])
    expect(verdict({}, foreign, method)).toBe(403);
  expect(verdict({}, { ...local, Origin: "http://127.0.0.1:8080" }, "OPTIONS")).toBe(403);
});

test("nobody signed in is 401, before any question of origin", () => {
  const { auth } = stage();
  for (const method of ["GET", "POST"])
    expect(auth.admit(request(method, { Origin: "https://evil.example" }))).toMatchObject({
      kind: "refused",
      status: 401,
      detail: expect.stringContaining("npm run link"),
    });
});

test("a form token stands in where a browser says nothing, for its own cookie, for twelve hours", () => {
  const { auth, clock } = stage();
  const [cookie, other] = [signedIn(auth), signedIn(auth)];
  const actor = auth.admit(request("GET", { cookie }));
  const token = actor.kind === "actor" ? auth.formToken(actor) : "";
  const post = (headers: Headers, form: string | undefined) =>
    auth.admit(request("POST", headers), form).kind;
  expect(post({ cookie, Host: "127.0.0.1:8080" }, token)).toBe("actor");
  expect(post({ cookie, Host: "127.0.0.1:8080", Origin: "null" }, token)).toBe("actor");
  expect(post({ cookie, Host: "127.0.0.1:8080", Origin: "https://evil.example" }, token)).toBe("refused");
  expect(post({ cookie, Host: "127.0.0.1:8080", "Sec-Fetch-Site": "cross-site" }, token)).toBe("refused");
  expect(post({ cookie: other }, token)).toBe("refused");
  const [expires, seal] = token.split(".");
  const wrong = [
    undefined,
    "",
    ".",
    "x",
    `${expires}.`,
    `.${seal}`,
    `${Number(expires) + 1}.${seal}`,
    `${expires}.${"A".repeat(43)}`,
    `${token}x`,
    ` ${token}`,
  ];
  for (const form of wrong) expect(post({ cookie }, form)).toBe("refused");
  clock.pass(12 * 3600 - 1);
  expect(post({ cookie }, token)).toBe("actor");
  clock.pass(1);
  expect(post({ cookie }, token)).toBe("refused");
});
