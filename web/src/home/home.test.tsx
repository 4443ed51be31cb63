// @vitest-environment jsdom
import { cleanup, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Schema } from "../api/client";
import { draw, faultsOf, liveNow } from "../testing/render";
import { CALM } from "../testing/states";
import { backupOf, lasting, reserveKwh } from "./backup";
import { barsOf, earned } from "./Earnings";
import { askedWords, inForce, wordOf } from "./Events";
import { flowOf } from "./Flow";
import { Home, homeOf } from "./Home";
import { snapped, toldWords } from "./Reserve";
import { strings } from "./strings";

const TOLD: Schema["HomeTold"] = { taken: true, events: [], reserve_frac: 0 };

function event(part: Partial<Schema["HomeEvent"]> = {}): Schema["HomeEvent"] {
  return {
    event_id: "e-1", program_id: "emergency", program: "Grid emergency", kind: "power", from_ms: 0, until_ms: 3_600_000, state: "running", asked_kw: -2, soc_frac: null, reason: "", pay: null,
    skipped_ms: null, may_skip: true, why_not: "", ...part,
  };
}

const SITE: Schema["HomeSite"] = {
  site_id: "home-1", as_of_ms: 0, zone: "UTC", energy_capacity_kwh: 10, charge_limit_kw: 5, discharge_limit_kw: 5, stored_out_frac: 0.9,
  reserve: { reserve_frac: 0.2, least_frac: 0.2, asked_frac: null, asked_by: "", asked_ms: null, told: TOLD },
  use: { low_kw: 0.3, usual_kw: 0.6, high_kw: 1.8, hours: 200, needed_hours: 12, days: 9 },
  programs: [], storm: { offered: true, on: true, changed_ms: null, alerts: [] },
};

describe("words of a home", () => {
  it("says what flows, with an arrow only where something does", () => {
    const flow = flowOf({ battery_kw: -2, solar_kw: 0, load_kw: 1.2, ev_kw: null, grid_kw: -0.8 });
    expect(flow.battery).toEqual({ words: "giving 2.0 kW", arrow: "▲" });
    expect(flow.solar).toEqual({ words: "nothing now", arrow: "" });
    expect(flow.car.words).toBe(strings.unknown);
    expect(flow.grid.words).toBe("0.8 kW to the grid");
  });

  it("says how long a reserve lasts as a range, and nothing where the use is not known", () => {
    const backup = backupOf(reserveKwh(SITE, 0.4), SITE.use);
    expect(backup).not.toBeNull();
    expect([backup?.shortH, backup?.usualH, backup?.longH].map((hours) => lasting(hours ?? 0))).toEqual(["2 hours", "6 hours", "12 hours"]);
    expect(backupOf(3, { ...SITE.use, usual_kw: null })).toBeNull();
    expect([0.05, 0.5, 1, 2.4, 100].map(lasting)).toEqual(["5 minutes", "30 minutes", "1 hour", "2.5 hours", "4 days"]);
  });

  it("keeps the slider on fifths, from the least on", () => {
    expect([10, 20, 22, 23, 99].map((at) => snapped(at, 20))).toEqual([20, 20, 20, 25, 100]);
    expect(snapped(14, 12.5)).toBe(15);
  });

  it("says that a battery has its reserve only when it said so", () => {
    expect(toldWords({ ...TOLD, reserve_frac: 0.4 }, 0.4)).toBe(strings.reserve.saved);
    expect(toldWords({ ...TOLD, reserve_frac: 0 }, 0.4)).toBe(strings.reserve.sent);
    expect(toldWords({ taken: null, events: [], reserve_frac: null }, 0.4)).toBe(strings.reserve.waits);
  });

  it("follows an owner's word from kept to confirmed", () => {
    const skipped = event({ skipped_ms: 1 });
    expect(wordOf(skipped, { taken: null, events: [], reserve_frac: null })).toBe(strings.events.kept);
    expect(wordOf(skipped, { ...TOLD, events: ["e-1"] })).toBe(strings.events.still);
    expect(wordOf(skipped, { ...TOLD, taken: false })).toBe(strings.events.sent);
    expect(wordOf(skipped, TOLD)).toBe(strings.events.keepsOwn);
    expect(inForce(event(), { ...TOLD, events: ["e-1-return"] })).toBe(true);
    expect(inForce(event(), { ...TOLD, events: ["e-11"] })).toBe(false);
    expect(askedWords(event({ asked_kw: null }))).toBe(strings.events.asked.powerOpen);
  });

  it("draws each settled day at its place in the month, and says what is paid", () => {
    const money = { currency: "USD", total: "1.5", days: [{ date: "2026-11-01", amount: "2.0", version: 1, settled_ms: 0 }, { date: "2026-11-03", amount: "-0.5", version: 2, settled_ms: 0 }] };
    const { bars, zeroY } = barsOf(money, "2026-11");
    expect(bars.map((bar) => bar.owed)).toEqual([false, true]);
    expect(bars[1]?.y).toBe(zeroY);
    expect((bars[1]?.x ?? 0) - (bars[0]?.x ?? 0)).toBeCloseTo((2 * 320) / 30);
    expect(earned("-0.5", "USD")).toBe("paid $0.50");
  });

  it("shows a home of one's own only", () => {
    expect(homeOf("home-2", ["home-1"])).toBe("home-1");
    expect(homeOf("home-2", null)).toBe("home-2");
    expect(homeOf(null, [])).toBeNull();
  });
});

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

const EVENTS: Schema["HomeEvents"] = { site_id: "home-1", as_of_ms: 0, next: [event({ pay: { amount: "0.8", currency: "USD", energy_kwh: 2 } })], past: [], told: { ...TOLD, events: ["e-1"] } };
const EARNINGS: Schema["HomeEarnings"] = { site_id: "home-1", as_of_ms: 0, month: "2026-11", money: [], through: null, months: [] };
const SHARING: Schema["HomeSharing"] = {
  site_id: "home-1", as_of_ms: 0, consents: [],
  readers: [{ party: "household", people: 1, names: ["mia"], sees_live: true, sees_history: true, sees_name: true }, { party: "others", people: null, names: [], sees_live: false, sees_history: false, sees_name: false }],
};

/** A plant that answers, or refuses; returns what it was asked. */
function plant(answers: Record<string, unknown>): Asked[] {
  const asked: Asked[] = [];
  vi.stubGlobal("fetch", (url: URL, options: RequestInit) => {
    const path = url.pathname.replace(/.*\/api\/home\/sites\/home-1/, "");
    const method = options.method ?? "GET";
    asked.push({ method, path, body: typeof options.body === "string" ? JSON.parse(options.body) : null });
    const found = answers[`${method} ${path}`];
    const body = found === undefined ? { detail: "the database does not answer" } : found;
    return Promise.resolve(new Response(JSON.stringify(body), { status: found === undefined ? 503 : 200 }));
  });
  return asked;
}

const WELL = { "GET ": SITE, "GET /events": EVENTS, "GET /earnings": EARNINGS, "GET /sharing": SHARING };
const NOW: Schema["HomeNow"] = { site_id: "home-1", as_of_ms: 0, age_s: 4, grade: "fresh", battery_kw: -2, solar_kw: -1, load_kw: 1.2, ev_kw: null, grid_kw: -1.8, soc_frac: 0.6, energy_kwh: 6 };

function drawHome(): HTMLElement {
  const feeds = new Map([["home/home-1", { as_of_ms: 0, value: NOW, fault: null }]]);
  return draw(<Home asked="home-1" />, { live: { state: { ...CALM, now_ms: 1_000 }, feeds } }).container;
}

describe("the home page", () => {
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });

  it("shows a home, and axe has nothing against it", async () => {
    plant(WELL);
    const container = drawHome();
    expect(await screen.findByText("giving 2.0 kW")).toBeTruthy();
    expect(await screen.findByText(strings.events.follows)).toBeTruthy();
    expect((await screen.findByTestId("backup")).textContent).toContain("about 3 hours");
    expect(await screen.findByText(strings.earnings.noneEver)).toBeTruthy();
    expect(await screen.findByText("mia")).toBeTruthy();
    expect(await faultsOf(container)).toEqual([]);
  });

  it("asks once before an event is skipped, says what is given up, and then says how far the word has come", async () => {
    const skipped = { ...EVENTS, next: [event({ skipped_ms: 1 })], told: TOLD };
    const answers: Record<string, unknown> = { ...WELL };
    const asked = plant(answers);
    drawHome();
    fireEvent.click(await screen.findByTestId("skip"));
    const dialog = within(await screen.findByRole("dialog"));
    expect(dialog.getByText("You give up about $0.80.")).toBeTruthy();
    expect(asked.some((one) => one.method === "POST")).toBe(false);
    answers["POST /events/e-1/skip"] = { skipped: true };
    answers["GET /events"] = skipped;
    fireEvent.click(dialog.getByText(strings.events.skip));
    await waitFor(() => expect(screen.getByTestId("skipped").textContent).toContain(strings.events.keepsOwn));
    expect(screen.getByTestId("come-back")).toBeTruthy();
  });

  it("keeps a reserve only when it is told to, and says what the battery has", async () => {
    const kept = { ...SITE.reserve, reserve_frac: 0.3, asked_frac: 0.3, asked_by: "mia", asked_ms: 1, told: { ...TOLD, reserve_frac: 0.3 } };
    const asked = plant({ ...WELL, "PUT /reserve": kept });
    drawHome();
    const slider = await screen.findByRole("slider");
    fireEvent.keyDown(slider, { key: "ArrowRight" });
    fireEvent.keyDown(slider, { key: "ArrowRight" });
    expect(screen.getByTestId("reserve-value").textContent).toBe("30 % of your battery, 3.0 kWh");
    expect(asked.some((one) => one.method === "PUT")).toBe(false);
    fireEvent.click(screen.getByTestId("keep-reserve"));
    await screen.findByText(new RegExp(strings.reserve.saved));
    expect(asked.find((one) => one.method === "PUT")?.body).toEqual({ reserve_frac: 0.3 });
  });

  it("keeps a fault in its section, and what was shown stays when the plant goes", async () => {
    plant({ "GET ": SITE, "GET /events": EVENTS, "GET /earnings": EARNINGS });
    drawHome();
    const sharing = await screen.findByTestId("home-sharing");
    await waitFor(() => expect(sharing.isConnected && screen.getByTestId("home-sharing").dataset["state"]).toBe("error"));
    expect(within(screen.getByTestId("home-sharing")).getByRole("alert").textContent).toContain("does not answer");
    liveNow({ state: { ...CALM }, link: "reconnecting" });
    expect((await screen.findByTestId("home-connection")).textContent).toBe(strings.lost);
  });

  it("turns storm watch off, and says so", async () => {
    const asked = plant({ ...WELL, "PUT /storm-watch": { offered: true, on: false, changed_ms: 1, alerts: [] } });
    drawHome();
    const toggle = await screen.findByRole("switch", { name: strings.storm.label });
    expect(toggle.getAttribute("aria-checked")).toBe("true");
    fireEvent.click(toggle);
    await screen.findByText(strings.storm.offSays);
    expect(asked.find((one) => one.path === "/storm-watch")?.body).toEqual({ on: false });
  });
});
