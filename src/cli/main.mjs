import "../server/process/compile-cache.mjs";
import { parseArgs } from "node:util";

/** What has not ended by then hangs. */
const endMs = 1_000;

const usage = `breakglass serve         start the server from the environment (docs/configuration.md)
breakglass demo          the same, with the demo machine when nothing is configured
breakglass link          print a one-time link to the running server's page
breakglass verb VERB     send a verb: through the running server, or straight over SSH without one
                         [--target NAME] [--json]
breakglass freeze        stop every agent at once, and keep them stopped; verbs still work
breakglass thaw          let them work again
breakglass approvals     show what waits for an operator's yes or no, exactly
breakglass runbook NAME  ask a machine fixed questions, without a model: 0 nothing found, 1 found, 2 not known
                         [--target NAME] [--json]; without NAME: which there are
breakglass enroll TARGET make a machine reachable for rescues, and prove it
breakglass doctor         check every part for real, and change nothing [--json]
breakglass runner --socket PATH
                         run agents here, for a server with BREAKGLASS_ISOLATION=runner:PATH
`;

const { positionals } = parseArgs({ allowPositionals: true, strict: false });
switch (positionals[0]) {
  case "demo":
    process.argv.push("--demo");
    await import("../server/main.mjs");
    break;
  case "serve":
    await import("../server/main.mjs");
    break;
  case "link":
    process.exitCode = await (await import("./link.ts")).printLink(process.env);
    break;
  case "verb": {
    const { runVerb } = await import("./verb.ts");
    process.exitCode = await runVerb(process.argv.slice(3), process.env);
    await endSoon();
    break;
  }
  case "freeze":
  case "thaw": {
    const { setFrozen } = await import("./freeze.ts");
    process.exitCode = await setFrozen(positionals[0] === "freeze", process.env);
    break;
  }
  case "approvals":
    process.exitCode = await (await import("./freeze.ts")).showApprovals(process.env);
    break;
  case "runbook": {
    const { runRunbook } = await import("./runbook.ts");
    process.exitCode = await runRunbook(process.argv.slice(3), process.env);
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
async function endSoon() {
  const { endIfStuck } = await import("../server/process/end-if-stuck.ts");
  setTimeout(() => {
    endIfStuck();
    process.exit();
  }, endMs).unref();
}
