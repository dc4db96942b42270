import { expect, test } from "vitest";
import { publicUrl, stage } from "./stage.ts";

test("every answer forbids what the page does not need", () => {
  const headers = stage().auth.securityHeaders("/");
  expect(headers).toMatchObject({
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
  });
  const policy = headers["Content-Security-Policy"] ?? "";
  expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/);
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toMatch(/unsafe|\*|http:/);
  expect(Object.keys(headers).filter((name) => /access-control/i.test(name))).toEqual([]);
});

test("only https promises https, and only the private is kept out of caches", () => {
  expect(stage().auth.securityHeaders("/")).not.toHaveProperty("Strict-Transport-Security");
  expect(stage({ publicUrl }).auth.securityHeaders("/api/x")["Strict-Transport-Security"]).toBe(
    "max-age=31536000",
  );
  for (const path of ["/api", "/api/session"])
    expect(stage().auth.securityHeaders(path)["Cache-Control"]).toBe("no-store");
  for (const path of ["/", "/apiary", "/assets/main.js"])
    expect(stage().auth.securityHeaders(path)).not.toHaveProperty("Cache-Control");
});

test("behind a real server the peer's address and the raw headers are what is judged", async () => {
  const { createServer, request: ask } = await import("node:http");
  const { authRequest } = await import("../../src/server/auth/request.ts");
  const { ranges } = await import("./stage.ts");
  const { auth } = stage({ credentials: { trustedProxies: ranges("127.0.0.1/32") } });
  const server = createServer((message, answer) =>
    answer.end(JSON.stringify(auth.identify(authRequest(message)))),
  );
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const identity = (headers: string[]) =>
    new Promise((resolve, reject) => {
      const asking = ask({ host: "127.0.0.1", port, headers: ["Host", "x", ...headers] }, (answer) => {
        let text = "";
        answer.on("data", (chunk: Buffer) => (text += chunk.toString()));
        answer.on("end", () => resolve(JSON.parse(text)));
      });
      asking.on("error", reject).end();
    });
  try {
    expect(await identity(["X-Authentik-Username", "ana"])).toMatchObject({
      kind: "actor",
      name: "ana",
      via: "edge",
    });
    expect(await identity(["X-Authentik-Username", "ana", "x-authentik-username", "root"])).toMatchObject({
      status: 400,
    });
    expect(await identity(["X-Authentik-Username", "ana", "X_Authentik_Username", "root"])).toMatchObject({
      status: 400,
    });
  } finally {
    server.close();
  }
});
