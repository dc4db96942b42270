import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import type { Operation } from "../../src/protocol/api.ts";
import { machinesPage } from "../../src/server/http/rescue/machines.ts";
import type { Hypervisor } from "../../src/server/power/hypervisor.ts";
import type { Power } from "../../src/server/power/power.ts";
import { StoreError, type Store } from "../../src/server/store/store.ts";
import type { TargetStatus } from "../../src/protocol/targets.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { readToken, startApp, token } from "../doubles/app.ts";
import { saw, ScriptedHypervisor } from "../power/stage.ts";

const agent = scriptedAgent(async () => "done");

const machines = (power: Power): TargetStatus[] => [
  {
    name: "devvm",
    is_default: true,
    state: "stalled",
    since: new Date(Date.now() - 95_000).toISOString(),
    evidence: [
      {
        probe: "guest over SSH",
        ok: false,
        seen: "no banner <b>within</b> 3 s",
        at: new Date().toISOString(),
      },
    ],
    power: true,
    current: brief(power.current("devvm")),
    last: brief(power.last("devvm")),
  },
  {
    name: "lamp",
    is_default: false,
    state: "up",
    since: new Date().toISOString(),
    evidence: [],
    power: false,
    current: null,
    last: null,
  },
];

const brief = (operation: ReturnType<Power["current"]>) =>
  operation && { id: operation.id, verb: operation.verb, by: operation.by, at: operation.requested_at };

/** A text browser: no script, a cookie, forms; neither Origin nor Sec-Fetch-Site. */
class TextBrowser {
  readonly #url: string;
  cookie = "";
  constructor(url: string) {
    this.#url = url;
  }

  async get(path: string, headers: Record<string, string> = {}) {
    return this.#take(
      await fetch(this.#url + path, { headers: { ...this.#cookies(), ...headers }, redirect: "manual" }),
    );
  }

  async post(path: string, fields: Record<string, string>, headers: Record<string, string> = {}) {
    return this.#take(
      await fetch(this.#url + path, {
        method: "POST",
        headers: { ...this.#cookies(), "content-type": "application/x-www-form-urlencoded", ...headers },
        body: new URLSearchParams(fields).toString(),
        redirect: "manual",
      }),
    );
  }

  /** Submits the form of a page that has this button. */
  async press(html: string, button: string) {
    const form = [...html.matchAll(/<form[^>]*action="([^"]*)"[^>]*>(.*?)<\/form>/gs)].find(([text]) =>
      text.includes(`value="${button}"`),
    );
    if (form === undefined) throw new Error(`no form has ${button}`);
    const [text, action = "", inside = ""] = form;
    const fields = [...inside.matchAll(/type="hidden" name="([^"]*)" value="([^"]*)"/g)];
    const values = Object.fromEntries(fields.map(([, name, value]) => [name, value]));
    return text.includes('method="get"') ? this.get(action) : this.post(action, values);
  }

  #cookies(): Record<string, string> {
    return this.cookie === "" ? {} : { cookie: this.cookie };
  }

  async #take(response: Response) {
    this.cookie = response.headers.get("set-cookie")?.split(";")[0] ?? this.cookie;
    return {
      status: response.status,
      location: response.headers.get("location") ?? "",
      headers: response.headers,
      html: await response.text(),
    };
  }
}

async function open(options: { store?: Store; hypervisor?: Hypervisor | null } = {}) {
  const scripted = new ScriptedHypervisor();
  const app = await startApp({
    agent,
    hypervisor: scripted,
    targets: machines,
    notices: [{ id: "n", level: "warning", text: "Something <i>stands</i>." }],
    ...options,
  });
  const browser = new TextBrowser(app.url);
  const signIn = async (credential = token) => {
    expect(await browser.post("/rescue/login", { credential })).toMatchObject({
      status: 303,
      location: "/rescue",
    });
    return (await browser.get("/rescue")).html;
  };
  return { app, browser, hypervisor: scripted, signIn };
}

const refused = (status: number, words: RegExp) => ({
  status,
  html: expect.stringMatching(new RegExp(`${words.source}(.|\n)*href="/rescue"`)),
});

test("without a name there is a way in, not a bare 401: continue for who has a cookie, a form for the rest", async () => {
  const { browser } = await open();
  const { status, html, headers } = await browser.get("/rescue", { "sec-fetch-site": "cross-site" });
  expect(status).toBe(200);
  expect(html).toContain('<a class="tap button" href="/rescue">Continue</a>');
  expect(html).toContain('name="credential"');
  expect(html).not.toContain("devvm");
  expect(headers.get("cache-control")).toBe("no-store");
  // From our own page the cookie would have come along.
  expect((await browser.get("/rescue", { "sec-fetch-site": "same-origin" })).html).not.toContain("Continue");
});

test("a one-time link signs in as it was printed, or only with what is secret in it", async () => {
  const { app, browser, signIn } = await open();
  expect(await signIn(`http://example.org/#k=${app.auth.mintLink()}`)).toContain("Signed in as operator");
  browser.cookie = "";
  expect(await signIn(app.auth.mintLink())).toContain("Signed in as operator");
  browser.cookie = "";
  expect(await browser.post("/rescue/login", { credential: "wrong" })).toMatchObject(
    refused(401, /not valid/),
  );
  expect(
    await browser.post("/rescue/login", { credential: token }, { origin: "https://evil.example" }),
  ).toMatchObject(refused(403, /./));
});

test("a machine is shown with its state, since when, the evidence, what happened last, and the notices, escaped", async () => {
  const { signIn } = await open();
  const html = await signIn();
  for (const text of ["■ Stalled?", "for 1 min", "no banner &lt;b&gt;within&lt;/b&gt; 3 s", "FAILED"])
    expect(html).toContain(text);
  expect(html).toContain("Nothing is under way on it.");
  expect(html).toContain("Something &lt;i&gt;stands&lt;/i&gt;.");
  expect(html).toContain("No hypervisor is configured for it");
  expect(html).not.toMatch(/<script|style=|onclick/);
});

test("a cycle from a text browser: confirm, submit once however often, progress, outcome", async () => {
  const { browser, hypervisor, signIn, app } = await open();
  const confirm = await browser.press(await signIn(), "cycle devvm…");
  for (const text of [
    "cycle devvm?",
    "Pulls the plug, then starts a fresh QEMU process.",
    "■ Stalled?",
    "Nothing was done to it",
  ])
    expect(confirm.html).toContain(text);
  const first = await browser.press(confirm.html, "cycle devvm now");
  const second = await browser.press(confirm.html, "cycle devvm now");
  expect([first.status, first.location]).toEqual([303, expect.stringMatching(/^\/rescue\/operation\//)]);
  expect([second.status, second.location]).toEqual([303, first.location]);

  const call = await hypervisor.next();
  call.say('Stopping <b>102</b>.\nBG1 {"seq":0,"phase":"stopping"}\nStill here');
  const running = await browser.get(first.location);
  expect(running.html).toContain('http-equiv="refresh"');
  expect(running.html).toContain("▲ Under way");
  expect(running.html).toContain("Stopping &lt;b&gt;102&lt;/b&gt;.\nStill here");
  expect(running.html).not.toContain("BG1");
  expect((await browser.get("/rescue")).html).toContain("Under way:");

  call.answer({ stdout: saw("running") });
  await app.ask("GET", `/api/operations/${first.location.split("/").at(-1)}?after=999&wait=25`);
  const ended = await browser.get(first.location);
  expect(ended.html).toContain("● The machine is running.");
  expect(ended.html).not.toContain("http-equiv");
  expect(hypervisor.calls).toEqual([]);
  expect((await browser.get("/rescue")).html).toContain("Last: cycle by ana");
});

test.each([
  ["the machine is OFF", { exit_code: 6, stdout: saw("stopped") }, "■ The machine is OFF"],
  [
    "nothing is known",
    { exit_code: null, stderr: "The line broke.\n" },
    "▲ Not known: the cycle may have been carried out.",
  ],
  [
    "0 without the goal seen",
    { exit_code: 0, stdout: saw("stopped") },
    "▲ Not known: the cycle may have been carried out.",
  ],
  ["a lock", { exit_code: 3, stderr: "A backup holds it.\n" }, "▲ Refused. Nothing was done."],
])("when %s, that is what it reads, without colour as well", async (_, report, words) => {
  const { browser, hypervisor, signIn, app } = await open();
  const confirm = await browser.press(await signIn(), "cycle devvm…");
  const { location } = await browser.press(confirm.html, "cycle devvm now");
  (await hypervisor.next()).answer(report);
  await app.ask("GET", `/api/operations/${location.split("/").at(-1)}?after=999&wait=25`);
  const { html } = await browser.get(location);
  expect(html).toContain(words);
  expect(html).not.toContain("The machine is running.");
});

test("status and forensics are asked for directly, and may be asked again", async () => {
  const { browser, hypervisor, signIn } = await open();
  const html = await signIn();
  for (const verb of ["status", "forensics"]) {
    const [one, two] = [
      await browser.press(html, `${verb} devvm`),
      await browser.press(html, `${verb} devvm`),
    ];
    expect([one.status, two.status]).toEqual([303, 303]);
    expect(one.location).not.toBe(two.location);
    expect((await hypervisor.next()).verb).toBe(verb);
  }
});

test("what is refused is a page with the reason and the way back", async () => {
  const { app, browser, hypervisor, signIn } = await open();
  const html = await signIn();
  const [cycle, stop] = [await browser.press(html, "cycle devvm…"), await browser.press(html, "stop devvm…")];
  const { location } = await browser.press(cycle.html, "cycle devvm now");
  const call = await hypervisor.next();
  expect(await browser.press(stop.html, "stop devvm now")).toMatchObject(
    refused(409, /is under way on devvm/),
  );
  call.answer({ stdout: saw("running") });
  await app.ask("GET", `/api/operations/${location.split("/").at(-1)}?after=999&wait=25`);
  // The page that asks to stop was made before the cycle.
  expect(await browser.press(stop.html, "stop devvm now")).toMatchObject(refused(409, /Since you looked/));
  expect(await browser.get("/rescue/confirm/lamp/cycle")).toMatchObject(
    refused(422, /No hypervisor is configured/),
  );
  expect(await browser.get("/rescue/confirm/none/cycle")).toMatchObject(refused(404, /no target/));
  expect(await browser.get("/rescue/confirm/devvm/status")).toMatchObject(refused(404, /nothing to confirm/));
  expect(await browser.get("/rescue/operation/none")).toMatchObject(refused(404, /no such operation/));
  const form = /name="form" value="([^"]+)"/.exec(stop.html)?.[1] ?? "";
  expect(await browser.post("/rescue/operate/devvm", { verb: "stop", form })).toMatchObject(
    refused(422, /had no key/),
  );
  expect(await browser.post("/rescue/operate/devvm", { verb: "stop; id", form })).toMatchObject(
    refused(422, /must be one of/),
  );
});

test("a form counts only with its token, and a foreign page's never", async () => {
  const { browser, hypervisor, signIn } = await open();
  const confirm = await browser.press(await signIn(), "stop devvm…");
  const fields = Object.fromEntries(
    [...confirm.html.matchAll(/type="hidden" name="([^"]*)" value="([^"]*)"/g)].map(([, name, value]) => [
      name,
      value ?? "",
    ]),
  ) as Record<string, string>;
  const post = (change: Record<string, string>, headers = {}) =>
    browser.post("/rescue/operate/devvm", { ...fields, ...change }, headers);
  expect(await post({ form: "" })).toMatchObject(refused(403, /no valid token/));
  expect(await post({}, { origin: "https://evil.example" })).toMatchObject(refused(403, /./));
  expect(await post({}, { "sec-fetch-site": "cross-site" })).toMatchObject(refused(403, /./));
  const cookie = browser.cookie;
  browser.cookie = "";
  expect((await post({})).status).toBe(401);
  browser.cookie = cookie;
  expect(hypervisor.calls).toEqual([]);
  // With `Referrer-Policy: no-referrer` our own forms say "null".
  expect((await post({}, { origin: "null" })).status).toBe(303);
  expect((await hypervisor.next()).verb).toBe("stop");
});

test("who may only look sees the state and no verbs", async () => {
  const { browser, signIn, hypervisor } = await open();
  const html = await signIn(readToken);
  expect(html).toContain("■ Stalled?");
  expect(html).toContain("who may only look");
  expect(html).not.toContain("<form");
  expect(await browser.get("/rescue/confirm/devvm/cycle")).toMatchObject(refused(403, /may only look/));
  const fields = { verb: "cycle", key: crypto.randomUUID() };
  expect(await browser.post("/rescue/operate/devvm", fields)).toMatchObject(refused(403, /may only look/));
  expect(hypervisor.calls).toEqual([]);
});

test("a bearer needs no form", async () => {
  const { app, hypervisor } = await open();
  const fields = { verb: "cycle", key: crypto.randomUUID() };
  const answer = await new TextBrowser(app.url).post("/rescue/operate/devvm", fields, app.authorization);
  expect(answer.location).toBe(`/rescue/operation/${fields.key}`);
  expect((await hypervisor.next()).job).toBe(fields.key);
});

test("while nothing can be recorded it works, and says durable: false", async () => {
  const { app: healthy } = await open();
  const store: Store = {
    ...healthy.store,
    append: () => Promise.reject(new StoreError("unwritable", "The disk is full.")),
    head: async () => -1,
    read: async () => [],
  };
  const { browser, hypervisor, signIn, app } = await open({ store });
  const confirm = await browser.press(await signIn(), "cycle devvm…");
  const { location } = await browser.press(confirm.html, "cycle devvm now");
  (await hypervisor.next()).answer({ stdout: saw("running") });
  await app.ask("GET", `/api/operations/${location.split("/").at(-1)}?after=999&wait=25`);
  const { html } = await browser.get(location);
  expect(html).toContain("● The machine is running.");
  expect(html).toContain("Not recorded in time (durable: false).");
});

test("the stylesheet is one of its own, and open to the sign-in page", async () => {
  const { browser } = await open();
  const { status, headers } = await browser.get("/rescue/style.css");
  expect([status, headers.get("content-type")]).toEqual([200, "text/css; charset=utf-8"]);
});

test("an Operation whose end is not known is never shown as nothing", () => {
  const open: Operation = {
    id: randomUUID(),
    target: "devvm",
    verb: "cycle",
    by: "ana",
    requested_at: "2026-01-01T00:00:00.000Z",
    durable: true,
    output: "",
  };
  const target: TargetStatus = {
    name: "devvm",
    is_default: true,
    state: "unknown",
    since: "2026-01-01T00:00:00.000Z",
    evidence: [],
    power: true,
    current: null,
    last: null,
  };
  const shown = (last: Operation | null) =>
    String(
      machinesPage({
        machines: [{ target, last }],
        notices: [],
        visitor: { name: "ana", form: null },
        now: Date.parse("2026-01-01T00:01:00.000Z"),
      }),
    );
  expect(shown(null)).toContain("Nothing is under way on it.");
  expect(shown(open)).toContain("its end is not known yet");
  expect(shown(open)).toContain(`/rescue/operation/${open.id}`);
  expect(shown(open)).not.toMatch(/Nothing (?:is under way|was done)/);
});
