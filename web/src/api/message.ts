/**
 * The border: text from the socket becomes a typed message, or a `MalformedMessageError`.
 *
 * Only the frame is checked here. What is inside is the server's contract; a panel that meets a breach of it fails
 * alone, behind its own error boundary. A part that was not sent is not there: a panel that needs it is loading.
 */
import type { DeltaMessage, FeedMessage, FleetSeries, Group, LiveMessage, LiveState } from "./types";

export class MalformedMessageError extends Error {
  override readonly name = "MalformedMessageError";
}

export const EMPTY_SERIES: FleetSeries = {
  t_ms: [],
  battery_kw: [],
  expected_kw: [],
  low_kw: [],
  high_kw: [],
  solar_kw: [],
  load_kw: [],
  soc_frac: [],
  coverage_kw_frac: [],
};

type Frame = Record<string, unknown>;

function isRecord(value: unknown): value is Frame {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function recordAt(frame: Frame, key: string): Frame {
  const value = frame[key];
  return isRecord(value) ? value : {};
}

function numberAt(frame: Frame, key: string, otherwise: number): number {
  const value = frame[key];
  return typeof value === "number" ? value : otherwise;
}

function readDelta(frame: Frame, seq: number): DeltaMessage {
  return {
    kind: "delta",
    from: numberAt(frame, "from", seq - 1),
    seq,
    set: recordAt(frame, "set") as DeltaMessage["set"],
    append: recordAt(frame, "append") as DeltaMessage["append"],
    feeds: recordAt(frame, "feeds") as Record<string, FeedMessage>,
  };
}

/** Read one message. Throws `MalformedMessageError` when it is not a snapshot, a delta or figures of groups. */
export function parseMessage(text: string): LiveMessage {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MalformedMessageError("not JSON", { cause });
  }
  if (!isRecord(value)) throw new MalformedMessageError("not an object");
  if (value["kind"] === "groups") {
    if (typeof value["as_of_ms"] !== "number" || !Array.isArray(value["groups"])) throw new MalformedMessageError("groups without figures");
    return { kind: "groups", as_of_ms: value["as_of_ms"], groups: value["groups"] as Group[] };
  }
  if (value["kind"] === "slow") return { kind: "slow", slow: value["slow"] === true };
  const { kind, seq } = value;
  if (typeof seq !== "number") throw new MalformedMessageError("no sequence number");
  if (kind === "delta") return readDelta(value, seq);
  if (kind !== "snapshot") throw new MalformedMessageError(`unknown kind ${String(kind)}`);
  const state = value["state"];
  if (!isRecord(state) || typeof state["now_ms"] !== "number" || typeof state["zone"] !== "string") {
    throw new MalformedMessageError("a snapshot without time and zone");
  }
  const epoch = typeof value["epoch"] === "string" ? value["epoch"] : null;
  return { kind, seq, epoch, state: state as Partial<LiveState>, feeds: recordAt(value, "feeds") as Record<string, FeedMessage> };
}
