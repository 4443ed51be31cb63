// @vitest-environment jsdom
import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { draw, faultsOf } from "../../testing/render";
import { CALM } from "../../testing/states";
import { Forecasts, spanFrom } from "./Screen";
import { biasWords, inUnit, modelName, partWords, pWords, seriesName, skillWords, sureWords, type Scores, type Series, type Total } from "./words";

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

const DAY_MS = 86_400_000;
const START_MS = Date.parse("2021-02-10T06:00:00Z");
const ID = "forecast/price/ercot-da/HB_NORTH/day-ahead";

const SERIES: Series = {
  series_id: ID, outcome_series_id: "price/ercot-da/HB_NORTH/day-ahead", kind: "price", place: "HB_NORTH", market_id: "ercot-da", zone: "America/Chicago", unit: "USD/MWh",
  currency: "USD", by: "plant", model: "shoal day-ahead/3", model_since_ms: START_MS - DAY_MS, intervals: 96, latest_known_ms: START_MS, latest_end_ms: START_MS + 3 * DAY_MS,
  outcomes: 1_000, outcome_end_ms: START_MS + 2 * DAY_MS, resource_ids: ["bess"], none_because: "",
};

const TOTAL: Total = {
  name: "shoal day-ahead/3", n: 48, days: 2, mae: 18.4, mae_low: null, mae_high: null, pinball: 5.8, crps: 12.8, bias: -18.4, inside_frac: 0.23, naive_n: 48, naive_mae: 25,
  skill_frac: 0.264,
};

const SCORES: Scores = {
  series_id: ID, outcome_series_id: SERIES.outcome_series_id, unit: "USD/MWh", currency: "USD", zone: "America/Chicago", from_ms: 0, to_ms: START_MS + 4 * DAY_MS, step: "day",
  t_ms: [START_MS, START_MS + DAY_MS], t_end_ms: [START_MS + DAY_MS, START_MS + 2 * DAY_MS],
  champion: { name: "shoal day-ahead/3", n: [24, 24], mae: [10.9, 25.9], pinball: [2.8, 8.8], crps: [6.5, 19.1], bias: [-10.9, -25.9], inside_frac: [0.46, 0] },
  naive_n: [24, 0], naive_mae: [13.6, null], naive_crps: [13.6, null],
  challengers: [{ name: "markov", n: [24, 0], mae: [9, null], pinball: [2, null], crps: [6, null], bias: [1, null], inside_frac: [0.9, null] }],
  totals: [TOTAL], issued: 72, first_open_ms: START_MS + 2 * DAY_MS, last_open_ms: START_MS + 3 * DAY_MS,
};

const COVERAGE = {
  series_id: ID, from_ms: 0, to_ms: 1, n: 48, days: 2, inside_nominal: 0.9, inside_observed: 0.23,
  points: [
    { nominal: 0.05, observed: 0, low: null, high: null },
    { nominal: 0.5, observed: 0.4, low: 0.3, high: 0.5 },
    { nominal: 0.95, observed: 0.8, low: 0.7, high: 0.9 },
  ],
  pit: [
    { from_frac: 0, to_frac: 0.05, expected: 0.05, observed: 0, n: 0 },
    { from_frac: 0.05, to_frac: 0.5, expected: 0.45, observed: 0.4, n: 19 },
    { from_frac: 0.5, to_frac: 0.95, expected: 0.45, observed: 0.4, n: 19 },
    { from_frac: 0.95, to_frac: 1, expected: 0.05, observed: 0.2, n: 10 },
  ],
};

const CONTESTS = {
  contests: [
    {
      kind: "naive", series_id: ID, champion: "the same time a week before", challenger: "shoal day-ahead/3", days: 2, from_date: "2021-02-10", scored_to_ms: START_MS, since_ms: null,
      champion_loss: 0.266, challenger_loss: 0.122, gain_frac: 0.54, p_value: 1, verdict: "collecting", why: "2 of at least 14 days",
    },
  ],
  trained: 0, shadows: 0, alpha_frac: 0.05, least_days: 14,
};

const answers = new Map<string, unknown>();

beforeEach(() => {
  answers.clear();
  answers.set("/api/forecast/series", { series: [SERIES] });
  answers.set("/api/forecast/scores", SCORES);
  answers.set("/api/forecast/coverage", COVERAGE);
  answers.set("/api/forecast/contests", CONTESTS);
  vi.stubGlobal(
    "fetch",
    vi.fn((url: URL) => Promise.resolve(new Response(JSON.stringify(answers.get(new URL(url).pathname)), { status: 200, headers: { "Content-Type": "application/json" } }))),
  );
});

describe("words", () => {
  it("say how sure a number is, and how it compares", () => {
    expect(sureWords(TOTAL, SERIES)).toBe("from 2 days: too few to say how sure");
    expect(sureWords({ ...TOTAL, mae_low: 15, mae_high: 21 }, SERIES)).toBe("between $15.00/MWh and $21.00/MWh, nine times in ten");
    expect([skillWords(0.264), skillWords(-0.1), skillWords(0), skillWords(null)]).toEqual(["the forecast is 26 % better", "the forecast is 10 % worse", "no better, no worse", "no week before is known"]);
    expect([biasWords(-3, SERIES), biasWords(3, SERIES), biasWords(0, SERIES), biasWords(null, SERIES)]).toEqual(["$3.00/MWh too low", "$3.00/MWh too high", "neither high nor low", "not known"]);
    expect([pWords(1e-9), pWords(0.04)]).toEqual(["at most 0.001", "at most 0.040"]);
  });

  it("name what is forecast, by whom, in which unit", () => {
    expect(seriesName(SERIES)).toContain("Price at HB_NORTH");
    expect(seriesName({ ...SERIES, kind: "load", place: "VIC1", market_id: "nem" })).toContain("Load of VIC1");
    expect([modelName("shoal day-ahead/3"), modelName("aemo"), modelName("")]).toEqual(["day-ahead/3", "aemo", "not known"]);
    expect(inUnit(5_231.4, { currency: "", unit: "MW" })).toBe("5,231 MW");
    expect([partWords(0, 0.05), partWords(0.05, 0.5), partWords(0.95, 1)]).toEqual(["below the 5 % quantile", "5 % to 50 %", "above the 95 % quantile"]);
  });

  it("ask for whole days, so that the question stays the same", () => {
    expect(spanFrom("31", START_MS)).toEqual({ fromMs: null, toMs: null });
    const { fromMs, toMs } = spanFrom("92", START_MS);
    expect((toMs ?? 0) - (fromMs ?? 0)).toBe(92 * DAY_MS);
    expect(spanFrom("92", START_MS + 1)).toEqual({ fromMs, toMs });
  });
});

describe("the screen", () => {
  const shown = (search: Record<string, string> = {}, onSearch = vi.fn()): ReturnType<typeof draw> => draw(<Forecasts search={search} onSearch={onSearch} />, { live: { state: CALM } });

  it("shows scores, coverage and contests, each with its table", async () => {
    const { container } = shown();
    expect((await screen.findByTestId("forecast-mae")).textContent).toBe("$18.40/MWh");
    expect(screen.getByText("48 of 72 intervals")).toBeTruthy();
    expect((await screen.findByTestId("coverage-plot")).getAttribute("aria-label")).toContain("should be 50 %, was 40 %");
    expect(within(screen.getByTestId("pit-parts")).getAllByRole("listitem")).toHaveLength(4);
    expect(await screen.findByText("still collecting")).toBeTruthy();
    expect(screen.getByText(/No models are trained at this plant/)).toBeTruthy();
    await userEvent.click(screen.getByRole("button", { name: /Error over time: show as a table/ }));
    const table = screen.getByRole("table", { name: "Scores by day or week" });
    expect(table.textContent).toContain("In the shadow: markov");
    expect(table.textContent).toContain("not known");
    await userEvent.click(screen.getByRole("button", { name: /Is it honest about itself: show as a table/ }));
    expect(screen.getByRole("table", { name: "Coverage of the quantiles" }).textContent).toContain("too few days to say");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("says what is missing and when it comes", async () => {
    answers.set("/api/forecast/scores", { ...SCORES, t_ms: [], t_end_ms: [], totals: [{ ...TOTAL, n: 0, mae: null }], first_open_ms: START_MS });
    answers.set("/api/forecast/coverage", { ...COVERAGE, n: 0, points: [], pit: [] });
    answers.set("/api/forecast/contests", { ...CONTESTS, contests: [] });
    const { unmount } = shown();
    expect((await screen.findAllByText(/72 intervals are forecast, none can be scored yet. The first one starts 10 Feb 00:00/)).length).toBe(2);
    expect((await screen.findAllByText(/Nothing of it can be scored yet/)).length).toBe(2);
    expect(await screen.findByText(/a contest begins with the first day that is scored/)).toBeTruthy();
    unmount();
    answers.set("/api/forecast/series", { series: [{ ...SERIES, intervals: 0, model: "", model_since_ms: null, latest_end_ms: null, none_because: "no bid was decided yet" }] });
    const { unmount: leave } = shown();
    expect(await screen.findByText("no bid was decided yet")).toBeTruthy();
    expect(screen.queryByTestId("forecast-total")).toBeNull();
    leave();
    answers.set("/api/forecast/series", { series: [] });
    shown();
    expect(await screen.findByText(/No forecast is kept yet/)).toBeTruthy();
  });
});
