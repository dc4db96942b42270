import pino from "pino";
import type { Log } from "./compose.ts";

/** One JSON line each on stderr. A pipe that nobody reads may lose lines; it never holds the server up. */
export function createLog(level: "info" | "warn"): Log {
  const logger = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: false, maxLength: 1024 * 1024 }),
  );
  return {
    info: (text) => logger.info(text),
    warn: (text) => logger.warn(text),
    error: (error, text) => logger.error({ err: error }, text),
  };
}
