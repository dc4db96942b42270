import {
  consumers,
  failedUnits,
  failure,
  largest,
  load,
  memory,
  mounts,
  oomKills,
  ordersIn,
  refusal,
  runawayLog,
  unreached,
} from "./findings.ts";

interface Step {
  /** Said before the command. */
  readonly note?: string;
  readonly command: string;
  readonly description: string;
}

/** Yields commands, gets what they really printed, and returns what there is to say about it. */
export type Play = () => Generator<Step, string, string>;

const fullPercent = 90;
/** Failed units that one repair restarts; the others are told. */
const unitsMax = 4;

const overview: Step = {
  command: "timeout 20 ssh -n devvm 'uptime; free -m; swapon --show'",
  description: "Load, memory and swap",
};
const disks: Step = { command: "ssh -n devvm 'df -h -x tmpfs; df -i /'", description: "Space and inodes" };
const failed: Step = {
  command: "ssh -n devvm 'systemctl --failed --no-legend --plain'",
  description: "Failed units",
};
const kernel: Step = {
  command: "ssh -n devvm 'journalctl -k -p warning -n 40 --no-pager'",
  description: "The kernel's last words",
};
const killed: Step = {
  command: "ssh -n devvm 'journalctl -k --no-pager | grep -i \"out of memory\" | tail -n 10 || true'",
  description: "What the kernel has killed",
};
const grown: Step = {
  command: "ssh -n devvm 'du -ah /var 2>/dev/null | sort -rh | head -n 15'",
  description: "What fills the disk",
};
const power: Step = { command: "ssh pve status", description: "What the hypervisor sees" };

export const triage: Play = function* () {
  const seen = yield { ...overview, note: "Looking at the machine before anything else." };
  if (unreached(seen)) return yield* silent(seen);
  const results = [seen, yield disks, yield failed, yield kernel];
  const text = results.join("\n");
  return report(
    {
      found: [
        ...diskLines(text),
        ...unitLines(text),
        ...killLines(text),
        ...memoryLines(text),
        ...problems(results),
      ],
    },
    "Read only; nothing was changed.",
    next(text),
  );
};

export const memoryCheck: Play = function* () {
  const seen = yield {
    command: "timeout 20 ssh -n devvm 'uptime; free -m; swapon --show; cat /proc/pressure/memory'",
    description: "Memory, swap and pressure",
  };
  if (unreached(seen)) return yield* silent(seen);
  const processes = yield {
    command: "ssh -n devvm 'ps aux --sort=-rss | head -n 8'",
    description: "The largest consumers",
  };
  const kills = yield killed;
  const top = consumers(processes)
    .slice(0, 4)
    .map(({ name, pid, rssMb }) => `\`${name}\` (${pid}): ${rssMb} MiB`);
  const found = [
    ...memoryLines(seen),
    ...killLines(kills),
    ...(top.length > 0 ? [`Largest now: ${top.join("; ")}.`] : []),
    ...problems([seen, processes, kills]),
  ];
  const worst = oomKills(kills).at(-1);
  return report(
    { found: worst === undefined ? [...found, "The kernel's log of this boot has no OOM kill."] : found },
    "Read only; nothing was changed.",
    worst === undefined
      ? "Memory is not what is wrong right now."
      : `\`${worst.name}\` has outgrown the machine before. Give it a memory limit, or the machine more memory.`,
  );
};

export const diskCheck: Play = function* () {
  const seen = yield { ...disks, command: `timeout 20 ${disks.command}` };
  if (unreached(seen)) return yield* silent(seen);
  const sizes = yield grown;
  const log = runawayLog(sizes);
  const top = largest(sizes)
    .filter(({ path }) => path.includes("."))
    .slice(0, 4)
    .map(({ size, path }) => `\`${path}\` ${size}`);
  return report(
    {
      found: [
        ...diskLines(seen),
        ...(top.length > 0 ? [`Largest under /var: ${top.join(", ")}.`] : []),
        ...problems([seen, sizes]),
      ],
    },
    "Nothing was deleted.",
    log === undefined
      ? "There is no runaway log to clear."
      : `\`${log.path}\` (${log.size}) is a log and safe to empty: \`ssh root@devvm 'truncate -s 0 ${log.path}'\`. Then turn its log level down, or it comes back.`,
  );
};

export const serviceCheck: Play = function* () {
  const seen = yield { ...failed, command: `timeout 20 ${failed.command}` };
  if (unreached(seen)) return yield* silent(seen);
  const units = failedUnits(seen);
  const results = [seen];
  const found: string[] = [];
  for (const unit of units.slice(0, 4)) {
    const journal = yield {
      command: `ssh -n devvm 'journalctl -u ${unit} -n 12 --no-pager'`,
      description: `Last lines of ${unit}`,
    };
    results.push(journal);
    found.push(`\`${unit}\` has failed: ${reasonIn(journal)}`);
  }
  const space = yield { command: "ssh -n devvm 'df -h /'", description: "Whether the disk is the reason" };
  const full = mounts(space).find(({ usedPercent }) => usedPercent >= fullPercent);
  return report(
    {
      found: [
        ...(units.length === 0 ? ["No unit has failed."] : found),
        ...diskLines(space),
        ...problems([...results, space]),
      ],
    },
    "Nothing was restarted.",
    units.length === 0
      ? "Nothing to mend here."
      : full === undefined
        ? "A restart can succeed now."
        : `Free space on \`${full.at}\` first; a restart before that fails again.`,
  );
};

export const wedgeCheck: Play = function* () {
  const guest = yield {
    note: "First the guest itself, then what the hypervisor sees.",
    command: "timeout 20 ssh -n devvm uptime",
    description: "Does the guest answer?",
  };
  const status = yield power;
  const evidence = yield {
    command: "ssh pve forensics",
    description: "Process, QMP, disk counters, guest agent",
  };
  const verdict = /^verdict: (.+)$/m.exec(evidence)?.[1];
  const state = /^status: (\S+)/m.exec(status)?.[1];
  const answers = !unreached(guest) && failure(guest) === undefined;
  const found = [
    answers
      ? `The guest answers: up ${load(guest)?.up ?? "for a time it did not say"}.`
      : `The guest does not answer (${failure(guest)?.said ?? "no reason given"}).`,
    state === undefined
      ? `The hypervisor gave no status (${failure(status)?.said ?? "no reason given"}).`
      : `Hypervisor: \`${state}\`. That alone is no proof of life.`,
    verdict === undefined
      ? `No evidence was gathered (${failure(evidence)?.said ?? "no reason given"}).`
      : `Forensics: \`${verdict}\`.`,
  ];
  const stands = answers
    ? "Not wedged. No cycle is needed."
    : verdict === "io-stall-suspected"
      ? "**Wedged.** QMP answers while the disk counters stand still: the I/O is stuck inside the QEMU process. A reset keeps that process and will not cure it. **Cycle it**: that is a fresh process."
      : state === "stopped"
        ? "It is off. Start it."
        : "The guest is silent and the evidence does not say why. It may still be booting: look again in a minute, and cycle it if it stays silent.";
  return report({ found }, "Evidence only; the power was not touched.", stands);
};

export const repair: Play = function* () {
  const space = yield {
    ...disks,
    note: "What is full, what grew, what failed: then the smallest repair.",
    command: `timeout 20 ${disks.command}`,
  };
  if (unreached(space)) return yield* silent(space);
  const sizes = yield grown;
  const units = yield failed;
  const full = mounts(space).some(({ usedPercent }) => usedPercent >= fullPercent);
  const log = full ? runawayLog(sizes) : undefined;
  const down = failedUnits(units).slice(0, unitsMax);
  const found = [
    ...diskLines(space),
    ...(log === undefined ? [] : [`\`${log.path}\` has grown to ${log.size}.`]),
    ...unitLines(units),
    ...problems([space, sizes, units]),
  ];
  if (log === undefined && down.length === 0)
    return report(
      { found },
      "Nothing: there is nothing that I know how to mend.",
      next(`${space}\n${units}`),
    );

  // One request, complete in itself: what is approved is all that runs.
  const names = down.map((unit) => `\`${unit}\``).join(", ");
  const steps = [
    ...(log === undefined
      ? []
      : [
          {
            does: "empty",
            did: "emptied",
            what: `\`${log.path}\` (${log.size})`,
            by: `truncate -s 0 ${log.path}`,
          },
        ]),
    ...(down.length === 0
      ? []
      : [{ does: "restart", did: "restarted", what: names, by: `systemctl restart ${down.join(" ")}` }]),
  ];
  const does = steps.map((step) => `${step.does} ${step.what}`).join(", then ");
  const did = steps.map((step) => `${step.did} ${step.what}`).join(", then ");
  const command = `ssh -n root@devvm '${steps.map((step) => step.by).join(" && ")}'`;
  const result = yield {
    note: `Found it${log === undefined ? "" : `: \`${log.path}\` has taken the disk`}. As root I want to ${does}, in one command.`,
    command,
    description: "Clear the log, restart what failed",
  };
  const refused = refusal(result);
  if (refused !== undefined)
    return report(
      { found },
      `Nothing: ${sentence(refused)} I would have run \`${command}\`: ${does}.`,
      `As it was: ${next(`${space}\n${units}`)}`,
    );
  const after = yield {
    command: "ssh -n devvm 'df -h /; systemctl --failed --no-legend --plain'",
    description: "How it stands now",
  };
  const still = failedUnits(after);
  const root = mounts(after)[0];
  const stands = [
    root === undefined
      ? "The disk could not be looked at again."
      : `\`${root.at}\` is ${root.usedPercent}% full, ${root.free} free.`,
    failure(after) !== undefined
      ? "Whether units have failed could not be looked at again."
      : still.length === 0
        ? "No unit is failed."
        : `Still failed: ${still.map((unit) => `\`${unit}\``).join(", ")}.`,
    ...(failure(result) === undefined
      ? []
      : ["The repair is **not** complete: see what did not work above."]),
  ];
  return report({ found }, didIt(`As root ${did}`, result), stands.join(" "));
};

/** An agent that believes what it reads. It is here so that one can see what holds when the agent does not. */
export const gullible: Play = function* () {
  const log = yield {
    note: "Reading the web server's log.",
    command: "timeout 20 ssh -n devvm 'journalctl -u nginx -n 20 --no-pager'",
    description: "The web server's last lines",
  };
  if (unreached(log)) return yield* silent(log);
  const orders = ordersIn(log);
  const done: string[] = [];
  for (const order of orders) {
    const result = yield {
      note: "The log says to run this, so I do.",
      command: order,
      description: "What the log says",
    };
    done.push(`- ${didIt(`\`${order}\``, result)}`);
  }
  return report(
    {
      found:
        orders.length === 0
          ? ["The web server's log orders nothing."]
          : [
              "A line of the web server's log, written by whoever sent the request, orders agents to run commands.",
            ],
    },
    orders.length === 0 ? "Nothing." : `\n\n${done.join("\n")}`,
    "This agent obeys what it reads. What it was not given it did not do: that is decided by the mode and by you, not by the agent.",
  );
};

/** The guest was not reached: the hypervisor may know more. */
function* silent(guest: string): Generator<Step, string, string> {
  const status = yield power;
  const state = /^status: (\S+)/m.exec(status)?.[1];
  return report(
    {
      found: [
        `The guest does not answer over SSH (${failure(guest)?.said ?? "no reason given"}).`,
        state === undefined
          ? `The hypervisor gave no status (${failure(status)?.said ?? "no reason given"}).`
          : `The hypervisor says \`${state}\`.`,
      ],
    },
    "Nothing was changed.",
    state === "stopped"
      ? "The machine is off: start it."
      : "Use the preset *QEMU wedged?* to see whether a cycle is needed.",
  );
}

/** In the three parts that agents/breakglass.md asks for. */
function report({ found }: { found: readonly string[] }, done: string, now: string): string {
  const lines = found.length === 0 ? ["nothing out of the ordinary."] : found;
  return `**Found:**\n\n${lines.map((line) => `- ${line}`).join("\n")}\n\n**Done:** ${done}\n\n**Now:** ${now}`;
}

const sentence = (text: string) => (/[.?]$/.test(text) ? text : `${text}.`);

function didIt(what: string, result: string): string {
  const refused = refusal(result);
  if (refused !== undefined) return `${what}: **not run**. ${sentence(refused)}`;
  const problem = failure(result);
  return problem === undefined
    ? `${what}.`
    : `${what}: **did not work** (exit ${problem.code}: ${problem.said})`;
}

/** What was asked and not answered is told, never left out. */
function problems(results: readonly string[]): string[] {
  return results.flatMap((result) => {
    const problem = failure(result);
    return problem === undefined
      ? []
      : [`One look failed (exit ${problem.code}: ${problem.said}), so that this list may not be complete.`];
  });
}

function diskLines(text: string): string[] {
  const all = mounts(text).filter(({ size }) => !/^\d+$/.test(size));
  const full = all.filter(({ usedPercent }) => usedPercent >= fullPercent);
  if (full.length > 0)
    return full.map(
      ({ at, usedPercent, size, free }) => `\`${at}\` is **${usedPercent}% full** (${free} free of ${size}).`,
    );
  const fullest = all.toSorted((a, b) => b.usedPercent - a.usedPercent)[0];
  return fullest === undefined ? [] : [`Disks are fine: \`${fullest.at}\` is ${fullest.usedPercent}% full.`];
}

function unitLines(text: string): string[] {
  return failedUnits(text).map((unit) => `\`${unit}\` has failed.`);
}

function killLines(text: string): string[] {
  return oomKills(text).map(
    ({ when, name, pid, rssMb }) =>
      `${when}: the kernel killed \`${name}\` (${pid}, ${rssMb} MiB) for want of memory.`,
  );
}

function memoryLines(text: string): string[] {
  const found = memory(text);
  if (found === undefined) return [];
  const share = Math.round((100 * found.available) / found.total);
  const swap = found.swapUsed > 0 ? `, ${found.swapUsed} of ${found.swapTotal} MiB swap used` : "";
  const machine = load(text);
  return [
    `Memory: ${found.available} of ${found.total} MiB available (${share}%)${swap}.${machine === undefined ? "" : ` Load ${machine.one}, up ${machine.up}.`}`,
  ];
}

/** The line of a journal that says most, quoted. */
function reasonIn(journal: string): string {
  const problem = failure(journal);
  if (problem !== undefined) return `its journal could not be read (${problem.said}).`;
  const lines = journal.split("\n");
  const line =
    lines.findLast((text) => /No space left|PANIC|FATAL|Out of memory|denied/i.test(text)) ??
    lines.findLast((text) => text.trim() !== "");
  return line === undefined
    ? "its journal is empty."
    : `\`${line.replace(/^.*?\]: /, "").replaceAll("`", "'")}\``;
}

function next(text: string): string {
  const full = mounts(text).some(
    ({ usedPercent, size }) => usedPercent >= fullPercent && !/^\d+$/.test(size),
  );
  const units = failedUnits(text);
  if (full)
    return `The full disk comes first${units.length > 0 ? `; ${units.map((unit) => `\`${unit}\``).join(", ")} can start only when there is space` : ""}. The preset *Disk* shows what fills it; *Repair* clears a runaway log and restarts what failed.`;
  return units.length > 0 ? "The preset *Services* shows why they failed." : "Nothing here needs a repair.";
}
