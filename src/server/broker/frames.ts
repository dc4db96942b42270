/** The protocol between the shim in the agent's PATH (bin/ssh) and the Broker: type byte, length (32 bit), payload. */
export const frame = {
  /** JSON: token, program, argv. First, once. */
  request: 1,
  stdin: 2,
  stdinEnd: 3,
  stdout: 4,
  stderr: 5,
  /** One byte: the exit code. Last. */
  exit: 6,
  /** How many more bytes of stdin may be sent: 32 bit. */
  credit: 7,
} as const;
