/** What needs a person, and nothing else: everything on the page is calm until this list has an entry. Pure. */
import type { LiveState } from "../../api/types";
import { count, percent } from "../../format/number";
import { powerSize } from "../../format/power";
import { countdown, deliveryDay } from "../../format/time";
import { strings } from "../../strings";

export const LOW_COVERAGE_FRAC = 0.8;
export const SHORTFALL_FRAC = 0.1;
export const GATE_SOON_MS = 5 * 60_000;
/** A bid that failed is news until its delivery day is under way. */
export const BID_NEWS_MS = 24 * 3_600_000;

/** So many messages of the journal wait that the figures are behind: a tenth of what all sites send at once, at least this. */
export const LAG_MESSAGES = 1_000;
export const LAG_FRAC = 0.1;

type Input = Pick<LiveState, "fleet" | "twins" | "resources" | "bids" | "health" | "next_gate" | "alarms">;

/** Return the entries, most urgent first; `nowMs` is the simulated present. */
export function attention(state: Input, nowMs: number): string[] {
  const words = strings.attention;
  const nameOf = (id: string): string => state.resources.find((one) => one.resource_id === id)?.name ?? id;
  const found: string[] = [];
  for (const one of state.health) if (one.status === "down") found.push(words.roleDown(one.role));
  const { twins } = state;
  if (twins && twins.live_shards < twins.shards) found.push(words.shards(count(twins.shards - twins.live_shards), count(twins.shards)));
  if (twins && twins.lag > Math.max(LAG_MESSAGES, LAG_FRAC * (state.fleet?.sites ?? 0))) found.push(words.lag(count(twins.lag)));
  const critical = state.alarms.active.filter((one) => one.severity === "critical" && one.acknowledged_ms === null);
  if (critical.length > 0) found.push(words.alarms(count(critical.length)));
  const gate = state.next_gate;
  const left = gate ? gate.gate_ms - nowMs : 0;
  if (gate && left > 0 && left < GATE_SOON_MS && gate.resources_ready.length < state.resources.length) {
    found.push(words.gateSoon(countdown(left) ?? strings.figures.gateClosed));
  }
  for (const bid of state.bids) {
    if (bid.gate_ms < nowMs - BID_NEWS_MS) continue;
    const of = [nameOf(bid.resource_id), deliveryDay(bid.delivery_date)] as const;
    if (bid.status === "rejected") found.push(words.bidRejected(...of));
    if (bid.status === "unknown") found.push(words.bidUnknown(...of));
  }
  const covered = state.fleet?.coverage_kw_frac ?? null;
  if (covered !== null && covered < LOW_COVERAGE_FRAC) found.push(words.coverage(percent(covered)));
  for (const one of state.resources) {
    if (one.shortfall_kw > Math.max(1, Math.abs(one.target_kw) * SHORTFALL_FRAC)) {
      found.push(words.shortfall(one.name, powerSize(one.shortfall_kw)));
    }
  }
  return found;
}
