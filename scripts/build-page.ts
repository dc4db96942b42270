import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { build } from "vite";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist", "web");
const compressible = /\.(html|js|css|svg|webmanifest|txt)$/;

/** Builds src/web to `folder`, with .br and .gz beside every file that gains by it. Throws when it cannot. */
async function buildPage(folder: string): Promise<void> {
  await buildForProduction(folder);
  const files = await filesUnder(folder);
  await nameTheShell(folder, files);
  await Promise.all(files.filter((file) => compressible.test(file)).map(compress));
}

/** Vite takes NODE_ENV before its own mode: a test runner that has set it would get the larger page for development. */
async function buildForProduction(folder: string): Promise<void> {
  const before = process.env["NODE_ENV"];
  process.env["NODE_ENV"] = "production";
  try {
    await build({ configFile: join(root, "vite.config.ts"), logLevel: "error", build: { outDir: folder } });
  } finally {
    if (before === undefined) delete process.env["NODE_ENV"];
    else process.env["NODE_ENV"] = before;
  }
}

/** The service worker learns what to keep, and a name that changes when any content does. */
async function nameTheShell(folder: string, files: readonly string[]): Promise<void> {
  const worker = join(folder, "sw.js");
  const kept = files.filter((file) => file !== worker).toSorted();
  const hash = createHash("sha256");
  for (const file of [...kept, worker]) hash.update(await readFile(file));
  const paths = kept
    .map((file) => `/${relative(folder, file)}`)
    .map((path) => (path === "/index.html" ? "/" : path));
  const source = (await readFile(worker, "utf8"))
    .replace('"SHELL_VERSION"', JSON.stringify(hash.digest("hex").slice(0, 16)))
    .replace('["SHELL_FILES"]', JSON.stringify(paths));
  await writeFile(worker, source);
}

async function compress(file: string): Promise<void> {
  const content = await readFile(file);
  const [br, gz] = await Promise.all([
    promisify(brotliCompress)(content, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: content.length } }),
    promisify(gzip)(content, { level: 9 }),
  ]);
  await Promise.all([writeFile(`${file}.br`, br), writeFile(`${file}.gz`, gz)]);
}

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

if (import.meta.main) await buildPage(dist);
