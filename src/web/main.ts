import { mount } from "svelte";
import App from "./App.svelte";
import { BreakglassConsole } from "./lib/console.svelte.ts";
import "./style/base.css";

const breakglass = new BreakglassConsole();
mount(App, { target: document.getElementById("app")!, props: { breakglass } });
void breakglass.begin();

// Without the worker the page works all the same; it is only not readable offline.
if (import.meta.env.PROD && "serviceWorker" in navigator)
  navigator.serviceWorker.register("/sw.js").catch(() => undefined);
