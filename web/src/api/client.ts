/**
 * Asking the plant over HTTP, typed by its contract: `api.get("/api/groups/{group_id}", { path: { group_id } })`.
 *
 * `schema.d.ts` is generated from the contract (`python hatch_build.py client`); nothing here names a route.
 */
import type { components, paths } from "./schema";

export type Schema = components["schemas"];
export type Method = "get" | "post" | "put" | "delete";

type OperationAt<P, M extends Method> = P extends keyof paths ? (paths[P] extends Record<M, infer O> ? O : never) : never;
/** The paths that can be asked by a method. */
export type PathOf<M extends Method> = { [P in keyof paths]: paths[P] extends Record<M, { responses: unknown }> ? P : never }[keyof paths];
/** What a request answers; null when there is nothing in the answer. */
export type AnswerOf<M extends Method, P extends PathOf<M>> =
  OperationAt<P, M> extends { responses: { 200: { content: { "application/json": infer A } } } } ? A : null;

type PathArgs<O> = O extends { parameters: { path: infer A } } ? { readonly path: A } : { readonly path?: undefined };
type QueryArgs<O> = O extends { parameters: { query?: infer Q } } ? ([Q] extends [undefined] ? { readonly query?: undefined } : { readonly query?: Q | undefined }) : { readonly query?: undefined };
type BodyArgs<O> = O extends { requestBody: { content: { "application/json": infer B } } } ? { readonly body: B } : { readonly body?: unknown };
/** What a request takes. */
export type ArgsOf<M extends Method, P extends PathOf<M>> = PathArgs<OperationAt<P, M>> & QueryArgs<OperationAt<P, M>> & BodyArgs<OperationAt<P, M>> & { readonly signal?: AbortSignal };

interface LooseArgs {
  readonly path?: unknown;
  readonly query?: unknown;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

/** The plant refused, or could not answer; the message is written for people. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";

  constructor(
    detail: string,
    readonly status: number,
    readonly field: string | null = null,
    readonly fix: string | null = null,
  ) {
    super(detail);
  }
}

/** The plant could not be reached at all. */
export class UnreachedError extends Error {
  override readonly name = "UnreachedError";
}

let signInAgain: (() => Promise<boolean>) | null = null;

/** Say what to do when the session is over: returns whether to ask once more. */
export function onSessionOver(handler: (() => Promise<boolean>) | null): void {
  signInAgain = handler;
}

/** Where a route is, with its parameters filled in. */
export function addressOf(path: string, args: LooseArgs = {}): URL {
  const given = (args.path ?? {}) as Record<string, unknown>;
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(given[name] ?? "")));
  const url = new URL(filled.replace(/^\//, ""), document.baseURI);
  for (const [name, value] of Object.entries((args.query ?? {}) as Record<string, unknown>)) {
    if (value === undefined || value === null || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) url.searchParams.append(name, String(one));
  }
  url.hash = "";
  return url;
}

function textOf(body: unknown, key: string): string | null {
  if (typeof body !== "object" || body === null) return null;
  const value = (body as Record<string, unknown>)[key];
  return typeof value === "string" ? value : null;
}

/** The text of a problem (RFC 9457), null when it is none. */
export function problemText(body: unknown): string | null {
  return textOf(body, "detail");
}

async function send(method: Method, path: string, args: LooseArgs): Promise<Response> {
  const options: RequestInit = { method: method.toUpperCase(), credentials: "same-origin" };
  if (args.signal) options.signal = args.signal;
  if (args.body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(args.body);
  }
  try {
    return await fetch(addressOf(path, args), options);
  } catch (cause) {
    if (args.signal?.aborted) throw cause;
    throw new UnreachedError("the plant does not answer", { cause });
  }
}

async function ask(method: Method, path: string, args: LooseArgs): Promise<unknown> {
  let response = await send(method, path, args);
  // A session that is over is begun again over the screen, and what was asked is asked once more.
  if (response.status === 401 && path !== "/api/session" && signInAgain && (await signInAgain())) response = await send(method, path, args);
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body;
  throw new RefusedError(problemText(body) ?? `${response.status} ${response.statusText}`, response.status, textOf(body, "field"), textOf(body, "fix"));
}

/** Ask by any method. Throws `RefusedError` with the reason in words, or `UnreachedError`. */
export const request = ask as unknown as <M extends Method, P extends PathOf<M>>(method: M, path: P, args: ArgsOf<M, P>) => Promise<AnswerOf<M, P>>;

/** One method, typed by the contract. */
type Asking<M extends Method> = <P extends PathOf<M>>(path: P, args: ArgsOf<M, P>) => Promise<AnswerOf<M, P>>;

// Told apart by hand: the compiler gives up on comparing what all routes take with what one takes.
const by = (method: Method): unknown => (path: string, args: LooseArgs) => ask(method, path, args);

export const api = {
  get: by("get") as Asking<"get">,
  post: by("post") as Asking<"post">,
  put: by("put") as Asking<"put">,
  delete: by("delete") as Asking<"delete">,
};
