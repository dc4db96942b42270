import { globMatches } from "../glob.ts";
import { shortLine } from "../journal.ts";
import { database, unitName, type Unit } from "../units.ts";
import { fails, human, options, prints, table, type Call, type Ran, type SimulatedCommand } from "./call.ts";

const systemctl: SimulatedCommand = (call) => {
  const { guest, account } = call;
  const { flags, rest } = options(call.args, "nt");
  const [verb, ...names] = rest;
  const only = flags.has("failed") ? "failed" : flags.get("state");
  if (verb === undefined || verb === "list-units") return list([...guest.units.values()], only, flags, names);
  if (verb === "is-system-running") {
    const degraded = [...guest.units.values()].some(({ active }) => active === "failed");
    return degraded ? { out: "degraded\n", err: "", code: 1 } : prints("running\n");
  }
  if (verb === "daemon-reload" || verb === "reset-failed") {
    if (account.uid !== 0) return denied(`${verb} the daemon`);
    if (verb === "reset-failed")
      for (const unit of guest.units.values()) if (unit.active === "failed") unit.active = "inactive";
    return prints("");
  }
  if (
    ![
      "status",
      "start",
      "stop",
      "restart",
      "reload",
      "is-active",
      "is-failed",
      "show",
      "cat",
      "try-restart",
      "is-enabled",
    ].includes(verb)
  )
    return fails(`Unknown command verb '${verb}', or one that the demo machine does not have.`);
  if (names.length === 0) return verb === "status" ? overview(call) : fails("Too few arguments.");

  let out = "";
  let err = "";
  let code = 0;
  for (const name of names.flatMap((word) => matching(call, word))) {
    const unit = guest.unit(name);
    if (unit === undefined) {
      if (verb === "is-active" || verb === "is-failed") out += "inactive\n";
      else if (verb === "status") err += `Unit ${unitName(name)} could not be found.\n`;
      else err += `Failed to ${verb} ${unitName(name)}: Unit ${unitName(name)} not found.\n`;
      code = verb === "status" ? 4 : verb.startsWith("is-") ? 3 : 5;
      continue;
    }
    switch (verb) {
      case "status":
        out += status(call, unit, Number(flags.get("n") ?? flags.get("lines") ?? 10));
        if (unit.active !== "active") code = 3;
        break;
      case "is-active":
        out += `${unit.active}\n`;
        if (unit.active !== "active") code = 3;
        break;
      case "is-failed":
        out += `${unit.active}\n`;
        if (unit.active !== "failed") code = 1;
        break;
      case "is-enabled":
        out += "enabled\n";
        break;
      case "show":
        out += `Id=${unit.name}\nActiveState=${unit.active}\nSubState=${unit.sub}\nMainPID=${unit.pid ?? 0}\nDescription=${unit.description}\n`;
        break;
      case "cat":
        out += `# /lib/systemd/system/${unit.name}\n[Unit]\nDescription=${unit.description}\n\n[Service]\nUser=${unit.user}\nExecStart=${unit.command}\n`;
        break;
      default: {
        const done = act(call, verb, unit);
        err += done.err;
        if (done.code !== 0) code = done.code;
      }
    }
  }
  return { out, err, code };
};

function act({ guest, account }: Call, verb: string, unit: Unit): Ran {
  if (account.uid !== 0) return denied(`${verb} ${unit.name}`);
  if (unit.name === "ssh.service" && verb === "stop")
    return fails("The demo machine keeps its way in: ssh.service was not stopped.");
  if (verb === "stop") {
    guest.stop(unit);
    return prints("");
  }
  const up = verb === "start" ? guest.start(unit) : guest.restart(unit);
  if (up) return prints("");
  const why =
    unit.name === database
      ? "the service did not take the steps required by its unit configuration"
      : "the control process exited with error code";
  return fails(
    `Job for ${unit.name} failed because ${why}.\nSee "systemctl status ${unit.name}" and "journalctl -xeu ${unit.name}" for details.`,
  );
}

const denied = (what: string) =>
  fails(`Failed to ${what}: Access denied\nInteractive authentication required.`);

function list(
  units: readonly Unit[],
  state: string | undefined,
  flags: ReadonlyMap<string, string>,
  names: readonly string[],
): Ran {
  const states = state?.split(",");
  const wanted = units.filter(
    ({ active, sub, name }) =>
      (states === undefined ? active !== "inactive" : states.includes(active) || states.includes(sub)) &&
      (names.length === 0 || names.some((word) => globMatches(word, name))),
  );
  const plain = flags.has("plain");
  const bare = flags.has("no-legend") || flags.get("legend") === "false";
  const rows = wanted.map(({ name, active, sub, description }) => [
    `${active === "failed" && !plain ? "●" : plain ? "" : " "}${plain ? "" : " "}${name}`,
    "loaded",
    active,
    sub,
    description,
  ]);
  const head = [`${plain ? "" : "  "}UNIT`, "LOAD", "ACTIVE", "SUB", "DESCRIPTION"];
  const body = rows.length === 0 && bare ? "" : table(bare ? rows : [head, ...rows]);
  return prints(
    bare
      ? body
      : `${rows.length === 0 ? "" : body}${rows.length === 0 ? "" : "\n"}${rows.length} loaded units listed.\n`,
  );
}

function matching({ guest }: Call, word: string): string[] {
  return word.includes("*") ? [...guest.units.keys()].filter((name) => globMatches(word, name)) : [word];
}

function overview({ guest }: Call): Ran {
  const failed = [...guest.units.values()].filter(({ active }) => active === "failed").length;
  return prints(
    `● devvm\n    State: ${failed > 0 ? "degraded" : "running"}\n    Units: ${guest.units.size} loaded\n     Jobs: 0 queued\n   Failed: ${failed} units\n    Since: ${guest.bootedAt.toUTCString()}\n`,
  );
}

function status({ guest }: Call, unit: Unit, lines: number): string {
  const mark = unit.active === "failed" ? "×" : unit.active === "active" ? "●" : "○";
  const ago = Math.max(0, Math.floor((guest.now().getTime() - unit.since.getTime()) / 60_000));
  const since = `since ${unit.since.toUTCString().replace(" GMT", " UTC")}; ${ago < 60 ? `${ago}min` : `${Math.floor(ago / 60)}h ${ago % 60}min`} ago`;
  const state = unit.active === "failed" ? "failed (Result: protocol)" : `${unit.active} (${unit.sub})`;
  const entries = guest.journal
    .select((entry) => entry.unit === unit.name && entry.boot === guest.boots)
    .slice(-Math.max(1, lines || 10));
  return (
    `${mark} ${unit.name} - ${unit.description}\n     Loaded: loaded (/lib/systemd/system/${unit.name}; enabled; preset: enabled)\n     Active: ${state} ${since}\n` +
    (unit.pid === null
      ? ""
      : `   Main PID: ${unit.pid} (${unit.command.split(/[ :]/)[0]!.replace(/^.*\//, "")})\n     Memory: ${human(unit.rssKb * 1024)}\n`) +
    `\n${entries.map((entry) => `${shortLine(entry)}\n`).join("")}\n`
  );
}

export const serviceCommands = { systemctl };
