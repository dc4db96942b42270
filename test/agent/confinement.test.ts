import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bubblewrapRunner } from "../../src/server/agent/runner/bubblewrap.ts";
import type { Script } from "../../demo/model/script.ts";
import { bash, isolations, openStage, say } from "./stage.ts";

/** The prompt is the command; what it wrote is the answer. */
const shell: Script = ({ step, prompt }) =>
  step === 0 ? { kind: "blocks", blocks: [bash(prompt)] } : say("Done.");

describe.skipIf(!isolations.includes("bubblewrap"))("in the cage", { timeout: 60_000 }, async () => {
  const stage = await openStage({
    script: shell,
    isolation: "auto",
    env: { NODE_EXTRA_CA_CERTS: "/etc/ssl/certs/ca-certificates.crt" },
  });
  afterAll(() => stage.close());
  const run = async (command: string) => {
    const { events } = await stage.play(command);
    return events.find((event) => event.kind === "tool_result")?.text ?? "";
  };

  test("no process is seen but the agent's own", async () => {
    const pids = (await run("ls /proc")).split(/\s+/).filter((name) => /^\d+$/.test(name));
    expect(pids).toContain("1");
    expect(pids).not.toContain(`${process.pid}`);
    expect(pids.length).toBeLessThan(8);
  });

  test("nothing of ours is seen: no project, no data, no home, no sockets", async () => {
    mkdirSync(join(stage.root, "data"));
    writeFileSync(join(stage.root, "data", "key"), "secret");
    const paths = [
      process.cwd(),
      join(stage.root, "data"),
      stage.sessionsDir,
      "/root",
      "/run",
      "/sys",
      "/var",
      "/home/agent/.ssh",
      "/etc/shadow",
      "/etc/ssl/private",
      "/etc/ssh",
    ];
    expect(
      await run(
        `for path in ${paths.join(" ")}; do [ -e $path ] && echo "$path is there"; done; echo looked`,
      ),
    ).toBe("looked");
    expect((await run("ls /home")).split("\n").toSorted()).toEqual(["agent", "agent-memory"]);
  });

  test("the environment holds what is on the list and nothing else of the server's", async () => {
    const names = (await run("env -0 | cut -z -d= -f1 | tr '\\0' '\\n'")).split("\n");
    expect(names).toContain("NODE_EXTRA_CA_CERTS");
    expect(names).toContain("BREAKGLASS_TOKEN");
    const listed =
      /^(HOME|PATH|PWD|OLDPWD|SHELL|SHLVL|LANG|TERM|TMPDIR|_|ANTHROPIC_(BASE_URL|API_KEY)|NODE_EXTRA_CA_CERTS|BREAKGLASS_(BROKER|TOKEN)|API_TIMEOUT_MS|BASH_(DEFAULT|MAX)_TIMEOUT_MS|DISABLE_\w+|CLAUDE\w*|AI_AGENT|COREPACK_ENABLE_AUTO_PIN|GIT_EDITOR|NoDefaultCurrentDirectoryInExePath)$/;
    expect(names.filter((name) => !listed.test(name))).toEqual([]);
  });

  test("the machine's settings cannot be written, nor its programs", async () => {
    const trial = `for path in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/self/oom_score_adj /usr/x /etc/x /opt/breakglass/bin/ssh; do
      (echo x >>$path) 2>/dev/null && echo "$path was written"; done; echo tried`;
    // /etc is the cage's own, in memory.
    expect(await run(trial)).toBe("/etc/x was written\ntried");
  });

  test("no capability is held and none can be had by a namespace of its own", async () => {
    expect(await run("grep -c 'Cap.*0000000000000000' /proc/self/status")).toBe("5");
    expect(await run("unshare --user --map-root-user true 2>/dev/null && echo escaped; echo tried")).toBe(
      "tried",
    );
  });

  test("the broker's door answers, Node is there for its ssh, and the workspace is kept", async () => {
    const knock = `node -e 'require("net").connect(process.env.BREAKGLASS_BROKER).on("data", (d) => process.stdout.write(d))'`;
    expect(await run(knock)).toBe("hello from the broker");
    await run("echo kept > note");
    await stage.agent.close();
    const { events } = await stage.play("cat note", { agent: stage.another() });
    expect(events.find((event) => event.kind === "tool_result")).toMatchObject({ text: "kept" });
  });
});

describe("without bubblewrap", () => {
  test("no turn runs, and the problem names both mends", async () => {
    const runner = bubblewrapRunner({ sessionsDir: "/nowhere", readable: [], bubblewrap: "/nowhere/bwrap" });
    expect(await runner.problem()).toMatch(
      /cannot be confined.*Install bubblewrap.*BREAKGLASS_ISOLATION=none/,
    );
  });

  test("a folder that cannot be made is an error that names it", async () => {
    const stage = await openStage({ script: shell, sessionsDir: "/dev/null/sessions" });
    onTestFinished(() => stage.close());
    const { end, events } = await stage.play("hello");
    expect(end).toBe("failed");
    expect(events).toMatchObject([
      { kind: "error", error: expect.stringMatching(/could not be started.*\/dev\/null\/sessions/) },
    ]);
    expect(stage.agent.processes()).toBe(0);
  });

  test("an agent that is not installed is a problem with its mend, and the turn an error", async () => {
    const stage = await openStage({ script: shell, claudePath: "/nowhere/claude" });
    onTestFinished(() => stage.close());
    expect(stage.agent.problem()).toMatch(/no \/nowhere\/claude.*BREAKGLASS_CLAUDE/);
    const { end, events } = await stage.play("hello");
    expect(end).toBe("failed");
    expect(events).toEqual([{ kind: "error", error: stage.agent.problem() }]);
  });
});
