import { describe, expect, it } from "vitest";
import type { AlertNow, Bid, Group, LiveState, Resource } from "../../api/types";
import { CALM } from "../../testing/states";
import { placesOf } from "../../ui/IntervalBar";
import { AT_THE_TOP, canShowMore, newest, queryOf } from "./groupRows";
import { attention } from "./attention";
import { composition } from "./composition";
import { purposeNote, purposeSentence, type Purpose, type PurposePart } from "./purpose";
import { inside, title } from "./weather";

const HOUR = 3_600_000;

function state(part: Partial<LiveState>): LiveState {
  return { ...CALM, ...part };
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

const PART: PurposePart = {
  kind: "award", name: "r", program_id: "market", program: "Market", market_id: "ercot-dam", doing: "power", sites: 1, silent_sites: 0, commanded_kw: -6_500,
  power_kw: -6_500, low_kw: -6_500, high_kw: -6_500, until_ms: HOUR,
};
const STORM: PurposePart = { ...PART, kind: "event", name: "e1", program_id: "storm", program: "Storm watch", market_id: null, doing: "charge", sites: 312, silent_sites: 4, commanded_kw: null, power_kw: 900, low_kw: 880, high_kw: 920 };
const purpose = (part: Partial<Purpose>): Purpose => ({ as_of_ms: 0, stale: false, sites: 313, of_sites: 1_001, part_count: part.parts?.length ?? 0, parts: [], ...part });

describe("sentence", () => {
  it("says what is done, by whom, for whom, until when, and how sure that is", () => {
    expect(purposeSentence(purpose({ parts: [PART, STORM] }), [battery, homes], "UTC")).toBe(
      "Big battery discharging 6.50 MW for ERCOT day-ahead until 1 Jan 01:00; 312 sites filling up, now charging 900 kW (between 880 kW and 920 kW) for Storm watch until 1 Jan 01:00",
    );
    expect(purposeNote(purpose({ parts: [PART, STORM] }), 5_000)).toBe(
      "313 of 1,001 sites serve something now; the others do what their owners set. 4 of them were not heard: anywhere within their ratings. The controller said so 5.0 s ago.",
    );
  });

  it("counts what does not fit in one breath, and says when it is old", () => {
    expect(purposeSentence(purpose({ parts: [PART, PART, PART, PART], part_count: 60 }), [], "UTC")).toContain("; and 57 more");
    expect(purposeNote(purpose({ stale: true }), 120_000)).toContain("Old: the controller was last heard");
  });

  it("says that the plant is at rest, and nothing before the controller spoke", () => {
    expect(purposeSentence(purpose({}), [], "UTC")).toContain("At rest");
    expect(purposeSentence(null, [], "UTC")).toBeNull();
    expect(purposeSentence(purpose({ as_of_ms: null }), [], "UTC")).toBeNull();
  });

  it("counts the homes", () => {
    expect(composition([battery, homes])).toBe("1,000 homes and one big battery, run as one power plant");
    expect(composition([{ ...battery, name: "Battery 1" }, homes])).toBe("1,000 homes and Battery 1, run as one power plant");
    expect(composition([])).toBeNull();
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

  it("calls for a person when a shard of twins has no owner, or the journal piles up", () => {
    const twins = { applied: 0, lag: 0, shards: 4, live_shards: 4 };
    expect(attention(state({ twins }), 0)).toEqual([]);
    expect(attention(state({ twins: { ...twins, live_shards: 3 } }), 0)).toEqual([
      "1 of 4 shards of twins without a live owner: their sites count as unknown",
    ]);
    expect(attention(state({ twins: { ...twins, lag: 900 } }), 0)).toEqual([]);
    expect(attention(state({ twins: { ...twins, lag: 1_500 } }), 0)).toEqual(["1,500 messages wait in the journal, so the figures are behind"]);
  });

  it("calls for a person when delivery falls short", () => {
    expect(attention(state({ resources: [{ ...homes, target_kw: -2000, shortfall_kw: 900 }] }), 0)).toEqual(["Homes is 900 kW short of its target"]);
  });
});

const group = (id: string, part: Partial<Group> = {}): Group => ({
  group_id: id, hierarchy_id: "grid", parent_id: null, name: id, level: 0, children: 0, sites: 0, fresh: 0, stale: 0, unknown: 0, suspect: 0, capacity_kw: 0,
  coverage_count_frac: null, coverage_kw_frac: null, oldest_age_s: null, battery_kw: 0, expected_kw: 0, low_kw: 0, high_kw: 0, grid_kw: 0, grid_expected_kw: 0,
  grid_low_kw: 0, grid_high_kw: 0, soc_frac: null, firm_charge_kw: 0, firm_discharge_kw: 0, commanded_kw: null, commanded_sites: 0, deviation_frac: null, ...part,
});

describe("groups", () => {
  const texas = group("texas");

  it("asks for nothing at the top, whose groups come by themselves", () => {
    expect(queryOf(AT_THE_TOP)).toBeNull();
    expect(queryOf({ ...AT_THE_TOP, order: "coverage" })).toEqual({ order: "coverage", limit: 50 });
  });

  it("asks for what is below the open group, or for a name in its tree", () => {
    const opened = { ...AT_THE_TOP, path: [texas] };
    expect(queryOf(opened)).toEqual({ parent: "texas", order: "registry", limit: 50 });
    expect(queryOf({ ...opened, text: " fee " })).toEqual({ text: "fee", hierarchy: "grid", order: "registry", limit: 50 });
    expect(queryOf({ ...AT_THE_TOP, text: "fee" })).toEqual({ text: "fee", order: "registry", limit: 50 });
  });

  it("shows the newest figures that came over the socket", () => {
    const fresh = group("texas", { sites: 9 });
    expect(newest([texas, group("other")], new Map([["texas", fresh]]))[0]?.sites).toBe(9);
  });

  it("shows more until the page has as many as it may watch", () => {
    expect(canShowMore(AT_THE_TOP, 51)).toBe(true);
    expect(canShowMore(AT_THE_TOP, 50)).toBe(false);
    expect(canShowMore({ ...AT_THE_TOP, limit: 200 }, 11_000)).toBe(false);
  });
});

describe("IntervalBar", () => {
  it("draws the range on a line that holds nothing too, giving to the right", () => {
    expect(placesOf(-100, -50, 0)).toEqual({ zero: 0, from: 0, to: 100, at: 50 });
    const far = placesOf(-100, -99, -98);
    expect([far.zero, Math.round(far.from), Math.round(far.to)]).toEqual([0, 98, 100]);
    const both = placesOf(-10, 0, 30);
    expect([both.zero, both.from, both.to]).toEqual([75, 0, 100]);
    expect(placesOf(0, 0, 0).at).toBe(0);
  });
});

describe("weather", () => {
  const alert: AlertNow = {
    key: "k", event: "Ice Storm Warning", severity: "severe", from_ms: HOUR, until_ms: 2 * HOUR, sites: 312, charge_kw: 1560, discharge_kw: 2100, capacity_kwh: 4200,
  };

  it("says what, when and how much is inside", () => {
    expect(title(alert, 0, "UTC")).toBe("Ice Storm Warning, from 1 Jan 01:00 until 1 Jan 02:00");
    expect(title(alert, HOUR, "UTC")).toBe("Ice Storm Warning, until 1 Jan 02:00");
    expect(title({ ...alert, event: "", from_ms: null }, 0, "UTC")).toBe("Weather alert, until 1 Jan 02:00");
    expect(inside(alert)).toBe("312 sites inside, with 2.10 MW and 4.20 MWh of batteries");
    expect(inside({ ...alert, sites: 1 })).toContain("one site inside");
  });
});
