import { mayWrite, resolvePath } from "../access.ts";
import { parentOf } from "../disk.ts";
import { fails, options, prints, type Call, type Ran, type SimulatedCommand } from "./call.ts";
import { inputs, readFile } from "./files.ts";

/** Removes or empties; only root owns anything here that is worth it. */
function change(
  call: Call,
  names: readonly string[],
  verb: string,
  act: (path: string) => string | undefined,
  force: boolean,
): Ran {
  let err = "";
  for (const name of names) {
    const path = resolvePath(call.account, name);
    const there =
      call.guest.disk.stat(path, call.guest.now()) !== undefined || call.guest.disk.isFolder(path);
    const problem = !there
      ? force
        ? undefined
        : "No such file or directory"
      : mayWrite(call.guest, call.account, path)
        ? act(path)
        : "Permission denied";
    if (problem !== undefined)
      err += `${call.name}: cannot ${verb} '${name}'${verb === "open" ? " for writing" : ""}: ${problem}\n`;
  }
  return { out: "", err, code: err === "" ? 0 : 1 };
}

const rm: SimulatedCommand = (call) => {
  const { flags, rest } = options(call.args);
  const { disk } = call.guest;
  if (rest.length === 0) return flags.has("f") ? prints("") : fails("rm: missing operand");
  const remove = (path: string): string | undefined => {
    if (!disk.isFolder(path)) {
      disk.remove(path, call.guest.now());
      return undefined;
    }
    if (!flags.has("r") && !flags.has("R")) return "Is a directory";
    if (path === "/") return "it is dangerous to operate recursively on '/'";
    for (const child of disk.list(path)) remove(child);
    if (disk.list(path).length === 0) disk.removeFolder(path);
    return undefined;
  };
  return change(call, rest, "remove", remove, flags.has("f"));
};

const truncate: SimulatedCommand = (call) => {
  const { flags, rest } = options(
    call.args.map((word) => word.replace(/^--size=/, "-s")),
    "s",
  );
  const size = /^(\d+)([KMG]?)$/.exec(flags.get("s") ?? "");
  if (size === null) return fails("truncate: you must specify a relative or absolute size, such as '-s 0'");
  const bytes =
    Number(size[1]) * { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 }[size[2] as "" | "K" | "M" | "G"];
  if (rest.length === 0) return fails("truncate: missing file operand");
  return change(
    call,
    rest,
    "open",
    (path) =>
      call.guest.disk.isFolder(path)
        ? "Is a directory"
        : call.guest.disk.resize(path, bytes, call.guest.now()),
    false,
  );
};

/** `600`, `0755`, `+x`, `u+x`, `a-w`: of a file, whose three thirds are told apart only by number. */
const chmod: SimulatedCommand = (call) => {
  const [wish, ...names] = options(call.args.filter((word) => word !== "-R")).rest;
  if (wish === undefined || names.length === 0) return fails("chmod: missing operand");
  const number = /^0?([0-7]{3})$/.exec(wish)?.[1];
  const sign = /^[ugoa]*([+-])([rwx]+)$/.exec(wish);
  if (number === undefined && sign === null) return fails(`chmod: invalid mode: '${wish}'`);
  const { disk } = call.guest;
  const changed = (mode: string) =>
    mode.replaceAll(/[rwx-]/g, (letter, at: number) => {
      if (at === 0) return letter;
      const bit = "rwx"[(at - 1) % 3]!;
      if (number !== undefined)
        return (Number(number[Math.floor((at - 1) / 3)]) & (4 >> ((at - 1) % 3))) === 0 ? "-" : bit;
      return sign![2]!.includes(bit) ? (sign![1] === "+" ? bit : "-") : letter;
    });
  return change(
    call,
    names,
    "access",
    (path) => {
      disk.chmod(path, changed);
      return undefined;
    },
    false,
  );
};

const mkdir: SimulatedCommand = (call) => {
  const { flags, rest } = options(call.args, "m");
  const { disk, now } = { disk: call.guest.disk, now: call.guest.now() };
  let err = "";
  for (const name of rest) {
    const path = resolvePath(call.account, name);
    const there = disk.isFolder(path) || disk.stat(path, now) !== undefined;
    const missing = !there && !disk.isFolder(parentOf(path)) && !flags.has("p");
    const problem = there
      ? flags.has("p") && disk.isFolder(path)
        ? undefined
        : "File exists"
      : missing
        ? "No such file or directory"
        : mayWrite(call.guest, call.account, path)
          ? disk.makeFolders(path)
          : "Permission denied";
    if (problem !== undefined) err += `mkdir: cannot create directory '${name}': ${problem}\n`;
  }
  return { out: "", err, code: err === "" ? 0 : 1 };
};

const touch: SimulatedCommand = (call) => {
  let err = "";
  for (const name of options(call.args).rest) {
    const path = resolvePath(call.account, name);
    if (call.guest.disk.stat(path, call.guest.now()) !== undefined || call.guest.disk.isFolder(path))
      continue;
    const problem = write(call, path, "");
    if (problem !== undefined) err += `touch: cannot touch '${name}': ${problem}\n`;
  }
  return { out: "", err, code: err === "" ? 0 : 1 };
};

/** Only what has a text here: of most files the demo machine knows the size alone. */
const copy: SimulatedCommand = (call) => {
  const names = options(call.args).rest;
  const to = names.pop();
  if (to === undefined || names.length === 0) return fails(`${call.name}: missing file operand`);
  const { disk } = call.guest;
  const target = resolvePath(call.account, to);
  if (names.length > 1 && !disk.isFolder(target))
    return fails(`${call.name}: target '${to}' is not a directory`);
  let err = "";
  for (const name of names) {
    const from = resolvePath(call.account, name);
    const there = disk.isFolder(target) ? `${target}/${name.split("/").at(-1)!}` : target;
    const read = readFile(call, name);
    const moves = call.name === "mv";
    const problem =
      "problem" in read
        ? read.problem
        : moves && !mayWrite(call.guest, call.account, from)
          ? "Permission denied"
          : write(call, there, read.text);
    if (problem !== undefined)
      err += `${call.name}: cannot ${moves ? "move" : "copy"} '${name}': ${problem}\n`;
    else if (moves) disk.remove(from, call.guest.now());
  }
  return { out: "", err, code: err === "" ? 0 : 1 };
};

const tee: SimulatedCommand = async (call) => {
  const { flags, rest } = options(call.args);
  const { texts } = await inputs(call, []);
  const text = texts[0]?.text ?? "";
  let err = "";
  for (const name of rest) {
    const path = resolvePath(call.account, name);
    const before = flags.has("a") ? (call.guest.disk.stat(path, call.guest.now())?.text ?? "") : "";
    const problem = write(call, path, before + text);
    if (problem !== undefined) err += `tee: ${name}: ${problem}\n`;
  }
  return { out: text, err, code: err === "" ? 0 : 1 };
};

function write({ guest, account }: Call, path: string, text: string): string | undefined {
  if (!mayWrite(guest, account, path)) return "Permission denied";
  return guest.disk.write(path, text, account.name, guest.now());
}

export const changeCommands = { rm, truncate, chmod, mkdir, touch, cp: copy, mv: copy, tee };
