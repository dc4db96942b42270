import type { Operation } from "../protocol/api.ts";
import type { OperationId } from "../protocol/ids.ts";
import type { Audit } from "./audit/audit.ts";
import type { AuditFact } from "./audit/entry.ts";
import type { Clock } from "./clock.ts";
import type { Mirror } from "./power/spool.ts";
import { verbFact } from "./power/spooled.ts";

/** An audit entry of a Verb that the disk has refused is offered again after this long. */
const auditAgainMs = 10_000;

/**
 * Brings every mutating Operation's end into the audit log. Until it is there the Operation stays in the spool, whose
 * bringing in would audit it: answers whether `operation` has ended with something to record.
 */
export function verbAudit(deps: {
  readonly audit: Audit;
  readonly clock: Clock;
  readonly mirror: Mirror | undefined;
}): (operation: Operation) => boolean {
  const { audit, clock, mirror } = deps;
  const unaudited = new Map<OperationId, () => void>();

  async function offer(id: OperationId, fact: AuditFact): Promise<void> {
    while (!(await audit.record(fact)))
      await new Promise<void>((resolve) => clock.after(auditAgainMs, resolve));
    unaudited.get(id)?.();
    unaudited.delete(id);
  }

  return (operation) => {
    const { id } = operation;
    // From the asking on: whatever ends this process before the audit entry is on disk, the next one writes it.
    if (mirror !== undefined && !unaudited.has(id)) unaudited.set(id, mirror.keep(id, null));
    const fact = verbFact(operation);
    if (fact !== null) void offer(id, fact);
    return fact !== null;
  };
}
