/** What nobody needs at the first look. One file of its own, so that the first load stays small. */
export { default as Approvals } from "./Approvals.svelte";
export { default as AgentSheet } from "../parts/AgentSheet.svelte";
export { default as ConfirmVerb } from "../parts/ConfirmVerb.svelte";
export { default as Evidence } from "../parts/Evidence.svelte";
export { default as ExecMore } from "../parts/ExecMore.svelte";
export { default as HostKey } from "../parts/HostKey.svelte";
export { default as OperationForensics } from "../parts/OperationForensics.svelte";
export { default as RareEntry } from "../parts/RareEntry.svelte";
export { default as Report } from "../parts/Report.svelte";
export { default as Sessions } from "../parts/Sessions.svelte";
