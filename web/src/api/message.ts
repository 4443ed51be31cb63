/**
 * The border: text from the socket becomes a typed message, or a `MalformedMessageError`.
 *
 * Only the frame is checked here. What is inside is the server's contract; a panel that meets a breach of it fails
 * alone, behind its own error boundary. A key that an older server does not send yet reads as empty.
 */
import type { DeltaMessage, FleetSeries, Group, LiveMessage, LiveState } from "./types";

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

const EMPTY_STATE: Omit<LiveState, "now_ms" | "zone"> = {
  speed: null,
  run: null,
  fleet: null,
  fleet_series: EMPTY_SERIES,
  twins: null,
  resources: [],
  groups: [],
  prices: [],
  next_gate: null,
  bids: [],
  delivery: [],
  money: { currency: "USD", revenue: null, perfect_foresight: null, by_day: [] },
  runs: [],
  quarantine: { total: 0, by_reason: {}, recent: [] },
  alarms: { active_count: 0, active: [] },
  alerts: [],
  health: [],
};

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isStateCore(value: Record<string, unknown>): value is Record<string, unknown> & LiveState {
  return typeof value["now_ms"] === "number" && typeof value["zone"] === "string";
}

/** Read one message. Throws `MalformedMessageError` when it is not a snapshot, a delta or figures of groups. */
export function parseMessage(text: string): LiveMessage {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MalformedMessageError("not JSON", { cause });
  }
  if (isRecord(value) && value["kind"] === "groups") {
    if (typeof value["as_of_ms"] !== "number" || !Array.isArray(value["groups"])) throw new MalformedMessageError("groups without figures");
    return { kind: "groups", as_of_ms: value["as_of_ms"], groups: value["groups"] as Group[] };
  }
  if (!isRecord(value) || typeof value["seq"] !== "number") {
    throw new MalformedMessageError("no sequence number");
  }
  const { kind, seq } = value;
  if (kind === "snapshot") {
    const state = value["state"];
    if (!isRecord(state) || !isStateCore(state)) throw new MalformedMessageError("a snapshot without time and zone");
    return { kind, seq, state: { ...EMPTY_STATE, ...state } };
  }
  if (kind === "delta") {
    const set = isRecord(value["set"]) ? (value["set"] as DeltaMessage["set"]) : {};
    const append = isRecord(value["append"]) ? (value["append"] as DeltaMessage["append"]) : {};
    return { kind, seq, set, append };
  }
  throw new MalformedMessageError(`unknown kind ${String(kind)}`);
}
