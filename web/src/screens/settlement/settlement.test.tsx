// @vitest-environment jsdom
import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { RefusedError } from "../../api/client";
import { draw, faultsOf } from "../../testing/render";
import { CALM } from "../../testing/states";
import { refusedAsEmpty } from "./refused";
import { Settled } from "./Screen";
import { awardWords, barsOf, changeWords, checkWords, deliveredWords, imbalanceWords, placesOf, type Day, type Detail, type Fall } from "./words";

// jsdom has no canvas: what a chart draws is looked at in the browser, what it says is looked at here.
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

const HOUR_MS = 3_600_000;
const START_MS = Date.parse("2021-02-10T06:00:00Z");

const DAY: Day = {
  resource_id: "bess", market_id: "ercot", delivery_date: "2021-02-10", currency: "USD", status: "settled", settled_by: "market", run: "initial", version: 2,
  versions: 2, issued_ms: START_MS + 90 * HOUR_MS, awarded: true, bought_mwh: 0, sold_mwh: 15, charged_mwh: 0, discharged_mwh: 12.5, imbalance_mwh: 2.5,
  net_amount: "587.50000000", net_cents: 58_750, imbalance_amount: "-117.50000000", imbalance_cents: -11_750, disputes: 1, disputed_amount: "-4.70000000",
  disputed_cents: -470, unchecked: 0, intervals: 2, estimated_intervals: 0,
};

const OPEN: Day = {
  ...DAY, delivery_date: "2021-02-11", status: "awarded", settled_by: "nobody", run: "", version: 0, versions: 0, issued_ms: null, charged_mwh: null,
  discharged_mwh: null, imbalance_mwh: null, net_amount: null, net_cents: null, imbalance_amount: null, imbalance_cents: null, disputes: null,
  disputed_amount: null, disputed_cents: null, unchecked: null,
};

const DETAIL: Detail = {
  day: DAY,
  zone: "America/Chicago",
  versions: [
    { version: 2, run: "final", issued_ms: START_MS + 90 * HOUR_MS, net_amount: "587.50000000", net_cents: 58_750, step_cents: -250, changed_intervals: 1, lines: 4, disputes: 1, disputed_cents: -470, unchecked: 0 },
    { version: 1, run: "initial", issued_ms: START_MS + 80 * HOUR_MS, net_amount: "590.00000000", net_cents: 59_000, step_cents: 59_000, changed_intervals: 2, lines: 4, disputes: 0, disputed_cents: 0, unchecked: 0 },
  ],
  intervals: {
    start_ms: [START_MS, START_MS + HOUR_MS], end_ms: [START_MS + HOUR_MS, START_MS + 2 * HOUR_MS], award_mwh: [-5, -10], delivered_mwh: [-5, -7.5],
    price_per_mwh: [47, 47], net_amount: ["235.00000000", "352.50000000"], estimated: [false, true],
  },
  parts: [
    { product: "day-ahead", kind: "award", lines: 2, net_amount: "705.00000000", net_cents: 70_500 },
    { product: "real-time", kind: "imbalance", lines: 2, net_amount: "-117.50000000", net_cents: -11_750 },
  ],
  disputes: [
    { start_ms: START_MS, end_ms: START_MS + HOUR_MS, product: "real-time", kind: "imbalance", reason: "energy", amount: "-4.70000000", amount_cents: -470, market_mwh: 0.1, own_mwh: 0, market_price_per_mwh: 47, own_price_per_mwh: 47 },
  ],
  gaps: [],
  shares: {
    homes: 2, homes_amount: "470.00000000", homes_cents: 47_000, operator_amount: "117.50000000", operator_cents: 11_750,
    largest: [{ site_id: "home-1", amount: "300.00000000", amount_cents: 30_000 }, { site_id: "home-2", amount: "170.00000000", amount_cents: 17_000 }],
  },
};

const FALL: Fall = {
  resource_id: "bess", market_id: "ercot", delivery_date: "2021-02-10", currency: "USD", settled_as: "final, version 2", first: "perfect", from_amount: "900.00000000",
  from_cents: 90_000, to_amount: "587.50000000", to_cents: 58_750, residual_amount: "0.00000000",
  steps: [
    { name: "forecast", amount: "-100.00000000", amount_cents: -10_000, level_cents: 80_000 },
    { name: "bid", amount: "-95.00000000", amount_cents: -9_500, level_cents: 70_500 },
    { name: "delivered", amount: "-125.00000000", amount_cents: -12_500, level_cents: 58_000 },
    { name: "wear", amount: "7.50000000", amount_cents: 750, level_cents: 58_750 },
    { name: "left in store", amount: "0.00000000", amount_cents: 0, level_cents: 58_750 },
  ],
};

const PAGE = { resource_id: "bess", market_id: "ercot", zone: "America/Chicago", currency: "USD", from_date: "2021-01-12", to_date: "2021-02-11", days: [OPEN, DAY], settled_days: 1, net_amount: "587.50000000", net_cents: 58_750 };

const answers = new Map<string, { status: number; body: unknown }>();

function answering(): void {
  vi.stubGlobal(
    "fetch",
    vi.fn((url: URL) => {
      const found = answers.get(new URL(url).pathname) ?? { status: 404, body: { detail: "there is no such thing" } };
      return Promise.resolve(new Response(JSON.stringify(found.body), { status: found.status, headers: { "Content-Type": "application/json" } }));
    }),
  );
}

beforeEach(() => {
  answers.clear();
  answers.set("/api/settlement", { status: 200, body: PAGE });
  answers.set("/api/settlement/bess/2021-02-10", { status: 200, body: DETAIL });
  answers.set("/api/settlement/bess/2021-02-10/waterfall", { status: 200, body: FALL });
  answering();
});

describe("words", () => {
  it("say both ways, and what is not known", () => {
    expect(awardWords({ ...DAY, bought_mwh: 16 })).toBe("sold 15.0 MWh, bought 16.0 MWh");
    expect(awardWords({ ...DAY, sold_mwh: 0 })).toBe("nothing");
    expect(awardWords({ ...DAY, awarded: false })).toBe("not known yet");
    expect(deliveredWords(DAY)).toBe("discharged 12.5 MWh");
    expect(deliveredWords(OPEN)).toBe("not known yet");
    expect(imbalanceWords(DAY)).toBe("2.50 MWh off");
    expect(imbalanceWords({ ...DAY, imbalance_mwh: 0 })).toBe("nothing");
    expect(changeWords(-10_050, "USD")).toBe("takes $100.50");
    expect(changeWords(0, "USD")).toBe("no change");
  });

  it("ask for a person where the market differs or could not be checked, and only there", () => {
    expect(checkWords(DAY, "USD")).toEqual({ words: "1 line differs, $4.70 too little for us", look: true });
    expect(checkWords({ disputes: 0, disputed_cents: 0, unchecked: 3 }, "USD").look).toBe(true);
    expect(checkWords({ disputes: 0, disputed_cents: 0, unchecked: 0 }, "USD")).toEqual({ words: "agrees with our own", look: false });
    expect(checkWords(OPEN, "USD").look).toBe(false);
  });
});

describe("the waterfall", () => {
  it("goes from the first level to the money without a cent lost", () => {
    const bars = barsOf(FALL);
    expect(bars[0]).toMatchObject({ label: "With perfect foresight", level: "$900.00", kind: "level" });
    expect(bars.at(-1)).toMatchObject({ label: "Money", level: "$587.50", fromCents: 0 });
    for (let i = 1; i < bars.length - 1; i += 1) expect(bars[i]?.fromCents).toBe(bars[i - 1]?.toCents);
    expect(bars.at(-2)?.toCents).toBe(bars.at(-1)?.toCents);
    expect(bars.map((bar) => bar.kind)).toEqual(["level", "takes", "takes", "takes", "adds", "none", "level"]);
  });

  it("places bars of money that was paid left of nothing", () => {
    const places = placesOf(barsOf({ ...FALL, from_cents: 100, to_cents: -100, steps: [{ name: "bid", amount: "-2", amount_cents: -200, level_cents: -100 }] }));
    expect(places).toEqual([
      { left: 0.5, width: 0.5 },
      { left: 0, width: 1 },
      { left: 0, width: 0.5 },
    ]);
    for (const { left, width } of placesOf(barsOf({ ...FALL, from_cents: 0, to_cents: 0, steps: [] }))) expect([left, width]).toEqual([0, 0]);
  });
});

describe("what cannot be told yet", () => {
  it("is no fault", () => {
    expect(refusedAsEmpty(new RefusedError("day: wait for its meters", 422, "day", null))).toEqual({ kind: "empty", words: "day: wait for its meters" });
    expect(refusedAsEmpty(new RefusedError("gone", 404))?.kind).toBe("empty");
    expect(refusedAsEmpty(new RefusedError("later", 503))).toBeNull();
    expect(refusedAsEmpty(null)).toBeNull();
  });
});

describe("the screen", () => {
  const shown = (search: Record<string, string> = {}, onSearch = vi.fn()): ReturnType<typeof draw> =>
    draw(<Settled resourceId="bess" name="Big battery" search={search} onSearch={onSearch} />, { live: { state: CALM } });

  it("shows the days, and of the newest settled one where its money went", async () => {
    const onSearch = vi.fn();
    const { container } = shown({}, onSearch);
    const days = await screen.findByRole("region", { name: /Days of bess/ });
    expect(within(days).getByText("not known yet", { selector: "td[data-end=true]" })).toBeTruthy();
    expect(screen.getByTestId("settlement-net").textContent).toBe("$587.50");
    const bars = await screen.findByTestId("waterfall-bars");
    expect(within(bars).getAllByRole("listitem")).toHaveLength(7);
    expect((await screen.findAllByText(/too little for us/)).length).toBeGreaterThan(0);
    expect(screen.getByText("2 homes together")).toBeTruthy();
    expect(screen.getByText("In all")).toBeTruthy();
    await userEvent.click(screen.getByRole("button", { name: "Thu 11 Feb: show this day" }));
    expect(onSearch).toHaveBeenCalledWith({ day: "2021-02-11" });
    expect(await faultsOf(container)).toEqual([]);
  });

  it("has a table for each chart, and files of everything", async () => {
    const { container } = shown({ day: "2021-02-10" });
    await screen.findByTestId("waterfall-bars");
    await userEvent.click(screen.getByRole("button", { name: /Where the money of Wed 10 Feb went: show as a table/ }));
    expect(screen.getByRole("table", { name: /Where the money/ }).textContent).toContain("takes $125.00");
    await userEvent.click(await screen.findByRole("button", { name: /Awarded and delivered: show as a table/ }));
    const table = screen.getByRole("table", { name: "Every interval of the day" });
    expect(table.textContent).toContain("10 Feb 00:00 to 01:00");
    expect(table.textContent).toContain("estimated");
    const links = screen.getAllByRole("link").map((one) => new URL((one as HTMLAnchorElement).href));
    expect(links.map((one) => `${one.pathname}${one.search}`)).toContain("/api/settlement/bess/2021-02-10/export?what=shares&format=parquet");
    expect(links.map((one) => one.pathname)).toContain("/api/settlement/export");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("says what is not there yet, and offers to try again after a fault", async () => {
    answers.set("/api/settlement/bess/2021-02-11", { status: 200, body: { ...DETAIL, day: OPEN, versions: [], parts: [], disputes: [], shares: null } });
    answers.set("/api/settlement/bess/2021-02-11/waterfall", { status: 422, body: { detail: "day: wait for its meters", field: "day" } });
    const { container, unmount } = shown({ day: "2021-02-11" });
    expect(await screen.findByText("day: wait for its meters")).toBeTruthy();
    expect((await screen.findAllByText("The day is not settled yet.")).length).toBe(2);
    expect(screen.getByText("Nothing of this day is shared yet.")).toBeTruthy();
    expect(await faultsOf(container)).toEqual([]);
    unmount();
    answers.set("/api/settlement/bess/2021-02-11/waterfall", { status: 503, body: { detail: "others are being computed; ask again" } });
    shown({ day: "2021-02-11" });
    expect(await screen.findByRole("button", { name: /Try again: Where the money/ })).toBeTruthy();
  });
});
