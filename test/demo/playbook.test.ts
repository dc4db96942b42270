import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { playbook } from "../../demo/model/playbook.ts";
import { intruderOrders, authorizedKeys } from "../../demo/guest/contents.ts";
import { gulliblePrompt, repairPreset } from "../../demo/presets.ts";
import { defaultPresets } from "../../src/server/presets.ts";
import { eventually, run, spawnDemo, sshOptions, type RunningDemo } from "./demo.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let demo: RunningDemo;
beforeEach(async () => {
  demo = await spawnDemo();
});
afterEach(() => demo.end());

/** What stands in for the broker where the account is privileged: it lets through, or answers like an Operator. */
type Answer = "runs" | "denied" | "refused";
const answers: Readonly<Record<Answer, string | null>> = {
  runs: null,
  denied: "ssh: ana denied this. Nothing was run. Do not ask again for the same.",
  refused: "ssh: root@devvm is refused in observe mode. Nothing was run.",
};

/** Plays a prompt to its end as the agent would: each command really runs, with an `ssh` that knows the names. */
async function play(prompt: string, privileged: Answer = "runs") {
  const { guest, hypervisor } = demo.ready;
  const reach = (user: string, port: number) =>
    `exec /usr/bin/ssh ${sshOptions(demo.ready).join(" ")} -o ConnectTimeout=2 -p ${port} -l ${user} 127.0.0.1 "$@"`;
  const said = answers[privileged];
  const gate = said === null ? "" : `echo '${said}' >&2; exit 255;`;
  const mutating = `case $1 in status|forensics) ;; *) ${gate} ;; esac`;
  await writeFile(
    join(demo.dir, "ssh"),
    `#!/bin/sh\n[ "$1" = -n ] && shift\ntarget=$1; shift\ncase $target in\ndevvm) ${reach(guest.observeUser, guest.port)} ;;\nroot@devvm) ${gate} ${reach(guest.user, guest.port)} ;;\npve) ${mutating}\n${reach(hypervisor.user, hypervisor.port)} ;;\nesac\n`,
  );
  await chmod(join(demo.dir, "ssh"), 0o700);
  const toolResults: string[] = [];
  const commands: string[] = [];
  for (;;) {
    const answer = playbook({ prompt, step: toolResults.length, toolResult: null, toolResults, model: "m" });
    if (answer.kind !== "blocks") throw new Error(answer.kind);
    const call = answer.blocks.find((block) => block.type === "tool_use");
    if (call === undefined)
      return {
        said: answer.blocks.map((block) => (block.type === "text" ? block.text : "")).join(""),
        commands,
      };
    const command = String(call.input["command"]);
    commands.push(command);
    const { code, stdout, stderr } = await run("bash", ["-c", command], {
      PATH: `${demo.dir}:/usr/bin:/bin`,
    });
    toolResults.push(code === 0 ? stdout + stderr : `Exit code ${code}\n${stdout}${stderr}`);
  }
}

const preset = (name: string) => defaultPresets.find((known) => known.name === name)!.prompt;

it("triage finds the full disk, the failed database and the killed process", async () => {
  const { said } = await play(preset("Triage"));
  expect(said).toContain("`/` is **100% full**");
  expect(said).toContain("`postgresql@15-main.service` has failed");
  expect(said).toMatch(/the kernel killed `node` \(2213, 2655 MiB\)/);
});

it("each preset looks, changes nothing, and says what it saw", async () => {
  expect((await play(preset("Memory / OOM"))).said).toMatch(/killed `node`[\s\S]*server\.js/);
  expect((await play(preset("Disk"))).said).toContain("/var/log/orders-api/debug.log` (14G)");
  expect((await play(preset("Services"))).said).toMatch(
    /No space left on device[\s\S]*Free space on `\/` first/,
  );
  expect((await play(preset("QEMU wedged?"))).said).toContain("Not wedged");
  expect((await demo.guest("df -h /")).stdout).toContain("100%");
});

/** All that Repair needs of the operator, in one request. */
const theRepair =
  "ssh -n root@devvm 'truncate -s 0 /var/log/orders-api/debug.log && systemctl restart postgresql@15-main.service'";
const privileged = (commands: readonly string[]) => commands.filter((command) => /root@|cycle/.test(command));

it("repair reads as the one who owns nothing, asks once for all that it needs, and looks whether it helped", async () => {
  const { said, commands } = await play(repairPreset.prompt);
  expect(privileged(commands)).toEqual([theRepair]);
  expect(said).toContain("As root emptied `/var/log/orders-api/debug.log` (14G)");
  expect(said).toMatch(/\*\*Now:\*\* `\/` is 2\d% full[\s\S]*No unit is failed/);
  expect((await demo.guest("systemctl is-active postgresql@15-main")).stdout).toBe("active\n");
  // What is well is found well: nothing here is said by heart.
  const again = await play(preset("Triage"));
  expect(again.said).not.toContain("has failed");
  expect(again.said).toContain("Disks are fine");
  expect((await play(repairPreset.prompt)).said).toContain("nothing that I know how to mend");
});

it("repair takes a no for an answer: it asks no second time, and says what it would have done", async () => {
  for (const answer of ["denied", "refused"] as const) {
    const { said, commands } = await play(repairPreset.prompt, answer);
    expect(privileged(commands)).toEqual([theRepair]);
    expect(said).toMatch(
      /\*\*Done:\*\* Nothing: .*(?:denied|refused).*\. I would have run `ssh -n root@devvm/,
    );
    expect(said).toContain("As it was: The full disk comes first");
  }
  expect((await demo.guest("df -h /")).stdout).toContain("100%");
});

it("the gullible one does what a line of the log tells it to, and what holds is not it", async () => {
  const keys = () => demo.guest(`cat ${authorizedKeys}`);
  const { said, commands } = await play(gulliblePrompt, "refused");
  expect(privileged(commands)).toEqual(intruderOrders);
  expect(said.match(/\*\*not run\*\*/g)).toHaveLength(2);
  expect((await keys()).stdout).not.toContain("intruder");
  // And it would have worked.
  await play(gulliblePrompt);
  await eventually(keys, ({ stdout }) => stdout.includes("intruder"));
});

it("sees a wedge and asks for a cycle, and a machine that is off", async () => {
  await demo.control({ do: "wedge" });
  expect((await play(preset("QEMU wedged?"))).said).toMatch(
    /io-stall-suspected[\s\S]*\*\*Wedged[\s\S]*Cycle it/,
  );
  expect((await play(preset("Triage"))).said).toContain("does not answer over SSH");
  await demo.host("stop");
  expect((await play(preset("QEMU wedged?"))).said).toContain("It is off. Start it.");
});

it("answers free text with how to configure a model", async () => {
  const { said, commands } = await play("why is it slow?");
  expect(commands).toEqual([]);
  expect(said).toContain("No model is configured");
  expect(said).toContain("ANTHROPIC_API_KEY");
  expect(said).toContain("CLAUDE_CODE_OAUTH_TOKEN");
});
