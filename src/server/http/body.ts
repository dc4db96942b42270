import type { Context } from "hono";
import type { z } from "zod";
import { bodyBytesMax, problemOf } from "./requests.ts";
import { Refusal } from "./refusal.ts";

/** The JSON body as `schema` wants it. Throws a Refusal: 422, whatever is wrong with it. */
export async function jsonBody<T>(c: Context, schema: z.ZodType<T>, bytesMax = bodyBytesMax): Promise<T> {
  return checked(schema, parse(await readText(c, bytesMax)));
}

/** The fields of an HTML form as `schema` wants them. Throws a Refusal: 422. */
export async function formBody<T>(c: Context, schema: z.ZodType<T>, bytesMax: number): Promise<T> {
  return checked(schema, Object.fromEntries(new URLSearchParams(await readText(c, bytesMax))));
}

/** The query string as `schema` wants it. Throws a Refusal: 422. */
export function query<T>(c: Context, schema: z.ZodType<T>): T {
  return checked(schema, c.req.query());
}

function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (!result.success) throw new Refusal(422, problemOf(result.error));
  return result.data;
}

async function readText(c: Context, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of c.req.raw.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > bytesMax) {
      throw new Refusal(422, `The body is larger than ${bytesMax} bytes. Nothing was started; send less.`);
    }
    chunks.push(chunk);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new Refusal(422, "The body is not UTF-8 text. Nothing was started; send JSON.");
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(422, "The body is not valid JSON. Nothing was started; send a JSON object.");
  }
}
