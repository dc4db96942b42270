/** Bounds of the sessions room; each line says what happens when it is reached. */
export interface SessionLimits {
  /** Turns at once over all Sessions; one more prompt is answered 429. */
  readonly turnsAtOnceMax: number;
  /** Free bytes below which new Turns are refused (507); Verbs go on. */
  readonly reserveBytes: number;
}

/** Prompt keys remembered per Session; the oldest is forgotten, and a retry that late would start a new Turn. */
export const promptKeysMax = 1_000;
/** Sessions that are listed, newest first; older ones are still opened by their id. */
export const sessionsListedMax = 5_000;
/** Session writers in memory; the least recently used idle one is let go and folded again when asked for. */
export const sessionsOpenMax = 200;
/** Live text of the open block; beyond it deltas stop, and the stored text brings the whole. */
export const openBlockCharsMax = 1024 * 1024;
/** Of a prompt, as the name of a Session that nobody has named. */
export const nameCharsMax = 60;
/** How long Stop waits for the Turn to be gone before it answers; the Turn goes on ending either way. */
export const cancelWaitMs = 2_000;
/** Of the Transcript, for an agent whose memory is gone; the oldest part is left out. */
export const digestCharsMax = 24_000;
