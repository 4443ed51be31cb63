// @vitest-environment jsdom
import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import { draw, faultsOf } from "../../testing/render";
import { CALM } from "../../testing/states";
import { alarmAt, describeAt, marksOf, shapeAt, summaryOf, type Now, type Places } from "./mapView";
import { filterOf, isNarrowed, queryOf } from "./siteFilter";
import { SitesView } from "./Sites";

vi.mock("../../map/outlines", () => ({ outlines: () => new Promise(() => undefined) }));

const PLACES: Places = { version: "v1", site_ids: ["home-0", "home-1", "bess-0"], latitude_mdeg: [31_000, 32_000, 33_000], longitude_mdeg: [-97_000, -98_000, -99_000], capacity_hw: [50, 50, 1_000], device_type: [0, 0, 3], types: ["home", "ev_charger", "meter", "battery"] };
const NOW: Now = {
  version: "v1", as_of_ms: 0, total: 2, unanswered: 0, grades: ["fresh", "suspect", "stale", "unknown"], severities: ["notice", "warning", "major", "critical"],
  row: [0, 2], grade: [0, 3], alarm: [-1, 2], battery_hw: [-32, null], soc_percent: [56, null],
};
const HITS = {
  as_of_ms: 0, total: 2, unanswered: 1, offset: 0, limit: 1000,
  rows: [
    { site_id: "home-0", device_type: "home", group_path: ["Homes", "Feeder 1"], group_id: "f1", grade: "fresh", age_s: 4, capacity_kw: 5, battery_kw: -3.2, soc_frac: 0.56, alarm: null },
    { site_id: "bess-0", device_type: "battery", group_path: [], group_id: null, grade: "unknown", age_s: null, capacity_kw: 100, battery_kw: null, soc_frac: null, alarm: "major" },
  ],
};

function answers(said: Record<string, unknown>): string[] {
  const asked: string[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation((input) => {
    const url = input as URL;
    asked.push(`${url.pathname}${url.search}`);
    const found = said[url.pathname];
    return Promise.resolve(found === undefined ? Response.json({ detail: "the sites do not answer" }, { status: 404 }) : Response.json(found));
  });
  return asked;
}

// The parts come one by one, and other suites run beside this one.
const SOON = { timeout: 10_000 };
vi.setConfig({ testTimeout: 30_000 });
afterEach(() => vi.restoreAllMocks());

describe("the map's words and marks", () => {
  it("are those of the rows that the filter left", () => {
    expect([...marksOf(PLACES, [0, 2]).ids]).toEqual(["home-0", "bess-0"]);
    expect([...marksOf(PLACES, [0, 2]).lat]).toEqual([31, 33]);
    expect([shapeAt(NOW, 0), shapeAt(NOW, 1), alarmAt(NOW, 0), alarmAt(NOW, 1)]).toEqual(["disc", "triangle", false, true]);
    expect(describeAt(NOW, "home-0", 0)).toBe("home-0, fresh, discharging 3.2 kW, 56 % charged");
    expect(describeAt(NOW, "bess-0", 1)).toBe("bess-0, unknown, no value, alarm: major");
    expect(summaryOf(NOW, [0, 1])).toBe("2 sites, 1 fresh, 1 unknown, 1 under an alarm");
  });
});

describe("the filter in the address", () => {
  it("is read as it stands, and what is not known is left out", () => {
    expect(queryOf(filterOf({ text: " home ", grade: "silent", alarm: "odd", view: "table" }))).toEqual({ text: "home", grade: "silent" });
    expect(filterOf({ view: "table" }).view).toBe("table");
    expect(isNarrowed(filterOf({ order: "power" }))).toBe(false);
    expect(isNarrowed(filterOf({ group: "f1" }))).toBe(true);
  });
});

describe("the sites of the fleet", () => {
  it("stand in a table with words, ages and alarms, and say who could not be asked", async () => {
    const asked = answers({ "/api/sites/search": HITS });
    const { container } = draw(<SitesView filter={filterOf({ view: "table", grade: "silent", order: "age" })} onChange={() => undefined} />, { live: { state: CALM } });
    expect(await screen.findByRole("link", { name: "home-0" }, SOON)).toBeTruthy();
    const text = screen.getByTestId("sites").textContent ?? "";
    for (const part of ["discharging 3.2 kW", "56 %", "4.0 s old", "never heard", "major", "Feeder 1", "1 site could not be asked"]) expect(text).toContain(part);
    expect(asked[0]).toBe("/api/sites/search?grade=silent&order=age&limit=1000");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("stand on the map, whose words say the same", async () => {
    answers({ "/api/map/sites": PLACES, "/api/map/now": NOW });
    const { container } = draw(<SitesView filter={filterOf({})} onChange={() => undefined} />, { live: { state: CALM } });
    expect(await screen.findByText("2 sites, 1 fresh, 1 unknown, 1 under an alarm", {}, SOON)).toBeTruthy();
    expect(screen.getByRole("button", { name: "Map" }).getAttribute("aria-pressed")).toBe("true");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("change the address and nothing else", async () => {
    answers({ "/api/sites/search": { ...HITS, total: 0, rows: [] } });
    const changes: Record<string, string | undefined>[] = [];
    draw(<SitesView filter={filterOf({ view: "table", text: "zzz" })} onChange={(part) => changes.push(part)} />, { live: { state: CALM } });
    expect(await screen.findByText(/No site is like that/, {}, SOON)).toBeTruthy();
    await userEvent.selectOptions(screen.getByRole("combobox", { name: "Figures" }), "silent");
    await userEvent.click(screen.getByRole("button", { name: "Map" }));
    await userEvent.click(screen.getByRole("button", { name: "Show all sites" }));
    expect(changes).toEqual([{ grade: "silent" }, { view: undefined }, { text: undefined, group: undefined, grade: undefined, type: undefined, alarm: undefined }]);
    await userEvent.type(screen.getByRole("searchbox"), "y");
    await vi.waitFor(() => expect(changes.at(-1)).toEqual({ text: "zzzy" }));
  });

  it("say why they are not here and offer to try again", async () => {
    answers({});
    const { container } = draw(<SitesView filter={filterOf({ view: "table" })} onChange={() => undefined} />, { live: { state: CALM } });
    expect((await screen.findByRole("alert", {}, SOON)).textContent).toContain("the sites do not answer");
    expect(await faultsOf(container)).toEqual([]);
  });
});
