// @vitest-environment jsdom
import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Group } from "../../api/types";
import { draw, faultsOf, liveNow } from "../../testing/render";
import { CALM } from "../../testing/states";
import { deviationWords, orderOf } from "./Children";
import { drawn, hoursOf, withPoint, type GroupHistory, type GroupPoint } from "./history";
import { NodeView } from "./Screen";

function group(part: Partial<Group> = {}): Group {
  return {
    group_id: "s1", hierarchy_id: "grid", parent_id: null, name: "Substation 1", level: 0, children: 2, sites: 12, fresh: 9, stale: 2, unknown: 1, suspect: 0,
    capacity_kw: 60, coverage_count_frac: 0.75, coverage_kw_frac: 0.7, oldest_age_s: 90, battery_kw: -20, expected_kw: -24, low_kw: -30, high_kw: -18, grid_kw: -10,
    grid_expected_kw: -12, grid_low_kw: -20, grid_high_kw: -4, soc_frac: 0.6, firm_charge_kw: 4, firm_discharge_kw: 8, commanded_kw: null, commanded_sites: 0, deviation_frac: null, ...part,
  };
}

const FEEDER = group({ group_id: "f7", name: "Feeder 7", parent_id: "s1", level: 1, children: 0, coverage_kw_frac: 0.4 });

function answers(said: Record<string, unknown>): string[] {
  const asked: string[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation((input) => {
    const url = input as URL;
    const path = `${url.pathname}${url.search}`;
    asked.push(path);
    const found = said[url.pathname];
    return Promise.resolve(found === undefined ? Response.json({ detail: "there is no group 'x'" }, { status: 404 }) : Response.json(found));
  });
  return asked;
}

const LIMIT = {
  group_id: "s1", name: "Substation 1", kind: "export", limit_kw: 25, source: "connection", now: true, set_by: "grid-operator", reason: "agreement 14", from_ms: 0, until_ms: null, used_frac: 0.96,
};

const WHOLE = {
  "/api/groups/f7": { as_of_ms: 0, group: FEEDER, path: [group()] },
  "/api/groups": { as_of_ms: 0, total: 1, offset: 0, limit: 190, groups: [group({ group_id: "t1", name: "Transformer 1", parent_id: "f7", level: 2 })] },
  "/api/groups/f7/history": {
    group_id: "f7", from_ms: 0, to_ms: 700_001, step_s: 300, gap_after_s: 180, seam_ms: 600_000, t_ms: [150_000, 450_000, 700_000], battery_kw: [-4, -6, -5], low_kw: [-4, -9, -8],
    high_kw: [-4, -3, -2], grid_kw: [1, 2, 3], soc_frac: [0.5, 0.5, 0.4], coverage_kw_frac: [1, 0.5, 0.5], source: ["5min", "5min", "live"], gap: [false, false, false],
  },
  "/api/groups/f7/limits": {
    group_id: "f7",
    limits: [LIMIT],
    flow: { as_of_ms: 0, flow_kw: -24, low_kw: -30, high_kw: -18, sites: 12, silent_sites: 3, bound: [{ claim: "evening event", direction: "discharge", held_w: 1500, shadow_price_per_w: 1 }] },
  },
};

// jsdom has no canvas: what a chart draws is looked at in the browser.
vi.mock("uplot", () => ({
  default: class {
    width = 0;
    height = 0;
    setData(): void {}
    setSize(): void {}
    redraw(): void {}
    destroy(): void {}
  },
}));

// The parts come one by one, and other suites run beside this one.
const SOON = { timeout: 10_000 };
vi.setConfig({ testTimeout: 30_000 });
afterEach(() => vi.restoreAllMocks());

const PAST = WHOLE["/api/groups/f7/history"] as GroupHistory;
const point = (t_ms: number): GroupPoint => ({ t_ms, battery_kw: -7, low_kw: -8, high_kw: -6, grid_kw: 1, soc_frac: 0.4, coverage_kw_frac: 1 });

describe("history into live", () => {
  it("has no point twice, goes on from the last one, and breaks the line where nothing came", () => {
    const shown = drawn(PAST, [point(650_000), point(700_000), point(701_000), point(900_000)]);
    expect(shown.t).toEqual([150_000, 450_000, 700_000, 701_000, 701_001, 900_000]);
    expect(shown.source).toEqual(["5min", "5min", "live", "live", null, "live"]);
    expect(shown.columns.battery_kw).toEqual([-4, -6, -5, -7, null, -7]);
  });

  it("holds the newest points, and none of a run before", () => {
    const held = withPoint(withPoint([], point(1_000)), point(1_000));
    expect(held.length).toBe(1);
    expect(withPoint(withPoint(held, point(2_000)), point(500)).map((one) => one.t_ms)).toEqual([500]);
    expect(hoursOf("9")).toBe("6");
  });

  it("says how far a group is from its command", () => {
    expect(deviationWords({ commanded_kw: null, deviation_frac: null })).toBe("not commanded");
    expect(deviationWords({ commanded_kw: -4, deviation_frac: 0.125 })).toBe("12.5 % of its rating off discharging 4.0 kW");
    expect(deviationWords({ commanded_kw: 0, deviation_frac: 0 })).toBe("as commanded: idle");
  });
});

describe("the screen of a group", () => {
  it("says where the group hangs, how it is with its range, and what bounds it", async () => {
    const asked = answers(WHOLE);
    const { container } = draw(<NodeView groupId="f7" order="coverage" onOrder={() => undefined} />, { live: { state: CALM } });
    expect(await screen.findByText("agreement 14", {}, SOON)).toBeTruthy();
    expect(within(screen.getByRole("navigation")).getByRole("link", { name: "Substation 1" }).getAttribute("href")).toBe("#/node/s1");
    expect(screen.getByTestId("node").textContent).toContain("discharging 24 kW");
    expect(screen.getByTestId("node").textContent).toContain("nine times in ten");
    expect(screen.getByTestId("limits").textContent).toContain("set by grid-operator");
    expect(screen.getByTestId("limits").textContent).toContain("96 % used");
    expect(screen.getByTestId("limit-flow").textContent).toContain("evening event was held back by 1.5 kW");
    expect(screen.getByTestId("children").textContent).toContain("Transformer 1");
    expect(screen.getByTestId("history").textContent).toContain("live sums after");
    expect(asked).toContain("/api/groups?parent=f7&order=coverage&limit=190");
    expect(screen.getByTestId("node").textContent).not.toContain("-24");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("follows the newest figures and lets somebody choose what comes first", async () => {
    answers(WHOLE);
    const chosen: string[] = [];
    draw(<NodeView groupId="f7" order="coverage" onOrder={(order) => chosen.push(order)} />, { live: { state: CALM } });
    await screen.findByText("agreement 14", {}, SOON);
    liveNow({ watched: new Map([["f7", { ...FEEDER, expected_kw: 6, low_kw: 5, high_kw: 7 }]]) });
    expect(screen.getByTestId("node").textContent).toContain("charging 6.0 kW");
    await userEvent.selectOptions(screen.getByRole("combobox", { name: "First" }), "widest range");
    expect(chosen).toEqual(["doubt"]);
    liveNow({ watched: new Map() });
  });

  it("says that there is no such group and asks no further", async () => {
    const asked = answers({});
    const { container } = draw(<NodeView groupId="x" order="coverage" onOrder={() => undefined} />, { live: { state: CALM } });
    expect((await screen.findByRole("alert", {}, SOON)).textContent).toContain("there is no group 'x'");
    expect(screen.queryByTestId("limits")).toBeNull();
    expect(asked.length).toBeGreaterThan(0);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("takes an order from the address and makes none up", () => {
    expect(orderOf("power")).toBe("power");
    expect(orderOf("odd")).toBe("deviation");
    expect(orderOf(undefined)).toBe("deviation");
  });
});
