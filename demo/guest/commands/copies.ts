import { mayRead, mayWrite, resolvePath } from "../access.ts";
import { fails, prints, type Call, type Ran } from "./call.ts";

/**
 * What the agent's `scp` asks of a guest (src/server/broker/bin/scp): `sh -c SCRIPT breakglass-scp-NAME word ...`. Answered by its
 * name, since its scripts are beyond this shell; undefined for any other.
 */
export async function copy(call: Call, [asked, ...words]: readonly string[]): Promise<Ran | undefined> {
  switch (asked) {
    case "breakglass-scp-up":
      return up(call, words);
    case "breakglass-scp-down":
      return down(call, words);
    case "breakglass-scp-names":
      return prints(words.map((word) => `${word}\0`).join(""));
    default:
      return undefined;
  }
}

async function up(call: Call, [to = "", name = "", mode]: readonly string[]): Promise<Ran> {
  if (mode === undefined) return noFolders;
  const { guest, account } = call;
  const given = resolvePath(account, to);
  const path = guest.disk.isFolder(given) ? `${given}/${name}` : given;
  const text = await call.stdin();
  const problem = mayWrite(guest, account, path)
    ? guest.disk.write(path, text, account.name, guest.now())
    : "Permission denied";
  if (problem !== undefined) return fails(`sh: cannot create ${to}: ${problem}`);
  return call.exec(["chmod", mode, path]);
}

function down({ guest, account }: Call, [name = ""]: readonly string[]): Ran {
  const path = resolvePath(account, name);
  const file = guest.disk.stat(path, guest.now());
  if (file === undefined)
    return guest.disk.isFolder(path) ? noFolders : fails(`scp: ${name}: No such file or directory`);
  if (!mayRead(account, path, file)) return fails(`sh: cannot open ${name}: Permission denied`);
  return file.text === undefined
    ? fails(`scp: ${name}: the demo machine knows only the size of this file`)
    : prints(`${file.mode}\n${file.text}`);
}

const noFolders = fails("scp: the demo machine copies single files only, no folders");
