import type { SimulatedCommand } from "./call.ts";
import { changeCommands } from "./changes.ts";
import { fileCommands } from "./files.ts";
import { logCommands } from "./logs.ts";
import { networkCommands } from "./network.ts";
import { serviceCommands } from "./services.ts";
import { shellCommands } from "./shells.ts";
import { systemCommands } from "./system.ts";
import { textCommands } from "./text.ts";

/** The closed list: what is not here is "command not found". */
export const commands: Readonly<Record<string, SimulatedCommand>> = {
  ...fileCommands,
  ...changeCommands,
  ...textCommands,
  ...systemCommands,
  ...serviceCommands,
  ...networkCommands,
  ...logCommands,
  ...shellCommands,
};
