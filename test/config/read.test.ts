import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Problem } from "../../src/server/config/config.ts";
import { optionNames, type Environment } from "../../src/server/config/options.ts";
import { readConfig } from "../../src/server/config/read.ts";

const noFile = (path: string): string => {
  throw new Error(`ENOENT: no such file or directory, open '${path}'`);
};
const read = (env: Environment, ownAddresses?: readonly string[]) => readConfig(env, noFile, ownAddresses);
/** A machine that is configured as it should be. */
const good = { HOME: "/home/ana", BREAKGLASS_DEVVM_HOST: "192.0.2.10", BREAKGLASS_KEY_PATH: "/run/key" };
const problemText = ({ option, value, mend }: Problem) => `${option} is ${value}. ${mend}`;
const told = (problems: readonly Problem[]) => problems.map(({ option, stops }) => ({ option, stops }));
const secret = "0123456789abcdef0123456789abcdef";

test("with nothing set there are the defaults, no machine, and no credential that could let anybody in", async () => {
  const { config, problems, warnings } = await read({ HOME: "/home/ana" });
  expect(problems).toEqual([]);
  expect(told(warnings)).toEqual([{ option: "BREAKGLASS_DEVVM_HOST", stops: false }]);
  expect(config).toMatchObject({
    listen: { host: "127.0.0.1", port: 8080 },
    publicUrl: null,
    dataDir: "/home/ana/.local/state/breakglass",
    sessionsDir: "/home/ana/.local/state/breakglass/sessions",
    targets: [],
    keyPath: null,
    mode: "supervised",
    isolation: { kind: "auto" },
    verbTimeoutSeconds: 600,
    sseKeepaliveSeconds: 15,
    auth: { tokens: [], trustedProxies: [], proxySecret: null, edgeHeader: "X-authentik-username" },
    presets: null,
    nothingConfigured: true,
  });
  expect(config?.agent).toMatchObject({
    model: null,
    claudePath: null,
    maxConcurrentTurns: 3,
    turnTimeoutSeconds: 1800,
    credentials: {},
    problem: null,
  });
  expect(config?.agent.definitionPath).toBe(join(import.meta.dirname, "../../agents/breakglass.md"));
});

test("a deployment that sets everything gets everything", async () => {
  const { config, problems, warnings } = await read({
    BREAKGLASS_LISTEN: "0.0.0.0:0",
    BREAKGLASS_PUBLIC_URL: "https://Rescue.example.org:443/",
    BREAKGLASS_DATA_DIR: "/data",
    BREAKGLASS_SESSIONS_DIR: "/sessions/",
    BREAKGLASS_DEVVM_HOST: "192.0.2.10:2222",
    BREAKGLASS_DEVVM_USER: "fixer",
    BREAKGLASS_OBSERVE_USER: "looker",
    BREAKGLASS_PVE_HOST: "[2001:db8::2]:2022",
    BREAKGLASS_PVE_USER: "bg",
    BREAKGLASS_KEY_PATH: "/run/key",
    BREAKGLASS_AGENT: "/etc/agent.md",
    BREAKGLASS_MODEL: "claude-x[1m]",
    BREAKGLASS_CLAUDE: "/opt/claude",
    BREAKGLASS_MODE: "autonomous",
    BREAKGLASS_ISOLATION: "none",
    BREAKGLASS_MAX_CONCURRENT_TURNS: "7",
    BREAKGLASS_TURN_TIMEOUT_SECONDS: "2.5",
    BREAKGLASS_PVE_VERB_TIMEOUT_SECONDS: "300",
    BREAKGLASS_SSE_KEEPALIVE_SECONDS: "0.5",
    API_BEARER_TOKEN: ` ${secret}\n`,
    BREAKGLASS_TRUSTED_PROXIES: "198.51.100.7, 198.51.100.128/25 2001:db8:7::/64",
    BREAKGLASS_PROXY_SECRET: secret,
    ANTHROPIC_API_KEY: "k",
    CLAUDE_CODE_OAUTH_TOKEN: "o",
    ANTHROPIC_BASE_URL: "http://127.0.0.1:1/x",
  });
  expect([...problems, ...warnings]).toEqual([]);
  expect(config).toMatchObject({
    listen: { host: "0.0.0.0", port: 0 },
    publicUrl: "https://rescue.example.org",
    dataDir: "/data",
    sessionsDir: "/sessions",
    targets: [
      {
        name: "devvm",
        guest: { host: "192.0.2.10", port: 2222, user: "fixer", observeUser: "looker" },
        power: { host: "2001:db8::2", port: 2022, user: "bg" },
      },
    ],
    agent: {
      definitionPath: "/etc/agent.md",
      model: "claude-x[1m]",
      claudePath: "/opt/claude",
      maxConcurrentTurns: 7,
      turnTimeoutSeconds: 2.5,
      credentials: {
        ANTHROPIC_API_KEY: "k",
        CLAUDE_CODE_OAUTH_TOKEN: "o",
        ANTHROPIC_BASE_URL: "http://127.0.0.1:1/x",
      },
      problem: null,
    },
    mode: "autonomous",
    isolation: { kind: "none" },
    verbTimeoutSeconds: 300,
    sseKeepaliveSeconds: 0.5,
    auth: { tokens: [{ name: "api", scope: "operate" }], proxySecret: secret },
    nothingConfigured: false,
  });
  expect(config?.auth.trustedProxies).toHaveLength(3);
  expect(JSON.stringify(config?.auth.tokens)).not.toContain(secret);
});

test("all problems are told at once", async () => {
  const { config, problems } = await read({
    BREAKGLASS_LISTEN: "8080",
    BREAKGLASS_PUBLIC_URL: "rescue.example.org",
    BREAKGLASS_DEVVM_HOST: "-oProxyCommand=x",
    BREAKGLASS_MODE: "yolo",
    BREAKGLASS_MAX_CONCURRENT_TURNS: "0",
    BREAKGLASS_SSE_KEEPALIVE_SECONDS: "soon",
    BREAKGLASS_TRUSTED_PROXIES: "everyone",
  });
  expect(config).toBeNull();
  expect(told(problems)).toEqual(
    expect.arrayContaining([
      { option: "BREAKGLASS_LISTEN", stops: true },
      { option: "BREAKGLASS_PUBLIC_URL", stops: true },
      { option: "BREAKGLASS_DEVVM_HOST", stops: true },
      { option: "BREAKGLASS_KEY_PATH", stops: false },
      { option: "BREAKGLASS_MODE", stops: false },
      { option: "BREAKGLASS_MAX_CONCURRENT_TURNS", stops: false },
      { option: "BREAKGLASS_SSE_KEEPALIVE_SECONDS", stops: false },
      { option: "BREAKGLASS_TRUSTED_PROXIES", stops: true },
    ]),
  );
  expect(problems.map(problemText)).toContain(
    'BREAKGLASS_MAX_CONCURRENT_TURNS is "0". It must be a whole number from 1 to 32. Turns are refused until then; power and state work.',
  );
});

test.each<[string, Environment]>([
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: ":8080" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "8080" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "127.0.0.1:99999" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "127.0.0.1:80a" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "http://127.0.0.1:80" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "[127.0.0.1]:80" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "256.0.0.1:80" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "0.0.0.0:8080" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "[::]:8080" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "192.0.2.1:8080" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "console.example.org:8080" }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "0.0.0.0:8080", API_BEARER_TOKEN: " " }],
  ["BREAKGLASS_LISTEN", { BREAKGLASS_LISTEN: "0.0.0.0:8080", BREAKGLASS_PROXY_SECRET: secret }],
  ["BREAKGLASS_PUBLIC_URL", { BREAKGLASS_PUBLIC_URL: "https://x.example/path" }],
  ["BREAKGLASS_PUBLIC_URL", { BREAKGLASS_PUBLIC_URL: "https://x.example/?q" }],
  ["BREAKGLASS_PUBLIC_URL", { BREAKGLASS_PUBLIC_URL: "https://u:p@x.example" }],
  ["BREAKGLASS_PUBLIC_URL", { BREAKGLASS_PUBLIC_URL: "javascript:alert(1)" }],
  ["BREAKGLASS_DEVVM_HOST", { BREAKGLASS_DEVVM_HOST: "root@192.0.2.1" }],
  ["BREAKGLASS_DEVVM_HOST", { BREAKGLASS_DEVVM_HOST: "192.0.2.1:0" }],
  ["BREAKGLASS_DEVVM_HOST", { BREAKGLASS_DEVVM_HOST: "192.0.2.1\nProxyCommand x" }],
  ["BREAKGLASS_DEVVM_HOST", { BREAKGLASS_DEVVM_HOST: "a b" }],
  ["BREAKGLASS_DEVVM_HOST", { BREAKGLASS_DEVVM_HOST: "192.0.2" }],
  ["BREAKGLASS_DEVVM_HOST", { BREAKGLASS_DEVVM_HOST: "fe80::1%eth0" }],
  ["BREAKGLASS_DEVVM_HOST", { BREAKGLASS_DEVVM_HOST: "x".repeat(100_000) }],
  ["BREAKGLASS_PVE_HOST", { BREAKGLASS_PVE_HOST: "$(id)" }],
  ["BREAKGLASS_DEVVM_USER", { BREAKGLASS_DEVVM_USER: "-l" }],
  ["BREAKGLASS_DEVVM_USER", { BREAKGLASS_DEVVM_USER: "root;id" }],
  ["BREAKGLASS_OBSERVE_USER", { BREAKGLASS_OBSERVE_USER: "a@b" }],
  ["BREAKGLASS_PVE_USER", { BREAKGLASS_PVE_USER: "root" }],
  ["BREAKGLASS_DEVVM_USER", { BREAKGLASS_DEVVM_HOST: "", BREAKGLASS_DEVVM_USER: "root" }],
  ["API_BEARER_TOKEN", { API_BEARER_TOKEN: "two words" }],
  ["API_BEARER_TOKEN", { API_BEARER_TOKEN: "tökèn-of-some-length" }],
  ["API_BEARER_TOKEN", { API_BEARER_TOKEN: "x".repeat(5000) }],
  [
    "BREAKGLASS_PROXY_SECRET",
    { BREAKGLASS_TRUSTED_PROXIES: "198.51.100.7", BREAKGLASS_PROXY_SECRET: "short" },
  ],
  ...[
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "127.0.0.1",
    "127.5.0.0/16",
    "127.0.0.0/8",
    "::1",
    "::2/126",
    "198.51.100.0/23",
    "2001:db8::/63",
    "::ffff:198.51.100.7",
    "198.51.100.7/33",
    "2001:db8::/129",
    "198.51.100.7/",
    "198.51.100",
    "198.51.100.7/-1",
    "proxy.example",
    "198.51.100.7;198.51.100.8",
    "*",
    "fe80::1%eth0",
    "198.51.100.7/24/24",
    "203.0.113.0/24",
    "2001:db8:5::/64",
  ].map((range): [string, Environment] => [
    "BREAKGLASS_TRUSTED_PROXIES",
    { BREAKGLASS_TRUSTED_PROXIES: range },
  ]),
])("%s: %j stops the server", async (option, env) => {
  const { config, problems } = await read({ ...good, ...env }, ["127.0.0.1", "203.0.113.9", "2001:db8:5::9"]);
  expect(config).toBeNull();
  expect(told(problems)).toEqual([{ option, stops: true }]);
  expect(problems[0]?.mend).toMatch(/\S\.$/);
  expect(problems[0]?.value.length).toBeLessThan(200);
});

test.each(["127.0.0.1", "10.0.0.0/8", "203.0.113.0/24", "::1/128", "2001:db8::/32"])(
  "%s counts together with a proxy secret",
  async (range) => {
    const env = { ...good, BREAKGLASS_TRUSTED_PROXIES: range, BREAKGLASS_PROXY_SECRET: secret };
    expect((await read(env, ["203.0.113.9"])).problems).toEqual([]);
  },
);

test.each<[string, Environment]>([
  ["BREAKGLASS_AGENT", { BREAKGLASS_AGENT: "no such name" }],
  ["BREAKGLASS_MODEL", { BREAKGLASS_MODEL: "--dangerously" }],
  ["BREAKGLASS_MODEL", { BREAKGLASS_MODEL: "a\nb" }],
  ["BREAKGLASS_MODE", { BREAKGLASS_MODE: "Autonomous" }],
  ["BREAKGLASS_ISOLATION", { BREAKGLASS_ISOLATION: "no" }],
  ["BREAKGLASS_ISOLATION", { BREAKGLASS_ISOLATION: "account:" }],
  ["BREAKGLASS_ISOLATION", { BREAKGLASS_ISOLATION: "account:-u0" }],
  ["BREAKGLASS_ISOLATION", { BREAKGLASS_ISOLATION: "runner:relative.sock" }],
  ["BREAKGLASS_ISOLATION", { BREAKGLASS_ISOLATION: `runner:/${"x".repeat(110)}` }],
  ["BREAKGLASS_MAX_CONCURRENT_TURNS", { BREAKGLASS_MAX_CONCURRENT_TURNS: "1.5" }],
  ["BREAKGLASS_MAX_CONCURRENT_TURNS", { BREAKGLASS_MAX_CONCURRENT_TURNS: "33" }],
  ["BREAKGLASS_TURN_TIMEOUT_SECONDS", { BREAKGLASS_TURN_TIMEOUT_SECONDS: "-1" }],
  ["BREAKGLASS_TURN_TIMEOUT_SECONDS", { BREAKGLASS_TURN_TIMEOUT_SECONDS: "Infinity" }],
  ["BREAKGLASS_TURN_TIMEOUT_SECONDS", { BREAKGLASS_TURN_TIMEOUT_SECONDS: "1e3" }],
  ["ANTHROPIC_API_KEY", { ANTHROPIC_API_KEY: "a b" }],
  ["ANTHROPIC_BASE_URL", { ANTHROPIC_BASE_URL: "gateway:8080" }],
])("%s: %j turns the agent off and nothing else", async (option, env) => {
  const { config, problems } = await read({ ...good, ...env });
  expect(told(problems)).toEqual([{ option, stops: false }]);
  expect(config?.agent.problem).toContain(option);
  expect(config?.mode).toBe(option === "BREAKGLASS_MODE" ? "observe" : "supervised");
  expect(config?.isolation).toEqual({ kind: "auto" });
});

test.each(["0", "0x10", "1e9", "NaN", "", "10s", "٣", "3601", "99999999999999999999"])(
  "a verb's time limit of %j leaves power working with the default",
  async (value) => {
    const { config, problems } = await read({ ...good, BREAKGLASS_PVE_VERB_TIMEOUT_SECONDS: value });
    expect(config?.verbTimeoutSeconds).toBe(600);
    expect(problems).toHaveLength(value === "" ? 0 : 1);
  },
);

test.each<[string, Environment, string]>([
  ["a name for an address", { BREAKGLASS_DEVVM_HOST: "devvm.example.org" }, "BREAKGLASS_DEVVM_HOST"],
  ["a short token", { API_BEARER_TOKEN: "secret" }, "API_BEARER_TOKEN"],
  ["a secret without proxies", { BREAKGLASS_PROXY_SECRET: secret }, "BREAKGLASS_PROXY_SECRET"],
  ["no public URL", { BREAKGLASS_LISTEN: "0.0.0.0:80", API_BEARER_TOKEN: secret }, "BREAKGLASS_PUBLIC_URL"],
  ["http", { BREAKGLASS_PUBLIC_URL: "http://rescue.example.org" }, "BREAKGLASS_PUBLIC_URL"],
  ["an unknown variable", { BREAKGLASS_LISTN: "0.0.0.0:80" }, "BREAKGLASS_LISTN"],
  ["a port by hand", { BREAKGLASS_PORT: "9000" }, "BREAKGLASS_PORT"],
])("%s is a warning and stops nothing", async (_, env, option) => {
  const { config, problems, warnings } = await read({ ...good, ...env });
  expect(problems).toEqual([]);
  expect(warnings.map((warning) => warning.option)).toEqual([option]);
  expect(config).not.toBeNull();
});

test("what Kubernetes puts into every pod is not warned of", async () => {
  const injected = {
    BREAKGLASS_SERVICE_HOST: "10.43.1.1",
    BREAKGLASS_SERVICE_PORT: "80",
    BREAKGLASS_SERVICE_PORT_HTTP: "80",
    BREAKGLASS_PORT: "tcp://10.43.1.1:80",
    BREAKGLASS_PORT_80_TCP: "tcp://10.43.1.1:80",
    BREAKGLASS_PORT_80_TCP_PROTO: "tcp",
    BREAKGLASS_PORT_80_TCP_PORT: "80",
    BREAKGLASS_PORT_80_TCP_ADDR: "10.43.1.1",
    BREAKGLASS_WEB_SERVICE_HOST: "10.43.1.2",
    BREAKGLASS_WEB_PORT: "tcp://10.43.1.2:80",
  };
  expect((await read({ ...good, ...injected })).warnings).toEqual([]);
});

test("paths: relative ones begin here, ~ at home, and a home is not needed", async () => {
  const dataDir = async (env: Environment) => (await read(env)).config?.dataDir;
  expect(await dataDir({ BREAKGLASS_DATA_DIR: "data" })).toBe(join(process.cwd(), "data"));
  expect(await dataDir({ BREAKGLASS_DATA_DIR: "~/data", HOME: "/home/ana" })).toBe("/home/ana/data");
  expect(await dataDir({ XDG_STATE_HOME: "/state", HOME: "/home/ana" })).toBe("/state/breakglass");
  expect(await dataDir({ XDG_STATE_HOME: "state", HOME: "/home/ana" })).toBe(
    "/home/ana/.local/state/breakglass",
  );
  expect(await dataDir({})).toBe("/var/lib/breakglass");
});

test("no problem and no warning ever shows a secret", async () => {
  const canary = "c4nary";
  const env = {
    ...good,
    API_BEARER_TOKEN: canary,
    BREAKGLASS_PROXY_SECRET: canary,
    ANTHROPIC_API_KEY: `${canary} x`,
    CLAUDE_CODE_OAUTH_TOKEN: `${canary} x`,
    ANTHROPIC_BASE_URL: `ftp://ana:${canary}@gateway`,
    BREAKGLASS_PUBLIC_URL: `https://ana:${canary}@rescue.example.org`,
    BREAKGLASS_BEARER_TOKEN: canary,
    BREAKGLASS_CONFIG: "/x.yaml",
  };
  const file = `tokens: [{name: ana, sha256: ${canary}, token: ${canary}, scope: operate}]\n${canary}: "x"\ntargets: [{name: a, password: ${canary}}]`;
  const broken = `tokens:\n  - token: "${canary}\n`;
  for (const text of [file, broken]) {
    const { problems, warnings } = await readConfig(env, () => text);
    expect(problems.length).toBeGreaterThan(4);
    const shownValues = [...problems, ...warnings].map(({ value, mend }) => `${value} ${mend}`).join("\n");
    expect(shownValues).not.toContain(canary);
  }
});

test("whatever stands in the environment, it is told and never thrown", async () => {
  const value = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("0", "-1", "::", "[", "[::1", "%", "a:b:c", "//", "~", "\0"),
  );
  const env = fc.dictionary(
    fc.oneof({ weight: 9, arbitrary: fc.constantFrom<string>(...optionNames) }, fc.string()),
    value,
  );
  await fc.assert(
    fc.asyncProperty(env, async (some) => {
      const { config, problems } = await readConfig(some, noFile);
      expect(config === null).toBe(problems.some(({ stops }) => stops));
      for (const text of problems.map(problemText)) expect(text).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }),
    { numRuns: 500 },
  );
});

test.each([
  ["bubblewrap", { kind: "bubblewrap" }],
  ["account:breakglass-agent", { kind: "account", account: "breakglass-agent" }],
  ["runner:/run/agent/../agent.sock", { kind: "runner", socketPath: "/run/agent.sock" }],
])("BREAKGLASS_ISOLATION=%s is understood", async (value, isolation) => {
  const { config, problems } = await read({ ...good, BREAKGLASS_ISOLATION: value });
  expect(problems).toEqual([]);
  expect(config?.isolation).toEqual(isolation);
});
