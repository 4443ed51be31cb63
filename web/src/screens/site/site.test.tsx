// @vitest-environment jsdom
import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { FeedMessage } from "../../api/types";
import { draw, faultsOf, liveNow } from "../../testing/render";
import { alarm, CALM } from "../../testing/states";
import { SiteList, stateOf } from "./List";
import { stateOfFeed } from "./NowPanels";
import { detailOf } from "./RecordPanels";
import { SiteView } from "./Screen";
import { askWords, drawn, drawnCommands, enrolmentState, hoursOf, momentOf, sentenceOf, withMoment, type SiteAsked, type SiteCommands, type SiteHistory, type SiteNow } from "./site";
import { strings } from "./strings";
import { stateOfTrack } from "./TracePanels";

// Which other screens there are is not what is tested here.
vi.mock("./reach", () => ({ hasScreen: () => true }));
vi.mock("../../charts/TimeChart", () => ({ TimeChart: ({ testId, t }: { testId: string; t: number[] }) => <div data-testid={testId}>{t.length}</div> }));

const NOW_MS = 1_612_972_800_000;
const MINUTE = 60_000;

const ASKED: SiteAsked = {
  order_id: "peak-1", program: "emergency", kind: "power", from_ms: NOW_MS - 30 * MINUTE, until_ms: NOW_MS + 30 * MINUTE, state: "standing",
  site_kw: -2, all_kw: null, soc_frac: null, by: "ada", at_ms: NOW_MS - 60 * MINUTE, reason: "peak",
};

const SITE: SiteNow = {
  site_id: "home-1", as_of_ms: NOW_MS, grade: "fresh", heard_ms: NOW_MS - 5_000, age_s: 5,
  signals: [
    { signal: "battery", power_kw: -2, age_s: 5, grade: "fresh" },
    { signal: "solar", power_kw: -1, age_s: 5, grade: "fresh" },
    { signal: "load", power_kw: 0.7, age_s: 65, grade: "fresh" },
    { signal: "ev", power_kw: null, age_s: null, grade: null },
  ],
  grid_kw: -2.3, soc_frac: 0.5, energy_kwh: 5, energy_capacity_kwh: 10, reserve_frac: 0.2, flags: [], stop: null, asked: [ASKED],
  reported: { following: 36_101, heard_ms: NOW_MS - 5_000, refused_ms: null, refused: "" },
};

const HISTORY: SiteHistory = {
  site_id: "home-1", from_ms: NOW_MS - 60 * MINUTE, to_ms: NOW_MS + 1, tier: "samples", step_s: 60, gap_after_s: 180, seam_ms: NOW_MS - MINUTE,
  t_ms: [NOW_MS - 40 * MINUTE, NOW_MS - 2 * MINUTE, NOW_MS - MINUTE], battery_kw: [1, -1, -2], solar_kw: [0, 0, 0], load_kw: [1, 1, 1], ev_kw: [null, null, null],
  grid_kw: [2, 0, -1], soc_frac: [0.4, 0.5, 0.5], following: [0, 1, 1], gap: [false, true, false],
  silences: [{ from_ms: NOW_MS - 40 * MINUTE, to_ms: NOW_MS - 2 * MINUTE }], samples: 3, suspect_samples: 0,
};

const COMMANDS: SiteCommands = {
  site_id: "home-1", from_ms: HISTORY.from_ms, to_ms: HISTORY.to_ms, step_s: 60, t_ms: HISTORY.t_ms, commanded_kw: [null, -2, -2], measured_kw: [1, -1, -2],
  following: HISTORY.following, gap: HISTORY.gap, orders: [{ order: ASKED, measured_kw: -1.5, heard_frac: 0.2, followed_frac: 1 }],
};

const ANSWERS: Record<string, unknown> = {
  "/api/sites/home-1": { memberships: [{ hierarchy_id: "grid", group_id: "feeder-1", path: ["Homes", "Feeder 1"] }] },
  "/api/sites/home-1/history": HISTORY,
  "/api/sites/home-1/commands": COMMANDS,
  "/api/sites/home-1/device": {
    site_id: "home-1", as_of_ms: NOW_MS, device_type: "home", gateway_id: null, gateway_unit: null, grade: "fresh", heard_ms: NOW_MS - 5_000, age_s: 5, signals: [], flags: [],
    enrolled_ms: NOW_MS, revoked_ms: null, firmware: "2.1", reported_ms: NOW_MS, withheld_kw: 4,
    parameters: [{ resource_id: "homes", service: "fcr", name: "droop", assumed: "1.00%", reported: "3.00%", drifted: true }], alarms: [alarm({ scope: "site", subject: "home-1" })],
  },
  "/api/sites/home-1/programs": {
    site_id: "home-1", opt_outs: [], promises: [{ kind: "reserve_frac", amount: 0.3, from_ms: 0, until_ms: null, now: true, said_by: "owner", said_ms: 0 }],
    enrolments: [{ program_id: "market", from_ms: 0, until_ms: null, now: true, consented_by: "owner", consented_ms: 0, terms: "v1", withdrawn_by: "", withdrawn_ms: null }],
  },
  "/api/sites/home-1/events": {
    site_id: "home-1", truncated: false,
    events: [{ at_ms: NOW_MS, what: "paid", subject: "2021-02-09", by: "homes", words: "", amount: "1.25000000", currency: "USD" }],
  },
  "/api/twins": {
    group_id: null, state: "any", as_of_ms: NOW_MS, sites: 2, looked_at: 2, more: false,
    twins: [{ site_id: "home-1", grade: "stale", heard_ms: NOW_MS - 600_000, age_s: 600, flags: ["stuck"], battery_kw: -2, soc_frac: 0.5 }],
  },
};

function plantThat(answers: Record<string, unknown>): void {
  vi.stubGlobal("fetch", (url: URL) => {
    const found = answers[url.pathname];
    const body = found ?? { detail: "history does not answer", fix: "ask again" };
    return Promise.resolve(new Response(JSON.stringify(body), { status: found ? 200 : 400 }));
  });
}

function feeds(value: SiteNow | null, fault: string | null = null): ReadonlyMap<string, FeedMessage> {
  return new Map([["site/home-1", { as_of_ms: NOW_MS, value, fault }]]);
}

const STATE = { ...CALM, now_ms: NOW_MS };

function drawSite(value: SiteNow | null, fault: string | null = null): ReturnType<typeof draw> {
  return draw(<SiteView siteId="home-1" hours="24" onHours={() => undefined} />, { live: { state: STATE, feeds: feeds(value, fault) } });
}

afterEach(() => vi.unstubAllGlobals());

describe("shapes", () => {
  it("draws no line over a silence, and goes on live where history ends", () => {
    const later = { t: NOW_MS, values: [-3, 0, 1, null, -2, 0.5] };
    const { t, columns } = drawn(HISTORY, [{ t: NOW_MS - MINUTE, values: [9, 9, 9, 9, 9, 9] }, later]);
    expect(t).toEqual([NOW_MS - 40 * MINUTE, NOW_MS - 40 * MINUTE + 1, NOW_MS - 2 * MINUTE, NOW_MS - MINUTE, NOW_MS]);
    expect(columns[0]).toEqual([1, null, -1, -2, -3]);
    const { columns: apart } = drawn(HISTORY, [{ ...later, t: NOW_MS + 10 * MINUTE }]);
    expect(apart[0]).toEqual([1, null, -1, -2, null, -3]);
    expect(drawnCommands(COMMANDS).commanded).toEqual([null, null, -2, -2]);
  });

  it("keeps a moment once, and none that is under suspicion", () => {
    const one = momentOf(SITE);
    expect(one?.values).toEqual([-2, -1, 0.7, null, -2.3, 0.5]);
    expect(momentOf({ ...SITE, flags: [{ flag: "stuck", about: "stuck", suspect: true }] })).toBeNull();
    const held = one ? withMoment([], one) : [];
    expect(one ? withMoment(held, one) : null).toBe(held);
    expect(withMoment([{ t: 1, values: [] }, { t: 2, values: [] }], { t: 3, values: [] }, 2).map(({ t }) => t)).toEqual([2, 3]);
  });

  it("says what is, in words and never with a sign", () => {
    expect(sentenceOf(SITE)).toBe("The battery is discharging 2.0 kW, the roof gives 1.0 kW, the household takes 0.7 kW, the connection is exporting 2.3 kW.");
    expect(sentenceOf({ ...SITE, signals: [], grid_kw: null })).toBeNull();
    expect(askWords(ASKED)).toBe("discharging 2.0 kW");
    expect(askWords({ ...ASKED, kind: "setpoint", site_kw: null, all_kw: -9_000 })).toContain("all sites together discharging 9.00 MW");
    expect(askWords({ ...ASKED, kind: "hold", site_kw: null, soc_frac: 0.4 })).toBe("to stay above 40 %");
    expect(askWords({ ...ASKED, kind: "prices", site_kw: null })).toBe("to plan against prices");
    expect(detailOf({ at_ms: 0, what: "promised", subject: "reserve_frac", by: "", words: "0.3", amount: null, currency: null })).toBe("30 %");
  });

  it("knows how an enrolment stands", () => {
    const one = { program_id: "market", from_ms: 0, until_ms: null, now: true, consented_by: "", consented_ms: null, terms: "", withdrawn_by: "", withdrawn_ms: null };
    const left = { program_id: "market", from_ms: 0, until_ms: null, now: true, said_by: "", said_ms: 0 };
    expect(enrolmentState(one, [], 5)).toBe("takesPart");
    expect(enrolmentState(one, [left], 5)).toBe("leftForNow");
    expect(enrolmentState({ ...one, now: false, from_ms: 9 }, [], 5)).toBe("planned");
    expect(enrolmentState({ ...one, now: false }, [], 5)).toBe("over");
    expect([hoursOf(undefined), hoursOf("6"), hoursOf("7")]).toEqual(["24", "6", "24"]);
    expect([stateOf("stale"), stateOf("x")]).toEqual(["stale", "any"]);
  });

  it("stands as what it shows", () => {
    expect(stateOfFeed({ value: null, fault: null }).kind).toBe("loading");
    expect(stateOfFeed({ value: null, fault: "away" })).toEqual({ kind: "error", words: "away" });
    expect(stateOfFeed({ value: { ...SITE, heard_ms: null }, fault: null }).kind).toBe("empty");
    expect(stateOfFeed({ value: { ...SITE, grade: "stale", age_s: 600 }, fault: null })).toEqual({ kind: "stale", ageS: 600 });
    expect(stateOfTrack({ kind: "ready" }, HISTORY.silences)).toEqual({ kind: "partial", words: "Silent once, for 38 min. Shown as a gap." });
    expect(stateOfTrack({ kind: "loading" }, HISTORY.silences).kind).toBe("loading");
  });
});

describe("SiteView", () => {
  it("shows what a site does, what is asked of it and what is on record, without a fault for axe", async () => {
    plantThat(ANSWERS);
    const { container } = drawSite(SITE);
    expect(screen.getByTestId("site-sentence").textContent).toContain("discharging 2.0 kW");
    expect(screen.getByTestId("site-following").textContent).toBe(strings.asked.following("36,101"));
    await screen.findByTestId("site-power");
    await waitFor(() => expect(screen.getByTestId("site-events").textContent).toContain("$1.25"));
    expect(screen.getByTestId("site-power").textContent).toBe("5");
    expect(screen.getByTestId("site-telemetry").textContent).toContain("Silent once, for 38 min");
    expect(within(screen.getByTestId("site-commands")).getByText(strings.order.mean("discharging 1.5 kW"))).toBeTruthy();
    expect(screen.getByTestId("site-device").textContent).toContain(strings.device.drifted);
    expect(screen.getByTestId("site-programs").textContent).toContain("owner, terms v1");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("keeps a fault in the panel where it is, and says what to do", async () => {
    plantThat({ ...ANSWERS, "/api/sites/home-1/history": undefined });
    drawSite(SITE);
    const panel = screen.getByTestId("site-telemetry");
    await waitFor(() => expect(panel.getAttribute("data-state")).toBe("error"));
    expect(panel.textContent).toContain("history does not answer");
    await waitFor(() => expect(screen.getByTestId("site-device").getAttribute("data-state")).toBe("ready"));
  });

  it("says that a site is stale, halted, or not to be had", async () => {
    plantThat(ANSWERS);
    const stop = { stop_id: "s", kind: "group" as const, target: "g", since_ms: 0, by: "ada", reason: "smoke" };
    drawSite({ ...SITE, grade: "stale", age_s: 600, stop, asked: [], reported: { ...SITE.reported, following: 0 } });
    expect(screen.getByTestId("site-now").getAttribute("data-state")).toBe("stale");
    expect(screen.getByRole("alert").textContent).toContain("smoke");
    expect(screen.getByTestId("site-following").textContent).toBe(strings.asked.alone);
    liveNow({ state: STATE, feeds: feeds(null, "there is no site 'home-1'") });
    expect(screen.getByTestId("site-now").getAttribute("data-state")).toBe("error");
    await waitFor(() => expect(screen.getByTestId("site-events").getAttribute("data-state")).toBe("ready"));
  });

  it("lets the window be chosen by the keyboard", async () => {
    plantThat(ANSWERS);
    const chosen = vi.fn();
    draw(<SiteView siteId="home-1" hours="24" onHours={chosen} />, { live: { state: STATE, feeds: feeds(SITE) } });
    const button = screen.getByRole("button", { name: "6 hours" });
    expect(screen.getByRole("button", { name: "24 hours" }).getAttribute("aria-pressed")).toBe("true");
    button.focus();
    await userEvent.keyboard("{Enter}");
    expect(chosen).toHaveBeenCalledWith("6");
  });
});

describe("SiteList", () => {
  it("lists sites in a state and goes to one by name", async () => {
    plantThat(ANSWERS);
    const [onGo, onState] = [vi.fn(), vi.fn()];
    const { container } = draw(<SiteList state="any" onState={onState} onGo={onGo} />, { live: { state: STATE } });
    const link = await screen.findByRole("link", { name: "home-1" });
    expect(link.getAttribute("href")).toBe("#/site/home-1");
    await userEvent.type(screen.getByLabelText(strings.list.name), " home-7 {Enter}");
    expect(onGo).toHaveBeenCalledWith("home-7");
    await userEvent.selectOptions(screen.getByLabelText(strings.list.state), "stale");
    expect(onState).toHaveBeenCalledWith("stale");
    expect(await faultsOf(container)).toEqual([]);
  });
});
