import { parseArgs } from "node:util";
import { printLink } from "./link.ts";

/** What has not ended by then hangs. */
const endMs = 1_000;

const usage = `breakglass serve         start the server from the environment (docs/configuration.md)
breakglass demo          the same, with the demo machine when nothing is configured
breakglass link          print a one-time link to the running server's page
breakglass verb VERB     send a verb: through the running server, or straight over SSH without one
                         [--target NAME] [--json]
breakglass enroll TARGET make a machine reachable for rescues, and prove it
breakglass doctor         check every part for real, and change nothing [--json]
breakglass runner --socket PATH
                         run agents here, for a server with BREAKGLASS_ISOLATION=runner:PATH
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
  case "verb": {
    const { runVerb } = await import("./verb.ts");
    process.exitCode = await runVerb(process.argv.slice(3), process.env);
    await endSoon();
    break;
  }
  case "enroll":
    process.exitCode = await (await import("./enroll.ts")).enroll(process.env, process.argv.slice(3));
    break;
  case "doctor":
    process.exitCode = await (await import("./doctor.ts")).runDoctor(process.argv.slice(3), process.env);
    await endSoon();
    break;
  case "runner":
    process.exitCode = await (await import("./runner.ts")).runRunner(process.argv.slice(3), process.env);
    break;
  default:
    process.stderr.write(usage);
    process.exitCode = positionals.length === 0 ? 0 : 2;
}

/** A disk that hangs holds a thread, and with it the end of this process. */
async function endSoon(): Promise<void> {
  const { endIfStuck } = await import("../server/process/end-if-stuck.ts");
  setTimeout(() => {
    endIfStuck();
    process.exit();
  }, endMs).unref();
}
