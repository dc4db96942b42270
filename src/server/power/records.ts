import type { Operation } from "../../protocol/api.ts";
import { isUuid, type OperationId } from "../../protocol/ids.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import { parseVerb, type Verb } from "../../protocol/verbs.ts";
import type { Body, StoredRecord } from "../store/store.ts";
import { Gathered } from "./gathered.ts";
import type { Evidence } from "./steps.ts";

/** The index: one line when an Operation was asked for and one when it settled. */
export const indexStream = "operations";
/** An Operation's own stream: the same two lines with its output between them. */
export const operationStream = (id: OperationId) => `operation/${id}`;

export function requestedBody(operation: Operation): Body {
  const { id, target, verb, by, requested_at } = operation;
  return { kind: "requested", operation: id, target, verb, by, requested_at };
}

export function outputBody(from: number, text: string): Body {
  return { kind: "output", from, text };
}

export function evidenceBody(evidence: Evidence): Body {
  return "png" in evidence ? { kind: "screen", png: evidence.png } : { kind: "evidence", ...evidence };
}

export function settledBody(operation: Operation, gathered: Gathered | null): Body {
  const { id, settled_at, outcome, exit_code, durable } = operation;
  const settled = {
    kind: "settled",
    operation: id,
    settled_at,
    outcome,
    exit_code: exit_code ?? null,
    durable,
  };
  return gathered?.id == null
    ? settled
    : { ...settled, forensics_id: gathered.id, verdict: gathered.verdict };
}

/**
 * Folds records of either kind of stream into `operations`, in the order of asking. Repeated lines change nothing, and
 * a later settling replaces an earlier one: "unknown" may become known. Lines that make no sense are passed over.
 */
export function foldRecord(operations: Map<OperationId, Operation>, record: StoredRecord): void {
  const id = record["operation"];
  switch (record.kind) {
    case "requested": {
      const verb: Verb | undefined = parseVerb(record["verb"]);
      const { target, by, requested_at } = record;
      if (!isUuid(id) || verb === undefined || operations.has(id)) return;
      if (typeof target !== "string" || typeof by !== "string" || typeof requested_at !== "string") return;
      operations.set(id, { id, target, verb, by, requested_at, durable: true, output: "" });
      return;
    }
    case "settled": {
      const operation = isUuid(id) ? operations.get(id) : undefined;
      const { settled_at, outcome, exit_code, durable } = record;
      if (operation === undefined || typeof settled_at !== "string" || !isOutcome(outcome)) return;
      // What is known stays known, also when an older line comes late, out of the spool.
      if (outcome.kind === "unknown" && operation.outcome !== undefined) return;
      operations.set(operation.id, {
        ...operation,
        settled_at,
        outcome,
        exit_code: typeof exit_code === "number" ? exit_code : null,
        durable: durable === true,
      });
      return;
    }
    default:
  }
}

/**
 * The output as it was kept: pieces stand at their offsets, so that one that was recorded twice counts once. A first piece
 * begins it anew: after a restart the host tells a Job from its beginning.
 */
export function foldOutput(records: readonly StoredRecord[]): string {
  let output = "";
  for (const { kind, from, text } of records) {
    if (kind !== "output" || typeof text !== "string") continue;
    if (from === 0) output = text;
    else if (from === output.length) output += text;
  }
  return output;
}

export function foldEvidence(records: readonly StoredRecord[]): Gathered {
  const gathered = new Gathered();
  for (const record of records) {
    const { png, forensics_id, verdict } = record;
    if (record.kind === "screen" && typeof png === "string") gathered.add({ probe: "screen", png });
    if (record.kind === "evidence") {
      const { kind: _, id: __, ...evidence } = record;
      gathered.add(evidence as unknown as Evidence);
    }
    if (record.kind === "settled" && typeof forensics_id === "string") {
      gathered.id = forensics_id;
      gathered.verdict = typeof verdict === "string" ? verdict : null;
    }
  }
  return gathered;
}

function isOutcome(value: unknown): value is Outcome {
  return typeof value === "object" && value !== null && "kind" in value && typeof value.kind === "string";
}
