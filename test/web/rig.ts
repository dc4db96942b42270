import { resolve } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll } from "vitest";
import type { SessionId } from "../../src/protocol/ids.ts";
import { launchBrowser, openPage, type Size } from "./browser.ts";
import { FakeServer } from "./fake-server.ts";

export interface Opened {
  readonly server: FakeServer;
  readonly url: string;
  readonly session: SessionId;
  readonly page: Page;
  readonly errors: string[];
}

interface Wish {
  readonly size?: Size;
  readonly options?: BrowserContextOptions;
  /** Before the page is opened. */
  readonly prepare?: (server: FakeServer, session: SessionId) => void;
  /** Of the first address. */
  readonly hash?: string;
}

/** The built page and one browser for a test file; a server and a device of its own for each test. */
export function rig(): { readonly open: (wish?: Wish) => Promise<Opened> } {
  let browser: Browser;
  const closers: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    browser = await launchBrowser("shell");
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
  });
  afterAll(() => browser.close());

  async function open({ size = "phone", options, prepare, hash = "" }: Wish = {}): Promise<Opened> {
    const server = new FakeServer(resolve("dist/web"));
    const session = server.newSession("Devvm does not answer");
    prepare?.(server, session);
    const url = await server.listen();
    const { page, errors, close } = await openPage(browser, size, options);
    closers.push(close, () => server.close());
    await page.goto(`${url}/${hash}`);
    return { server, url, session, page, errors };
  }
  return { open };
}
