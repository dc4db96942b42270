import { expect, test } from "vitest";
import type { Environment } from "../../src/server/config/options.ts";
import { readConfig } from "../../src/server/config/read.ts";

const path = "/etc/breakglass.yaml";
const withFile = (text: string, env: Environment = {}) =>
  readConfig({ HOME: "/home/ana", BREAKGLASS_KEY_PATH: "/key", BREAKGLASS_CONFIG: path, ...env }, () => text);
const guest = "guest: {host: 192.0.2.10}";
const hash = "a".repeat(64);

test("several machines, tokens, a header and presets", async () => {
  const { config, problems } = await withFile(
    `
targets:
  - name: db
    guest: {host: "[2001:db8::1]:2222", user: fixer, observe_user: looker}
    power: {host: 192.0.2.2, vmid: 102}
  - {name: web-1, ${guest}}
tokens:
  - {name: Ana Novak, sha256: ${hash}}
  - {name: graph, scope: read, sha256: ${"b".repeat(64)}}
edge_header: X-Forwarded-User
presets:
  - {name: One, prompt: Look.}
`,
    { BREAKGLASS_DEVVM_HOST: "192.0.2.1" },
  );
  expect(problems).toEqual([]);
  expect(config).toMatchObject({
    targets: [
      { name: "devvm", guest: { host: "192.0.2.1", port: 22, user: "root" } },
      {
        name: "db",
        guest: { host: "2001:db8::1", port: 2222, user: "fixer", observeUser: "looker" },
        power: { host: "192.0.2.2", port: 22, user: "root", vmid: 102 },
      },
      { name: "web-1" },
    ],
    auth: {
      edgeHeader: "X-Forwarded-User",
      tokens: [
        { name: "Ana Novak", scope: "operate", sha256: hash },
        { name: "graph", scope: "read" },
      ],
    },
    presets: [{ name: "One", about: "", prompt: "Look." }],
  });
});

test("an empty file is a file: nothing is missing, and it is no demo", async () => {
  for (const text of ["", "# nothing yet\n", "{}", "null", "---\n...\n"]) {
    const { config, problems } = await withFile(text);
    expect(problems).toEqual([]);
    expect(config?.nothingConfigured).toBe(false);
  }
});

test("a token in the file lets the server listen beyond loopback", async () => {
  const { problems } = await withFile(`tokens: [{name: ana, sha256: ${hash}}]`, {
    BREAKGLASS_LISTEN: "0.0.0.0:80",
  });
  expect(problems).toEqual([]);
});

const bombed = [
  "a: &a [x,x,x,x,x,x,x,x,x,x]",
  ..."bcdefghi".split("").map((key, n) => `${key}: &${key} [${Array(10).fill(`*${"abcdefgh"[n]}`).join()}]`),
].join("\n");

test.each<[string, string, string]>([
  ["no YAML", "targets: [", "BREAKGLASS_CONFIG"],
  ["a doubled key", "targets: []\ntargets: []", "BREAKGLASS_CONFIG"],
  ["a list", "- a", "BREAKGLASS_CONFIG"],
  ["a word", "hello", "BREAKGLASS_CONFIG"],
  ["two documents", "a: 1\n---\nb: 2", "BREAKGLASS_CONFIG"],
  ["an avalanche of aliases", bombed, "BREAKGLASS_CONFIG"],
  ["an endless file", `# ${"x".repeat(2 ** 20)}`, "BREAKGLASS_CONFIG"],
  ["binary", "\0\x01\x02\xff", "BREAKGLASS_CONFIG"],
  ["an unknown key", "tragets: []", "tragets"],
  ["a key like a prototype", "__proto__: {}", "__proto__"],
  ["an unknown key of a machine", `targets: [{name: db, hots: x, ${guest}}]`, "targets[0].hots"],
  [
    "an unknown key of a side",
    "targets: [{name: db, guest: {host: 192.0.2.1, prot: 1}}]",
    "targets[0].guest.prot",
  ],
  ["no name", `targets: [{${guest}}]`, "targets[0].name"],
  ["a number for a name", `targets: [{name: 7, ${guest}}]`, "targets[0].name"],
  [
    "a VM id that is none",
    "targets: [{name: db, power: {host: 192.0.2.1, vmid: 1}}]",
    "targets[0].power.vmid",
  ],
  ["neither side", "targets: [{name: db}]", "targets[0]"],
  ["a bad host", `targets: [{name: db, guest: {host: "-x"}}]`, "targets[0].guest.host"],
  ["a bad account", `targets: [{name: db, guest: {host: 192.0.2.1, user: "a b"}}]`, "targets[0].guest.user"],
  ["a name with a path", `targets: [{name: ../x, ${guest}}]`, "targets[0].name"],
  ["a name in capitals", `targets: [{name: DB, ${guest}}]`, "targets[0].name"],
  ["the hypervisor's name", `targets: [{name: pve, ${guest}}]`, "targets[0].name"],
  ["a name of a power side", `targets: [{name: db-power, ${guest}}]`, "targets[0].name"],
  ["a name twice", `targets: [{name: db, ${guest}}, {name: db, ${guest}}]`, "targets[1].name"],
  ["a token itself", "tokens: [{name: ana, token: x}]", "tokens[0].token"],
  ["a hash that is none", "tokens: [{name: ana, sha256: abc}]", "tokens[0].sha256"],
  ["an unknown scope", `tokens: [{name: ana, scope: root, sha256: ${hash}}]`, "tokens[0].scope"],
  ["the agent's name for a token", `tokens: [{name: agent, sha256: ${hash}}]`, "tokens[0].name"],
  [
    "a name of two tokens",
    `tokens: [{name: a, sha256: ${hash}}, {name: a, sha256: ${"b".repeat(64)}}]`,
    "tokens[1].name",
  ],
  [
    "a token of two names",
    `tokens: [{name: a, sha256: ${hash}}, {name: b, sha256: ${hash}}]`,
    "tokens[1].sha256",
  ],
  ["a header that means something else", "edge_header: Authorization", "edge_header"],
  ["no header", `edge_header: "a b"`, "edge_header"],
])("%s stops the server", async (_, text, option) => {
  const { config, problems } = await withFile(text);
  expect(config).toBeNull();
  expect(problems.map((problem) => problem.option)).toContain(option);
  expect(problems.every(({ stops }) => stops)).toBe(true);
});

test("a name that the variables took is not given again", async () => {
  const { problems } = await withFile(`targets: [{name: devvm, ${guest}}]`, {
    BREAKGLASS_PVE_HOST: "192.0.2.1",
  });
  expect(problems.map(({ option }) => option)).toEqual(["targets[0].name"]);
});

test.each([
  "presets: []",
  "presets: [{name: x}]",
  "presets: [{name: x, prompt: y, icon: z}]",
  `presets: [{name: "", prompt: y}]`,
  "presets: 7",
])("%s costs the presets and nothing else", async (text) => {
  const { config, problems } = await withFile(`${text}\ntargets: [{name: db, ${guest}}]`);
  expect(problems).toMatchObject([{ stops: false, mend: expect.stringContaining("built-in presets") }]);
  expect(config).toMatchObject({ presets: null, targets: [{ name: "db" }] });
});

test.each(["runbooks: 7", "runbooks: {name: x}"])("%s costs the runbooks and nothing else", async (text) => {
  const file = `${text}\npresets: [{name: x, prompt: y, runbook: z}]\ntargets: [{name: db, ${guest}}]`;
  const { config, problems } = await withFile(file);
  expect(problems).toMatchObject([{ option: "runbooks", stops: false }]);
  expect(config).toMatchObject({ runbooks: [], presets: [{ runbook: "z" }], targets: [{ name: "db" }] });
});

test("what stands under runbooks is for their room to read", async () => {
  const { config, problems } = await withFile(`runbooks: [{odd: true}, 7]`);
  expect(problems).toEqual([]);
  expect(config?.runbooks).toEqual([{ odd: true }, 7]);
});

test("a file that cannot be read stops the server and says why", async () => {
  const { config, problems } = await readConfig(
    { BREAKGLASS_CONFIG: "~/x.yaml", HOME: "/home/ana" },
    (file) => {
      throw new Error(`EACCES: permission denied, open '${file}'`);
    },
  );
  expect(config).toBeNull();
  expect(problems).toMatchObject([
    { option: "BREAKGLASS_CONFIG", value: '"/home/ana/x.yaml"', mend: expect.stringContaining("EACCES") },
  ]);
});
