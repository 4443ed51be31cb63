import { describe, expect, it } from "vitest";
import { parseMessage } from "../api/message";
import type { Bid, Group, LiveState, Resource } from "../api/types";
import { awardTotals, limitWords, orderHours, ordersSummary } from "./bids/orders";
import { inTreeOrder } from "./groups/tree";
import { attention } from "./overview/attention";
import { awardedKw, composition, sentence } from "./overview/sentence";

const HOUR = 3_600_000;

function state(part: Partial<LiveState>): LiveState {
  const message = parseMessage(JSON.stringify({ kind: "snapshot", seq: 1, state: { now_ms: 0, zone: "UTC", ...part } }));
  if (message.kind !== "snapshot") throw new Error("not a snapshot");
  return message.state;
}

function resource(part: Partial<Resource>): Resource {
  return {
    resource_id: "r", name: "Big battery", market_id: "ercot-dam", settlement_point: "HB_NORTH", sites: 1, fresh_sites: 1, measured_kw: 0, target_kw: 0,
    shortfall_kw: 0, energy_kwh: 0, energy_capacity_kwh: 0, soc_frac: null, coverage_kw_frac: 1, hour_start_ms: 0, hour_end_ms: HOUR, award_mwh: 0,
    delivered_mwh: 0, revenue: null, award_total_mwh: 0, delivered_total_mwh: 0, delivered_share: null, ...part,
  };
}

const battery = resource({ measured_kw: -6500, award_mwh: -6.5 });
const homes = resource({ resource_id: "h", name: "Homes", sites: 1000, measured_kw: -1900, award_mwh: -2 });

describe("sentence", () => {
  it("says what is sold, to whom and by which resources", () => {
    expect(sentence(state({ resources: [battery, homes] }))).toBe("Selling 8.40 MW to ERCOT day-ahead: 6.50 MW big battery, 1.90 MW homes");
  });

  it("adds the price when one price holds for all", () => {
    const prices = [{ settlement_point: "HB_NORTH", start_ms: [0], actual: [45.1], q05: [], q50: [], q95: [] }];
    expect(sentence(state({ resources: [battery], prices }))).toBe("Selling 6.50 MW to ERCOT day-ahead at $45.10/MWh");
  });

  it("names resources that go opposite ways one by one", () => {
    const buying = { ...homes, measured_kw: 1900, award_mwh: 2 };
    expect(sentence(state({ resources: [battery, buying] }))).toContain("big battery selling 6.50 MW, homes buying 1.90 MW");
  });

  it("stands by when nothing is awarded, and when there is no resource", () => {
    expect(sentence(state({ resources: [resource({})] }))).toContain("nothing was awarded on ERCOT day-ahead");
    expect(sentence(state({}))).toContain("no resource is in a market");
  });

  it("counts the homes", () => {
    expect(composition([battery, homes])).toBe("1,000 homes and one big battery, run as one power plant");
    expect(composition([])).toBeNull();
  });

  it("turns an award into mean power over its own length", () => {
    expect(awardedKw(resource({ award_mwh: -1, hour_end_ms: HOUR / 4 }))).toBe(-4000);
  });
});

describe("attention", () => {
  it("is empty while all is well", () => {
    expect(attention(state({ resources: [battery, homes] }), 0)).toEqual([]);
  });

  it("calls for a person when a role is down, a bid was refused, or a gate nears without bids", () => {
    const bid: Bid = { resource_id: "h", delivery_date: "2021-02-10", status: "rejected", rung: "fresh", rung_reason: "", gate_ms: 0, submitted_ms: null, orders: [], award: null };
    const found = attention(
      state({
        resources: [battery, homes],
        bids: [bid],
        health: [{ role: "dispatch", status: "down", restarts: 1, since_ms: null }],
        next_gate: { market_id: "ercot-dam", delivery_date: "2021-02-11", gate_ms: 60_000, resources_ready: ["r"] },
      }),
      0,
    );
    expect(found).toEqual([
      "dispatch is down",
      "The gate closes in 1 min 00 s and not every bid stands",
      "The bid of Homes for Wed 10 Feb was rejected",
    ]);
  });

  it("lets a refused bid rest once its day is long under way", () => {
    const bid: Bid = { resource_id: "h", delivery_date: "2021-02-10", status: "rejected", rung: "fresh", rung_reason: "", gate_ms: 0, submitted_ms: null, orders: [], award: null };
    expect(attention(state({ bids: [bid] }), 25 * HOUR)).toEqual([]);
  });

  it("calls for a person when delivery falls short", () => {
    expect(attention(state({ resources: [{ ...homes, target_kw: -2000, shortfall_kw: 900 }] }), 0)).toEqual(["Homes is 900 kW short of its target"]);
  });
});

describe("orders", () => {
  const order = (start: number, side: "buy" | "sell", mw: number, limit: number) => ({
    start_ms: start, end_ms: start + HOUR, side, quantity_mw: mw, limit_price_per_mwh: limit,
  });
  const orders = [order(HOUR, "sell", 6, 30), order(HOUR, "sell", 4, 20), order(0, "buy", 5, 10)];

  it("gathers the steps of a curve by hour, cheapest first", () => {
    const hours = orderHours({ orders, award: [{ start_ms: HOUR, end_ms: 2 * HOUR, energy_mwh: -10, price_per_mwh: 40 }] });
    expect(hours.map((hour) => [hour.startMs, hour.sellMw, hour.buyMw])).toEqual([[0, 0, 5], [HOUR, 10, 0]]);
    expect(hours[1]?.award?.energy_mwh).toBe(-10);
    expect(limitWords(hours[1]?.orders ?? [], "USD")).toBe("$20.00/MWh to $30.00/MWh");
    expect(limitWords([], "USD")).toBeNull();
  });

  it("sums up both sides", () => {
    expect(ordersSummary(orders)).toBe("sell 10.0 MWh, buy 5.00 MWh");
    expect(ordersSummary([])).toBe("no orders");
    expect(awardTotals([{ start_ms: 0, end_ms: 1, energy_mwh: -3, price_per_mwh: 0 }, { start_ms: 1, end_ms: 2, energy_mwh: 2, price_per_mwh: 0 }])).toEqual({
      soldMwh: 3,
      boughtMwh: 2,
    });
  });
});

describe("inTreeOrder", () => {
  const group = (id: string, parent: string | null, hierarchy = "a"): Group => ({
    group_id: id, hierarchy_id: hierarchy, parent_id: parent, name: id, level: 0, sites: 0, fresh: 0, coverage_kw_frac: 0, battery_kw: 0, low_kw: 0, high_kw: 0,
    grid_kw: 0, soc_frac: null, oldest_age_s: null,
  });

  it("puts children below their parents, hierarchy by hierarchy, and loses nobody", () => {
    const placed = inTreeOrder([group("leaf", "mid"), group("top", null), group("mid", "top"), group("top", null, "b"), group("lost", "gone")]);
    expect(placed.map(({ group: one, depth }) => `${one.hierarchy_id}/${one.group_id}/${depth}`)).toEqual(["a/top/0", "a/mid/1", "a/leaf/2", "b/top/0", "a/lost/0"]);
  });
});
