import { expect, test } from "vitest";
import { grantMinutes } from "../../src/protocol/api.ts";
import { handClock } from "../doubles/hand-clock.ts";
import { agentPath, events, turnEnded, waits } from "./agent-path.ts";
import type { EventStream } from "./event-stream.ts";

const modes = (stream: EventStream) => stream.named("mode").map(({ data }) => data);

test("the mode is told at attach and at every change, also when a grant ends by the clock", async () => {
  const clock = handClock();
  const { newSession, attach, ask } = await agentPath({ clock });
  const id = await newSession();
  const phone = await attach(id);
  await phone.until((stream) => modes(stream).length === 1);
  const granted = { mode: "autonomous", until: "1970-01-01T00:30:00.000Z", back_to: "supervised" };
  const change = await ask("PATCH", `/api/session/${id}`, { mode: "autonomous" });
  expect([change.status, change.body["mode"]]).toEqual([200, granted]);
  expect((await ask("GET", `/api/session/${id}`)).body["mode"]).toEqual(granted);
  await phone.until((stream) => modes(stream).length === 2);
  clock.advance(grantMinutes * 60_000);
  await phone.until((stream) => modes(stream).length === 3);
  expect(modes(phone)).toEqual([{ mode: "supervised" }, granted, { mode: "supervised" }]);
  expect(events(phone)).toMatchObject([{ kind: "mode", mode: "autonomous", by: "ana" }]);
  expect((await ask("GET", `/api/session/${id}`)).body["mode"]).toEqual({ mode: "supervised" });
});

test("what was granted for one session holds there alone, and what it let through needs an approval afterwards", async () => {
  const clock = handClock();
  const { newSession, attach, ask, prompt, answer } = await agentPath({ clock });
  const [id, other] = [await newSession(), await newSession()];
  const [phone, desk] = [await attach(id), await attach(other)];
  await ask("PATCH", `/api/session/${id}`, { mode: "autonomous" });
  await prompt(id, "root@devvm echo granted");
  await turnEnded(phone);
  expect(events(phone)).toContainEqual(expect.objectContaining({ kind: "text", text: "0: granted\n" }));
  await prompt(other, "root@devvm echo elsewhere");
  const [asked] = await waits(desk);
  await answer(asked!, "deny");
  await turnEnded(desk);
  clock.advance(grantMinutes * 60_000);
  await prompt(id, "root@devvm echo later");
  const [later] = await waits(phone);
  expect(later).toMatchObject({ session_id: id, command: "echo later" });
  await ask("POST", `/api/session/${id}/cancel`);
});

test("observe voids what waits for an approval", async () => {
  const { newSession, attach, ask, prompt, answer } = await agentPath();
  const id = await newSession();
  const phone = await attach(id);
  await prompt(id, "root@devvm echo ran");
  const [asked] = await waits(phone);
  await ask("PATCH", `/api/session/${id}`, { mode: "observe" });
  await turnEnded(phone);
  expect((await answer(asked!, "approve")).status).toBe(409);
  expect(events(phone).filter(({ kind }) => kind === "exec")).toEqual([]);
});

test("the mode is an operator's: no name, another's form and a forged edge header change nothing", async () => {
  const { newSession, ask, auth, url } = await agentPath();
  const id = await newSession();
  const patch = (headers: Record<string, string>) =>
    fetch(`${url}/api/session/${id}`, {
      method: "PATCH",
      headers,
      body: JSON.stringify({ mode: "autonomous" }),
    });
  const login = await fetch(`${url}/api/login`, {
    method: "POST",
    body: JSON.stringify({ link: auth.mintLink("ana") }),
  });
  const cookie = login.headers.get("set-cookie")?.split(";")[0] ?? "";
  const statuses = [
    await patch({}),
    await patch({ authorization: "Bearer guessed-by-the-agent-itself" }),
    await patch({ "x-authentik-username": "ana" }),
    await patch({ "x-authentik-username": "ana", "x-forwarded-for": "10.0.0.1", origin: url }),
    await patch({ cookie }),
    await patch({ cookie, origin: "https://evil.example" }),
    await patch({ cookie, "sec-fetch-site": "cross-site" }),
  ].map(({ status }) => status);
  expect(statuses).toEqual([401, 401, 401, 401, 403, 403, 403]);
  expect((await ask("GET", `/api/session/${id}`)).body["mode"]).toEqual({ mode: "supervised" });
  expect((await ask("PATCH", `/api/session/${id}`, { mode: "root" })).status).toBe(422);
});
