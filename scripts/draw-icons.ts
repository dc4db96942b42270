import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext } from "playwright-core";

/** Draws the PNG icons from icon.svg. Run by hand when the mark changes; the pictures are kept in the repository. */
const folder = join(import.meta.dirname, "..", "src", "web", "public");
const ground = "#18212a";

/** A launcher may cut away everything outside the middle 80 % (W3C app manifest, "maskable"). */
const pictures = [
  { name: "icon-192.png", size: 192, share: 1, background: "transparent" },
  { name: "icon-512.png", size: 512, share: 1, background: "transparent" },
  { name: "icon-maskable.png", size: 512, share: 0.78, background: ground },
] as const;

const profile = await mkdtemp(join(tmpdir(), "breakglass-icons-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const svg = (await readFile(join(folder, "icon.svg"))).toString("base64");
  for (const picture of pictures)
    await writeFile(join(folder, picture.name), await draw(browser, svg, picture));
} finally {
  await browser.close();
  await rm(profile, { recursive: true });
}

async function draw(
  context: BrowserContext,
  svg: string,
  { size, share, background }: (typeof pictures)[number],
): Promise<Buffer> {
  const page = await context.newPage();
  await page.setViewportSize({ width: size, height: size });
  const side = Math.round(size * share);
  await page.setContent(
    `<body style="margin:0;display:grid;place-items:center;height:100vh;background:${background}">` +
      `<img width="${side}" height="${side}" src="data:image/svg+xml;base64,${svg}">`,
  );
  await page.locator("img").evaluate((image: HTMLImageElement) => image.decode());
  const png = await page.screenshot({ omitBackground: true });
  await page.close();
  return png;
}
