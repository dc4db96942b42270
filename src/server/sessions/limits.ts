/** Bounds of the sessions room; each line says what happens when it is reached. */
export interface SessionLimits {
  /** Turns at once over all Sessions; one more prompt is answered 429. */
  readonly turnsAtOnceMax: number;
  /** Free bytes below which new Turns are refused (507); Verbs go on. */
  readonly reserveBytes: number;
}

/** Prompt keys remembered per Session; the oldest is forgotten, and a retry that late would start a new Turn. */
export const promptKeysMax = 1_000;
/** Decided Approvals remembered per Session; an answer to an older one is told that there is none. */
export const approvalsKnownMax = 1_000;
/** Sessions that are listed, newest first; older ones are still opened by their id. */
export const sessionsListedMax = 5_000;
/** Session writers in memory; beyond it the least recently used one that nobody needs is let go, and folded again when asked for. */
export const sessionsOpenMax = 200;
/** A Session that was asked for within this time is needed: a slow phone may still be sending its prompt. */
export const neededMs = 180_000;
/** A prompt that is not on disk by then is refused, and its Turn never runs. */
export const admitMs = 10_000;
/** Then the server starts with as much of the catalogue as was read; the rest follows when the disk gives it. */
export const catalogueMs = 300;
/** Live text of the open block; beyond it deltas stop, and the stored text brings the whole. */
export const openBlockCharsMax = 1024 * 1024;
/** Of a prompt, as the name of a Session that nobody has named. */
export const nameCharsMax = 60;
/** How long Stop waits for the Turn to be gone before it answers; the Turn goes on ending either way. */
export const cancelWaitMs = 2_000;
/** Of Events in one Turn; then the Turn is ended and says so, and what the agent still says is left out. */
export const turnOutputBytesMax = 64 * 1024 * 1024;
/** A Runbook has its own time limits for every step; what is not through by then hangs, and its Turn is ended. */
export const runbookMsMax = 5 * 60_000;
/** What became of an Operation is asked of the record so long; then it is not known. */
export const operationMs = 3_000;
/** Of the Transcript, for an agent whose memory is gone; the oldest part is left out. */
export const digestCharsMax = 24_000;
