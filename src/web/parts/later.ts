/** What nobody needs at the first look. One file of its own, so that the first load stays small. */
export { default as Evidence } from "./Evidence.svelte";
export { default as HostKey } from "./HostKey.svelte";
export { default as Sessions } from "./Sessions.svelte";
