import { fails, options, prints, table, type SimulatedCommand } from "./call.ts";

/** Listening sockets, whatever is asked for. */
const ss: SimulatedCommand = ({ guest, account, args }) => {
  const rows = [
    ["ssh.service", "0.0.0.0:22", "sshd"],
    ["nginx.service", "0.0.0.0:80", "nginx"],
    ["orders-api.service", "*:3000", "node"],
    ["postgresql@15-main.service", "127.0.0.1:5432", "postgres"],
  ] as const;
  const named = account.uid === 0 && options(args).flags.has("p");
  const open = rows.flatMap(([unit, at, name]) => {
    const pid = guest.units.get(unit)?.pid ?? null;
    return pid === null
      ? []
      : [["LISTEN", "0", "511", at, "0.0.0.0:*", named ? `users:(("${name}",pid=${pid},fd=6))` : ""]];
  });
  const head = ["State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port", "Process"];
  return prints(table(options(args).flags.has("H") ? open : [head, ...open]));
};

/** What `ip` calls its objects, shortened as it allows it. */
const objects: Readonly<
  Record<string, { readonly plain: string; readonly oneline: string; readonly six: string }>
> = {
  link: {
    plain:
      "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\n    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n2: ens18: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP mode DEFAULT group default qlen 1000\n    link/ether bc:24:11:5e:0a:66 brd ff:ff:ff:ff:ff:ff\n",
    oneline:
      "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\\    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n2: ens18: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP mode DEFAULT group default qlen 1000\\    link/ether bc:24:11:5e:0a:66 brd ff:ff:ff:ff:ff:ff\n",
    six: "",
  },
  addr: {
    plain:
      "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN\n    inet 127.0.0.1/8 scope host lo\n2: ens18: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP\n    link/ether bc:24:11:5e:0a:66\n    inet 10.0.20.102/24 brd 10.0.20.255 scope global ens18\n",
    oneline:
      "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n2: ens18    inet 10.0.20.102/24 brd 10.0.20.255 scope global ens18\\       valid_lft forever preferred_lft forever\n",
    six: "",
  },
  route: {
    plain:
      "default via 10.0.20.1 dev ens18\n10.0.20.0/24 dev ens18 proto kernel scope link src 10.0.20.102\n",
    oneline:
      "default via 10.0.20.1 dev ens18\n10.0.20.0/24 dev ens18 proto kernel scope link src 10.0.20.102\n",
    six: "::1 dev lo proto kernel metric 256 pref medium\n",
  },
  neigh: {
    plain: "10.0.20.1 dev ens18 lladdr bc:24:11:00:00:01 REACHABLE\n",
    oneline: "10.0.20.1 dev ens18 lladdr bc:24:11:00:00:01 REACHABLE\n",
    six: "",
  },
};

const ip: SimulatedCommand = ({ args }) => {
  const { flags, rest } = options(args);
  const [word = "", verb = "show"] = rest;
  const name = Object.keys(objects).find((known) => known.startsWith(word));
  const object = word === "" || name === undefined ? undefined : objects[name];
  if (object === undefined) return fails(`Object "${word}" is unknown, try "ip help".`);
  if (!"show list".split(" ").some((known) => known.startsWith(verb)))
    return fails("RTNETLINK answers: Operation not permitted", 2);
  return prints(
    flags.has("6") || flags.get("number") === "6"
      ? object.six
      : flags.has("o")
        ? object.oneline
        : object.plain,
  );
};

export const networkCommands = { ss, ip };
