/** A UUID as `crypto.randomUUID()` types it: lower case, 8-4-4-4-12. */
export type Uuid = `${string}-${string}-${string}-${string}-${string}`;

export type SessionId = Uuid;
export type TurnId = Uuid;
export type ApprovalId = Uuid;
/** Made by the client; also the idempotency key and the host's job id. */
export type OperationId = Uuid;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isUuid(value: unknown): value is Uuid {
  return typeof value === "string" && uuid.test(value);
}
