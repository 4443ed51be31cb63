/** What the page asks of the plant over HTTP: who reads it, taking note of an alarm, the groups below others. */
import type { GroupPage, Session } from "./types";

export class RefusedError extends Error {
  override readonly name = "RefusedError";
}

async function send(path: string, options: RequestInit): Promise<unknown> {
  const response = await fetch(new URL(path, document.baseURI), { credentials: "same-origin", ...options });
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body;
  throw new RefusedError(problemText(body) ?? `${response.status} ${response.statusText}`);
}

/** The text of a problem (RFC 9457), null when it is none. */
export function problemText(body: unknown): string | null {
  if (typeof body !== "object" || body === null || !("detail" in body)) return null;
  return typeof body.detail === "string" ? body.detail : null;
}

/** Ask who reads the page. A server that does not know the question lets nobody act. */
export async function readSession(): Promise<Session> {
  const body = await send("api/session", {}).catch(() => null);
  const operator = typeof body === "object" && body !== null && "operator" in body ? body.operator : null;
  return { operator: typeof operator === "string" ? operator : null };
}

/** Take note of an alarm. Throws `RefusedError` with the reason in words. */
export async function acknowledge(number: number): Promise<void> {
  await send(`api/alarms/${number}/ack`, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
}

export type GroupOrder = "registry" | "name" | "coverage" | "suspect" | "power" | "doubt";

export interface GroupQuery {
  readonly hierarchy?: string;
  readonly parent?: string;
  readonly text?: string;
  readonly order: GroupOrder;
  readonly limit: number;
}

/** Ask for groups with their newest figures. Throws `RefusedError` with the reason in words. */
export async function readGroups(query: GroupQuery, signal: AbortSignal): Promise<GroupPage> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const words = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return (await send(`api/groups?${words.toString()}`, { signal })) as GroupPage;
}
