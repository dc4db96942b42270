import type { SimulatedCommand } from "./call.ts";
import { fileCommands } from "./files.ts";
import { logCommands } from "./logs.ts";
import { serviceCommands } from "./services.ts";
import { systemCommands } from "./system.ts";
import { textCommands } from "./text.ts";

/** The closed list: what is not here is "command not found". */
export const commands: Readonly<Record<string, SimulatedCommand>> = {
  ...fileCommands,
  ...textCommands,
  ...systemCommands,
  ...serviceCommands,
  ...logCommands,
};
