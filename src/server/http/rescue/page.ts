import { html } from "hono/html";
import type { Tone } from "../../../protocol/words.ts";

/** HTML whose every inserted text is escaped. */
export type Html = ReturnType<typeof html>;

/** Seconds after which a page about something that runs asks again by itself, where the browser does that. */
export const lookAgainSeconds = 3;

/** The frame of every page: small enough for a text browser, with nothing to load but one stylesheet. */
export function page(
  title: string,
  main: Html,
  { refresh = false }: { readonly refresh?: boolean } = {},
): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="dark light" />
        ${refresh && html`<meta http-equiv="refresh" content="${lookAgainSeconds}" />`}
        <title>${title} · Breakglass rescue</title>
        <link rel="stylesheet" href="/rescue/style.css" />
        <link rel="icon" href="data:," />
      </head>
      <body>
        <header><a href="/rescue">Breakglass rescue</a></header>
        <main>${main}</main>
      </body>
    </html> `;
}

export const hidden = (name: string, value: string): Html =>
  html`<input type="hidden" name="${name}" value="${value}" />`;

/** Not `<button>`: text browsers show this one as what it is. */
export const submit = (label: string, look: "main" | "danger" | "plain"): Html =>
  html`<input type="submit" class="${look}" value="${label}" />`;

/** Each tone has a shape beside its colour. */
export const marks: Readonly<Record<Tone, string>> = { good: "●", warning: "▲", danger: "■", quiet: "○" };

/** "13:02:11 UTC", with the day where it is not today: there is no script to ask for the viewer's zone. */
export function utc(at: string, now: number): Html {
  const sameDay = at.slice(0, 10) === new Date(now).toISOString().slice(0, 10);
  const text = `${sameDay ? "" : `${at.slice(0, 10)} `}${at.slice(11, 19)} UTC`;
  return html`<time datetime="${at}">${text}</time>`;
}
