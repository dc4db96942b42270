import { parseArgs } from "node:util";
import { printLink } from "./link.ts";

const usage = `breakglass serve         start the server from the environment (docs/configuration.md)
breakglass demo          the same, with the demo machine when nothing is configured
breakglass link          print a one-time link to the running server's page
breakglass enroll        make a machine reachable for rescues, and prove it
`;

const { positionals } = parseArgs({ allowPositionals: true, strict: false });
switch (positionals[0]) {
  case "demo":
    process.argv.push("--demo");
    await import("../server/main.ts");
    break;
  case "serve":
    await import("../server/main.ts");
    break;
  case "link":
    process.exitCode = await printLink(process.env);
    break;
  case "enroll":
    process.exitCode = await (await import("./enroll.ts")).enroll(process.env, process.argv.slice(3));
    break;
  default:
    process.stderr.write(usage);
    process.exitCode = positionals.length === 0 ? 0 : 2;
}
