// @vitest-environment jsdom
import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import { draw, faultsOf, liveNow } from "../../testing/render";
import { CALM } from "../../testing/states";
import { SitesNow, marksOf, sitedOf, type Now, type Places } from "./mapView";
import { filterOf, isNarrowed, queryOf } from "./siteFilter";
import { SitesView } from "./Sites";

vi.mock("../../map/outlines", () => ({ outlines: () => new Promise(() => undefined) }));

const base64 = (...bytes: number[]): string => btoa(String.fromCharCode(...bytes));
/** A whole number as it is sent: 0 is none. */
const code = (value: number | null): number => (value === null ? 0 : value < 0 ? -2 * value : 2 * value + 1);
const column = (...values: (number | null)[]): string => {
  const codes = values.map(code);
  return base64(...codes.map((one) => one & 255), ...codes.map((one) => (one >> 8) & 255), ...codes.map((one) => (one >> 16) & 255));
};

const PLACES: Places = {
  version: "v1", total: 3, site_ids: "0home-0\n51\n0bess-0", latitude_mdeg: column(31_000, 1_000, 1_000), longitude_mdeg: column(-97_000, -1_000, -1_000), capacity_hw: column(50, 50, 1_000),
  device_type: column(0, 0, 3), types: ["home", "ev_charger", "meter", "battery"],
};
const NOW: Now = {
  version: "v1", as_of_ms: 0, total: 2, unanswered: 0, grades: ["fresh", "suspect", "stale", "unknown"], severities: ["notice", "warning", "major", "critical"],
  mark: "e-1", sent: 3, row: null, state: column(0, 1, 3 + 16 * 3), battery_hw: column(-32, 7, null), soc_percent: column(56, 20, null), through: base64(0b101),
};
const CHANGE: Now = { ...NOW, mark: "e-2", sent: 2, row: column(0, 2), state: column(2, 0), battery_hw: column(0, 1_000), soc_percent: column(55, 99) };
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
    const now = new SitesNow();
    now.take(NOW);
    const marks = marksOf(sitedOf(PLACES), NOW.through);
    expect(marks.ids).toEqual(["home-0", "bess-0"]);
    expect([...marks.rows, ...marks.lat, ...marks.lon]).toEqual([0, 2, 31, 33, -97, -99]);
    expect([now.shape(0), now.shape(1), now.shape(2), now.alarm(0), now.alarm(2)]).toEqual(["disc", "square", "triangle", -1, 2]);
    expect(now.describe("home-0", 0)).toBe("home-0, fresh, discharging 3.2 kW, 56 % charged");
    expect(now.describe("bess-0", 2)).toBe("bess-0, unknown, no value, alarm: major");
    expect(now.summary(marks.rows)).toBe("2 sites, 1 fresh, 1 unknown, 1 under an alarm");
    expect(marksOf(sitedOf(PLACES), null).ids).toEqual(["home-0", "home-1", "bess-0"]);
  });

  it("change where the plant says so, and nowhere else", () => {
    const now = new SitesNow();
    now.take(NOW);
    now.take(CHANGE);
    expect([now.mark, now.changes]).toEqual(["e-2", 2]);
    expect(now.summary(Int32Array.of(0, 1, 2))).toBe("3 sites, 1 fresh, 1 suspect, 1 stale");
    expect(now.describe("bess-0", 2)).toBe("bess-0, fresh, charging 100 kW, 99 % charged");
    expect(now.describe("home-1", 1)).toBe("home-1, suspect, charging 0.7 kW, 20 % charged");
    now.take({ ...CHANGE, mark: "e-3", sent: 0, row: "", state: "", battery_hw: "", soc_percent: "" });
    expect([now.mark, now.changes]).toEqual(["e-3", 2]);
    now.take({ ...CHANGE, version: "v2" });
    expect([now.mark, now.changes]).toEqual(["", 2]);
    now.take({ ...NOW, version: "v2", mark: "f-9" });
    expect([now.mark, now.alarm(2)]).toEqual(["f-9", 2]);
  });
});

describe("the filter in the address", () => {
  it("is read as it stands, and what is not known is left out", () => {
    expect(queryOf(filterOf({ text: " home ", grade: "silent", alarm: "odd", view: "table" }))).toEqual({ text: "home", grade: "silent" });
    expect(filterOf({ view: "table" }).view).toBe("table");
    expect(isNarrowed(filterOf({ order: "power" }))).toBe(false);
    expect(isNarrowed(filterOf({ group: "f1" }))).toBe(true);
    expect(queryOf(filterOf({ program: "storm" }))).toEqual({ program: "storm" });
  });
});

describe("the sites of the fleet", () => {
  it("stand in a table with words, ages and alarms, and say who could not be asked", async () => {
    const asked = answers({ "/api/sites/search": HITS });
    const { container } = draw(<SitesView filter={filterOf({ view: "table", grade: "silent", order: "age" })} onChange={() => undefined} />, { live: { state: CALM } });
    expect(await screen.findByRole("link", { name: "home-0" }, SOON)).toBeTruthy();
    const text = screen.getByTestId("sites").textContent ?? "";
    for (const part of ["discharging 3.2 kW", "56 %", "4.0 s old", "never heard", "major", "Feeder 1", "1 site could not be asked"]) expect(text).toContain(part);
    expect(asked).toContain("/api/sites/search?grade=silent&order=age&limit=1000");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("stand on the map, whose words say the same", async () => {
    const asked = answers({ "/api/map/sites": PLACES, "/api/map/now": NOW });
    const { container } = draw(<SitesView filter={filterOf({})} onChange={() => undefined} />, { live: { state: CALM } });
    expect(await screen.findByText("2 sites, 1 fresh, 1 unknown, 1 under an alarm", {}, SOON)).toBeTruthy();
    expect(screen.getByRole("button", { name: "Map" }).getAttribute("aria-pressed")).toBe("true");
    await vi.waitFor(() => expect(asked).toContain("/api/map/now?since=e-1"), { timeout: 5_000 });
    expect(asked.filter((one) => one === "/api/map/now")).toHaveLength(1);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("wait for the first figures before anything of the map is loaded", async () => {
    const asked = answers({ "/api/map/sites": PLACES, "/api/map/now": NOW });
    draw(<SitesView filter={filterOf({})} onChange={() => undefined} />, { live: { state: null } });
    await new Promise((soon) => setTimeout(soon, 200));
    expect(asked.filter((one) => one.startsWith("/api/map"))).toEqual([]);
    liveNow({ state: CALM });
    await vi.waitFor(() => expect(asked).toContain("/api/map/sites"), SOON);
  });

  it("change the address and nothing else", async () => {
    answers({ "/api/sites/search": { ...HITS, total: 0, rows: [] } });
    const changes: Record<string, string | undefined>[] = [];
    draw(<SitesView filter={filterOf({ view: "table", text: "zzz" })} onChange={(part) => changes.push(part)} />, { live: { state: CALM } });
    expect(await screen.findByText(/No site is like that/, {}, SOON)).toBeTruthy();
    await userEvent.selectOptions(screen.getByRole("combobox", { name: "Figures" }), "silent");
    await userEvent.click(screen.getByRole("button", { name: "Map" }));
    await userEvent.click(screen.getByRole("button", { name: "Show all sites" }));
    expect(changes).toEqual([{ grade: "silent" }, { view: undefined }, { text: undefined, group: undefined, grade: undefined, type: undefined, alarm: undefined, program: undefined }]);
    await userEvent.type(screen.getByRole("searchbox"), "y");
    await vi.waitFor(() => expect(changes.at(-1)).toEqual({ text: "zzzy" }));
  });

  it("offer the plant's programs to choose from", async () => {
    answers({ "/api/sites/search": HITS, "/api/programs": [{ program_id: "storm", name: "Storm reserve" }] });
    const changes: Record<string, string | undefined>[] = [];
    draw(<SitesView filter={filterOf({ view: "table" })} onChange={(part) => changes.push(part)} />, { live: { state: CALM } });
    await screen.findByRole("option", { name: "Storm reserve" }, SOON);
    await userEvent.selectOptions(screen.getByRole("combobox", { name: "Program" }), "storm");
    expect(changes).toEqual([{ program: "storm" }]);
  });

  it("say why they are not here and offer to try again", async () => {
    answers({});
    const { container } = draw(<SitesView filter={filterOf({ view: "table" })} onChange={() => undefined} />, { live: { state: CALM } });
    expect((await screen.findByRole("alert", {}, SOON)).textContent).toContain("the sites do not answer");
    expect(await faultsOf(container)).toEqual([]);
  });
});
