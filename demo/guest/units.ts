/** One systemd unit of the guest. */
export interface Unit {
  readonly name: string;
  readonly description: string;
  readonly command: string;
  readonly user: string;
  readonly rssKb: number;
  active: "active" | "failed" | "inactive";
  sub: "running" | "exited" | "failed" | "dead";
  pid: number | null;
  since: Date;
}

const facts: readonly (readonly [
  name: string,
  description: string,
  command: string,
  user: string,
  rssKb: number,
])[] = [
  ["cron.service", "Regular background program processing daemon", "/usr/sbin/cron -f", "root", 2_904],
  ["dbus.service", "D-Bus System Message Bus", "/usr/bin/dbus-daemon --system --nofork", "message+", 4_412],
  [
    "nginx.service",
    "A high performance web server and a reverse proxy server",
    "nginx: master process /usr/sbin/nginx",
    "root",
    11_820,
  ],
  ["orders-api.service", "Orders API", "/usr/bin/node /opt/orders-api/server.js", "orders", 611_340],
  [
    "postgresql@15-main.service",
    "PostgreSQL Cluster 15-main",
    "/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main",
    "postgres",
    183_228,
  ],
  ["qemu-guest-agent.service", "QEMU Guest Agent", "/usr/sbin/qemu-ga", "root", 3_144],
  ["rsyslog.service", "System Logging Service", "/usr/sbin/rsyslogd -n -iNONE", "root", 5_620],
  ["ssh.service", "OpenBSD Secure Shell server", "sshd: /usr/sbin/sshd -D [listener]", "root", 8_960],
  ["systemd-journald.service", "Journal Service", "/lib/systemd/systemd-journald", "root", 38_460],
  ["systemd-logind.service", "User Login Management", "/lib/systemd/systemd-logind", "root", 7_812],
  [
    "systemd-timesyncd.service",
    "Network Time Synchronization",
    "/lib/systemd/systemd-timesyncd",
    "systemd+",
    6_688,
  ],
];

export const database = "postgresql@15-main.service";
export const logWriter = "orders-api.service";
/** What the database needs on the disk to start: one segment of its write-ahead log. */
export const databaseNeedsBytes = 16 * 1024 * 1024;

export function makeUnits(): Map<string, Unit> {
  return new Map(
    facts.map(([name, description, command, user, rssKb]) => [
      name,
      {
        name,
        description,
        command,
        user,
        rssKb,
        active: "inactive",
        sub: "dead",
        pid: null,
        since: new Date(0),
      },
    ]),
  );
}

/** As systemctl takes a name: the suffix may be left out. */
export function unitName(word: string): string {
  return /\.(service|socket|timer|target|mount)$/.test(word) ? word : `${word}.service`;
}
