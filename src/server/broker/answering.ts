import type { OperationRequested, OperationSettled } from "../../protocol/events.ts";
import type { ApprovalId, OperationId } from "../../protocol/ids.ts";
import { within } from "../clock.ts";
import type { Ssh } from "../ssh/ssh.ts";
import { parseSsh } from "./ask.ts";
import type { AskedApprovals, AskedInTurn } from "./approvals.ts";
import type { BrokerDeps, BrokerSession } from "./broker.ts";
import type { Caller, Request } from "./caller.ts";
import { decide, type Act, type Decision } from "./decide.ts";
import { Execs, type Exec } from "./exec.ts";
import { runFixed, type FixedAnswer, type FixedAsk } from "./fixed.ts";
import type { Freeze } from "./freeze.ts";
import { readStatus } from "./read-status.ts";
import { runGuest } from "./run-guest.ts";
import { busyNow, lastSeen, overForensics, overShare, runVerb, type VerbEnd } from "./run-verb.ts";

export interface AnsweringDeps extends BrokerDeps {
  readonly approvals: AskedApprovals;
  readonly freeze: Freeze;
}

/** One request, heard. */
interface Knock {
  readonly caller: Caller;
  readonly request: Request;
  readonly holds: Holds;
  readonly asked: AskedInTurn;
}

/** Each is aborted with a sentence as its reason. */
interface Holds {
  readonly turn: AbortSignal;
  /** For what an Operator approves. */
  readonly consent: AbortSignal;
  /** For what runs by autonomous mode. */
  readonly autonomy: AbortSignal;
  /** Ends them when the mode says so and nobody has told yet. */
  readonly lookAgain: () => void;
}

/** By what an Act runs. */
interface Leave {
  /** Aborted: it is not sent any more. */
  readonly until: AbortSignal;
  readonly approved?: { readonly approval: ApprovalId; readonly after: OperationId | null };
}

/**
 * Guest commands of one Session at the same time that no Operator was asked about; one more is refused with a sentence. Fewer
 * than a connection has places: the looks of the watch and what an Operator approved must not wait behind them.
 */
const guestsAtOnceMax = 6;

/** Reading whether all is frozen has so long; while that is not known nothing is run. */
const freezeReadMsMax = 10_000;

/** What becomes of the requests of one Session. */
export class Answering {
  /** Handed to the power room: the agent may be gone, and they run on. */
  readonly verbs = new Set<Promise<void>>();
  #guests = 0;
  readonly #deps: AnsweringDeps;
  readonly #session: BrokerSession;
  readonly #execs: Execs;

  constructor(deps: AnsweringDeps, session: BrokerSession) {
    this.#deps = deps;
    this.#session = session;
    this.#execs = new Execs(deps, session);
  }

  beginTurn(): void {
    this.#execs.beginTurn();
  }

  /** Resolves when it was answered, or when a Verb of it is on its way. */
  async answer(knock: Knock): Promise<void> {
    const { caller, request, holds } = knock;
    const decision = await this.#decide(request);
    switch (decision.kind) {
      case "refused":
        return this.#refuse(caller, request, decision);
      case "run": {
        const mode = decision.by === "autonomous mode" ? [holds.autonomy] : [];
        return this.#act(knock, decision.act, { until: AbortSignal.any([holds.turn, ...mode]) });
      }
      case "ask":
        return this.#ask(knock, decision);
    }
  }

  /** A step of a Runbook: `stop` ends it. */
  async fixed(asked: FixedAsk, stop: AbortSignal): Promise<FixedAnswer> {
    const execs = this.#execs;
    const frozen = await this.#frozen();
    if (frozen === null) return runFixed({ ...this.#deps, execs, stop }, asked);
    const { target, command, by } = asked;
    const end = { kind: "refused", reason: frozen } as const;
    const { n } = await execs.run({ target, account: "", command }, async () => ({ end, code: 255 }), by);
    return { n, end: { kind: "unknown", reason: frozen }, output: "" };
  }

  async #decide({ argv, hasStdin }: Request): Promise<Decision> {
    const frozen = await this.#frozen();
    if (frozen !== null) return { kind: "refused", target: "", account: "", sentence: frozen };
    const { targets, standing, power, clock } = this.#deps;
    return decide(parseSsh(argv, hasStdin), this.#session.mode(), {
      targets,
      standing,
      overShare: (target) => overShare(power, clock, target),
      overForensics: (target) => overForensics(power, clock, target),
    });
  }

  async #frozen(): Promise<string | null> {
    const { freeze, clock, log } = this.#deps;
    const known = freeze.load().then(
      () => true,
      (error: unknown) => log(`broker: whether all is frozen could not be read: ${String(error)}`),
    );
    if ((await within(clock, freezeReadMsMax, known)) !== true) {
      return "whether an operator has frozen Breakglass could not be read from its record. Nothing was run. Tell the operator: to freeze or to lift the freeze on the page mends it.";
    }
    const frozen = freeze.now();
    if (frozen === null) return null;
    return `${frozen.by} has frozen Breakglass (${frozen.at}). Nothing was run, and nothing will be until it is lifted: stop here, and tell the operator what you saw and what is left to do.`;
  }

  async #refuse(
    caller: Caller,
    request: Request,
    refused: Extract<Decision, { kind: "refused" }>,
  ): Promise<void> {
    const { target, account, sentence } = refused;
    const command = ["ssh", ...request.argv].join(" ");
    await this.#execs.refused({ target, account, command }, sentence);
    caller.answer(255, sentence);
  }

  async #ask(knock: Knock, { act, why }: Extract<Decision, { kind: "ask" }>): Promise<void> {
    const { caller, holds, asked } = knock;
    const { approvals, clock, power } = this.#deps;
    const busy = act.kind === "power" ? busyNow(power, act.target, act.verb) : null;
    if (busy !== null) return this.#notRun(caller, act, busy);
    const until = AbortSignal.any([caller.gone, holds.turn, holds.consent]);
    const after = act.kind === "power" ? lastSeen(power, act.target) : null;
    const answer = await approvals.ask({
      ...factsOf(act),
      session: this.#session.id,
      why,
      until,
      turn: asked,
      // Nothing that the agent gives goes along with a Verb, or with -n.
      stdin:
        act.kind === "power" || !act.stdin
          ? null
          : (bytesMax, msMax) => caller.wholeStdin(clock, until, bytesMax, msMax),
      record: (event, by) => this.#session.record(event, by),
    });
    if (answer.kind === "refused") return this.#notRun(caller, act, { code: 255, sentence: answer.sentence });
    if (answer.kind === "not") return caller.answer(255, answer.sentence);
    await this.#act(knock, act, { until, approved: { approval: answer.approval, after } });
  }

  /** What it was decided by may have ended since: that is looked at again at the last moment before it is sent. */
  async #act({ caller, holds }: Knock, act: Act, leave: Leave): Promise<void> {
    switch (act.kind) {
      case "guest":
        if (leave.approved === undefined && this.#guests >= guestsAtOnceMax) {
          const sentence = `${guestsAtOnceMax} commands of this session run at the moment, which is as many as may. Nothing was run: wait until some have ended.`;
          return this.#notRun(caller, act, { code: 255, sentence });
        }
        this.#guests++;
        try {
          await this.#guest(caller, holds, act, leave);
        } finally {
          this.#guests--;
        }
        return;
      case "power": {
        if (act.verb === "status") return this.#status(caller, act);
        const verb = this.#verb(caller, holds, act, leave);
        this.verbs.add(verb);
        void verb.then(() => this.verbs.delete(verb));
        return;
      }
    }
  }

  async #notRun(caller: Caller, act: Act, { code, sentence }: VerbEnd): Promise<void> {
    await this.#execs.refused(factsOf(act), sentence ?? "");
    caller.answer(code, sentence);
  }

  async #guest(caller: Caller, holds: Holds, act: GuestAct, { until, approved }: Leave): Promise<void> {
    const ssh = heldBack(this.#deps.ssh, until, holds.lookAgain);
    const { code, sentence } = await this.#execs.run(
      { ...factsOf(act), ...(approved && { approval: approved.approval }) },
      (output) =>
        runGuest({ ...this.#deps, ssh, sink: caller, output, stop: holds.turn, stdin: act.stdin }, act),
    );
    caller.answer(code, sentence);
  }

  async #status(caller: Caller, act: PowerAct): Promise<void> {
    const { power } = this.#deps;
    const { code, sentence } = await this.#execs.run(factsOf(act), (output) =>
      readStatus({ power, caller, output }, act.target),
    );
    caller.answer(code, sentence);
  }

  /** Never rejects. */
  async #verb(caller: Caller, holds: Holds, act: PowerAct, { until, approved }: Leave): Promise<void> {
    const { power, clock, newId, log } = this.#deps;
    const forbidden = () => {
      holds.lookAgain();
      if (until.aborted) return String(until.reason);
      if (act.verb === "forensics") return overForensics(power, clock, act.target);
      if (approved !== undefined) return null;
      const used = overShare(power, clock, act.target);
      return used && `${used} Ask again: an operator is asked then.`;
    };
    const record = (event: OperationRequested | OperationSettled) =>
      this.#execs.inTime(this.#session.record(event));
    try {
      const deps = { power, caller, newId, record, forbidden };
      const { code, sentence } = await runVerb(deps, act.target, act.verb, approved);
      caller.answer(code, sentence);
    } catch (error) {
      log(`broker: ${String(error)}`);
      caller.answer(255, `the broker failed. ${act.verb} may or may not have been sent: ask for status.`);
    }
  }
}

type GuestAct = Extract<Act, { kind: "guest" }>;
type PowerAct = Extract<Act, { kind: "power" }>;

/** As the record and the Operator see it. */
function factsOf(act: Act): Exec {
  return act.kind === "guest"
    ? { target: act.target, account: act.account.user, command: act.command }
    : { target: act.target, account: "hypervisor", command: act.verb };
}

/** The same Ssh, which sends nothing once `until` is aborted, however long it has waited for its place on the line. */
function heldBack(ssh: Ssh, until: AbortSignal, lookAgain: () => void): Ssh {
  return {
    ...ssh,
    async start(alias, command, cancel) {
      lookAgain();
      const signal = cancel === undefined ? until : AbortSignal.any([cancel, until]);
      const started = await ssh.start(alias, command, signal);
      if (started.kind !== "not_sent" || !until.aborted) return started;
      return { ...started, reason: `${String(until.reason)} It was not sent.` };
    },
  };
}
