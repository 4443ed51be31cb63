/** A market to test with. */
import type { Schema } from "../../api/client";
import type { Rules } from "./manual";
import type { Detail, Diff, Manual, OfferOf, Plan, Prices, Product, Resource, Row } from "./words";

export const HOUR_MS = 3_600_000;
export const START_MS = Date.parse("2021-02-10T12:00:00Z");

export const RESOURCE: Resource = {
  resource_id: "bess", market_id: "ercot-da", market_name: "ERCOT day-ahead market", settlement_point: "HB_NORTH", zone: "America/Chicago", currency: "USD",
  mode: { resource_id: "bess", mode: "automatic", four_eyes: false, by: "", at_ms: null, reason: "" },
};

export const PRODUCT: Product = {
  resource_id: "bess", market_id: "ercot-da", product_id: "day-ahead", name: "Day-ahead energy", kind: "energy", gate_kind: "auction", delivery_date: "2021-02-11",
  covers_start_ms: START_MS, covers_end_ms: START_MS + 24 * HOUR_MS, gate_ms: START_MS + HOUR_MS, publishes_ms: START_MS + 4 * HOUR_MS, state: "open", bid_key: "bid-2",
  revision: 2, status: "accepted", author: "tess", rung: "", rung_reason: "", mode: "automatic", approval: "approved",
};

export const PRICES: Prices = {
  as_of_ms: START_MS, market_id: "ercot-da", settlement_point: "HB_NORTH", product_id: "day-ahead", zone: "America/Chicago", currency: "USD",
  from_ms: START_MS - 2 * HOUR_MS, to_ms: START_MS + HOUR_MS, start_ms: [START_MS - 2 * HOUR_MS, START_MS - HOUR_MS, START_MS], end_ms: [START_MS - HOUR_MS, START_MS, START_MS + HOUR_MS],
  actual: [40, 90, null], actual_known_ms: [START_MS - 9 * HOUR_MS, START_MS - 9 * HOUR_MS, null], issued_ms: [START_MS - 20 * HOUR_MS, START_MS - 20 * HOUR_MS, START_MS - 2 * HOUR_MS],
  mean: [45, 45, 45], q05: [30, 30, 30], q25: [40, 40, 40], q50: [45, 45, 45], q75: [50, 50, 50], q95: [60, 60, 60],
};

export const OFFER: OfferOf = {
  product: "day-ahead", name: "Day-ahead energy", kind: "energy", shape: "orders", side: "", band_prices_per_mwh: [], blocks: [],
  intervals: [
    {
      start_ms: START_MS, end_ms: START_MS + HOUR_MS, points: [], power_mw: null, max_avail_mw: null, trapezium: null,
      steps: [
        { side: "buy", quantity_mw: 4, price_per_mwh: 20, why: "" },
        { side: "sell", quantity_mw: 5, price_per_mwh: 63.2, why: "What a MWh in store is worth, with losses" },
      ],
      why: { start_ms: START_MS, end_ms: START_MS + HOUR_MS, action: "rest", expected_price_per_mwh: 45, marginal_value_per_mwh: 51.1, charge_below_per_mwh: 20, discharge_above_per_mwh: 63.2, flips_at_per_mwh: 63.2, would: "discharge", binding: ["full store"] },
    },
    {
      start_ms: START_MS + HOUR_MS, end_ms: START_MS + 2 * HOUR_MS, points: [], power_mw: null, max_avail_mw: null, trapezium: null, why: null,
      steps: [{ side: "sell", quantity_mw: 5, price_per_mwh: 63.2, why: "" }],
    },
  ],
};

export const MACHINE: Row = {
  key: "bid-1", resource_id: "bess", market_id: "ercot-da", delivery_date: "2021-02-11", revision: 1, state: "superseded", author: "", created_ms: START_MS - 2 * HOUR_MS,
  submitted_ms: START_MS - 2 * HOUR_MS, gate_ms: START_MS + HOUR_MS, open: true, stands: true, content_digest: "abcdef0123", decision_id: "decision-1", rung: "stochastic", rung_reason: "",
  products: ["day-ahead"], intervals: 24, approval: "not needed", approval_words: "",
};

export const BID: Row = { ...MACHINE, key: "bid-2", revision: 2, state: "accepted", author: "tess", created_ms: START_MS, submitted_ms: START_MS, decision_id: null, rung: "", intervals: 2, content_digest: "0123456789" };

export const DETAIL: Detail = {
  as_of_ms: START_MS, bid: BID, settlement_point: "HB_NORTH", zone: "America/Chicago", currency: "USD", offers: [OFFER], rebid_category: "financial", rebid_reason: "outage",
  decision: {
    decision_id: "decision-1", trigger: "gate", as_of_ms: START_MS, strategy: "day-ahead", strategy_version: "3", rung: "stochastic", tried: [{ rung: "stochastic", took_s: 0.31, outcome: "ok" }],
    reasons: ["The store is full at 18:00."], relaxed: [], expected_amount: "123.45000000", stored_kwh: 5000, capacity_kwh: 10000, silent_frac: 0.02,
    inputs: [{ series_id: "price/HB_NORTH", from_ms: START_MS - 24 * HOUR_MS, to_ms: START_MS, intervals: 24, newest_known_ms: START_MS - 600_000, newest_age_s: 600, newest_interval_end_ms: START_MS }],
  },
  manual_id: "manual-1", audit: [{ at_ms: START_MS, by: "tess", what: "draft", said: "", kind: "step" }],
  receipt: { state: "accepted", bid_id: "m-2", received_ms: START_MS, reason: "", field: "", value: "", fix: "" },
  award: { version: 1, published_ms: START_MS, quantities: [{ product: "day-ahead", start_ms: START_MS, end_ms: START_MS + HOUR_MS, power_mw: -5, price_per_mwh: 70 }] },
};

export const DIFF: Diff = {
  key: "bid-2", revision: 2, against: "bid-1", against_revision: 1, same_intervals: 22,
  changes: [
    {
      product: "day-ahead", name: "Day-ahead energy", start_ms: START_MS, end_ms: START_MS + HOUR_MS, kind: "changed", before: [{ side: "sell", quantity_mw: 5, price_per_mwh: 63.2, why: "" }],
      after: [{ side: "sell", quantity_mw: 5, price_per_mwh: 70, why: "" }], before_points: [], after_points: [], before_power_mw: null, after_power_mw: null,
    },
  ],
};

const STARTS = [START_MS, START_MS + HOUR_MS, START_MS + 2 * HOUR_MS];

export const RULES: Rules = {
  as_of_ms: START_MS, resource_id: "bess", market_id: "ercot-da", market_name: "ERCOT day-ahead market", settlement_point: "HB_NORTH", zone: "America/Chicago", currency: "USD",
  delivery_date: "2021-02-11", reason_categories: ["physical", "financial"], reason_required: false, charge_limit_mw: 5, discharge_limit_mw: 5, capacity_kwh: 10_000,
  products: [
    {
      product_id: "day-ahead", name: "Day-ahead energy", kind: "energy", direction: "both", shapes: ["orders"], floor_per_mwh: -250, cap_per_mwh: 9000, price_tick_per_mwh: 0.01,
      quantity_minimum_mw: 0.1, quantity_step_mw: 0.1, points: 10, start_ms: STARTS, end_ms: STARTS.map((one) => one + HOUR_MS), closes_ms: STARTS.map(() => START_MS + HOUR_MS), open: [false, true, true],
    },
  ],
  standing: [OFFER], standing_revision: 1,
};

export const PLAN: Plan = {
  as_of_ms: START_MS, resource_id: "bess", market_id: "ercot-da", settlement_point: "HB_NORTH", zone: "America/Chicago", currency: "USD", delivery_date: "2021-02-11", decision_id: "decision-1",
  decided_ms: START_MS - HOUR_MS, gate_ms: START_MS + HOUR_MS, strategy: "day-ahead", rung: "stochastic", capacity_kwh: 10_000, expected_amount: "123.45000000",
  start_ms: [START_MS, START_MS + HOUR_MS], end_ms: [START_MS + HOUR_MS, START_MS + 2 * HOUR_MS], action: ["rest", "discharge"], soc_kwh: [5000, 5000, 1000], soc_frac: [0.5, 0.5, 0.1], charge_kw: [0, 0], discharge_kw: [0, 4000],
  price_per_mwh: [45, 80], water_value_per_mwh: [51.1, 51.1, 40], charge_below_per_mwh: [20, null], discharge_above_per_mwh: [63.2, 50], by_hand: [false, false], binding: [["full store"], []],
  flips_at: [{ start_ms: START_MS, end_ms: START_MS + HOUR_MS, action: "rest", expected_price_per_mwh: 45, price_per_mwh: 63.2, would: "discharge", words: "would flip at 63.20" }],
  basis: "optimum", why_none: "",
};

/** A bid by hand as the plant answers it. */
export function draftOf(state: Schema["ManualAnswer"]["state"]): Manual {
  return {
    as_of_ms: START_MS, manual_id: state === "invalid" ? null : "manual-1", state, resource_id: "bess", market_id: "ercot-da", delivery_date: "2021-02-11", gate_ms: START_MS + HOUR_MS, open: true,
    by: "ada", at_ms: START_MS, reason: "outage of the line", problems: [], offers: [OFFER], power: [], changes: [...DIFF.changes], bid: null,
  };
}
