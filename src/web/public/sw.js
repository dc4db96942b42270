// Both are written by scripts/build-page.ts: a hash over all contents, and the files of the page.
const version = "SHELL_VERSION";
const shell = ["SHELL_FILES"];

/** On a bad network a reader waits this long for a fresh page; then the kept one is shown. */
const freshPageMs = 4000;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(version).then((cache) => cache.addAll(shell)));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) =>
        Promise.all(names.filter((name) => name !== version).map((name) => caches.delete(name))),
      )
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== self.location.origin) return;
  if (event.request.mode === "navigate" && url.pathname === "/")
    event.respondWith(freshOrKept(event.request));
  else if (url.pathname !== "/" && shell.includes(url.pathname)) event.respondWith(kept(event.request));
  // Everything else, above all /api, goes to the network and is kept nowhere.
});

async function freshOrKept(request) {
  try {
    const answer = await fetch(request, { signal: AbortSignal.timeout(freshPageMs) });
    return answer.status < 500 ? answer : ((await caches.match("/")) ?? answer);
  } catch (lost) {
    const page = await caches.match("/");
    if (page === undefined) throw lost;
    return page;
  }
}

async function kept(request) {
  return (await caches.match(request, { ignoreSearch: true })) ?? fetch(request);
}
