/** States to test with: a plant that is calm, and nothing else. */
import { EMPTY_SERIES } from "../api/message";
import type { Alarm, LiveState, Right, Session } from "../api/types";

export const CALM: LiveState = {
  now_ms: 0,
  zone: "UTC",
  speed: 1,
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

/** An alarm that stands. */
export function alarm(part: Partial<Alarm> = {}): Alarm {
  return {
    number: 1, kind: "communication_loss", severity: "major", scope: "group", subject: "s4", name: "Substation 4", hierarchy_id: "grid", sites: 9800,
    of_sites: 10_000, peak_sites: 10_000, examples: ["home-1"], value: null, detail: "", count: 1, raised_ms: 0, updated_ms: 0, acknowledged_ms: null,
    acknowledged_by: "", note: "", returned_ms: null, cleared_ms: null, merged_into_number: null, split_from_number: null, ...part,
  };
}

/** Somebody who has signed in and may this. */
export function sessionOf(rights: readonly Right[], part: Partial<Session> = {}): Session {
  const operator = rights.includes("operate") ? "ada" : null;
  return { operator, name: "ada", mode: "user", sign_in: true, roles: [], rights: [...rights], sites: null, until_ms: null, now_ms: 0, ...part };
}
