// @vitest-environment jsdom
import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { WorkflowRun } from "../../api/types";
import { draw, faultsOf } from "../../testing/render";
import { CALM } from "../../testing/states";
import { OneRun } from "./Run";
import { merged, Runs } from "./Screen";
import { isLate, marksOf, placesOf, sentWords, shareOf, tookWords, type Detail, type Step } from "./words";

const HOUR_MS = 3_600_000;
const GATE_MS = Date.parse("2021-02-09T16:00:00Z");

const RUN: WorkflowRun = {
  workflow_id: "big-0", kind: "bid", resource_id: "big", delivery_date: "2021-02-10", gate_ms: GATE_MS, started_ms: GATE_MS - HOUR_MS, finished_ms: GATE_MS - HOUR_MS,
  status: "accepted", rung: "quick", rung_reason: "fresh: took too long", steps: [],
};

const STEP: Step = { phase: "decide", name: "fresh", start_ms: GATE_MS - HOUR_MS, took_s: 5, budget_s: 5, outcome: "took too long", held: false, by: "day-ahead 3" };

const DETAIL: Detail = {
  run: RUN,
  zone: "America/Chicago",
  gate: { market_id: "ercot-da", product_id: "day-ahead", kind: "auction", delivery_date: "2021-02-10", covers_start_ms: GATE_MS + 14 * HOUR_MS, covers_end_ms: GATE_MS + 38 * HOUR_MS, closes_ms: GATE_MS },
  sent_ms: GATE_MS - HOUR_MS / 2,
  late: false,
  steps: [STEP, { ...STEP, name: "quick", took_s: 0.012, budget_s: 2, outcome: "ok", held: true }, { ...STEP, phase: "send", name: "accepted", took_s: 1, budget_s: null, outcome: "ercot-7", held: true, by: "bidding-1" }],
  decision: {
    decision_id: "big-0", trigger: "schedule", as_of_ms: GATE_MS - HOUR_MS, record_no: 4, strategy: "day-ahead", strategy_version: "3", rung: "quick", better_rungs: 1,
    reason: "fresh: took too long", reasons: ["charges while prices are low"], relaxed: [], expected_amount: "12.34000000", currency: "USD", stored_kwh: 40, capacity_kwh: 200,
    silent_frac: 0.05, withheld: ["two homes opted out"], standing_revision: null, fixed_by_hand: 0,
    inputs: [
      { series_id: "price/a", from_ms: 0, to_ms: GATE_MS, intervals: 960, known_ms: GATE_MS - 30 * HOUR_MS, age_s: 104_400, reaches_ms: GATE_MS, source: "ercot-da", stale_after_s: 3_600, state: "stale" },
      { series_id: "load/a", from_ms: 0, to_ms: GATE_MS, intervals: 0, known_ms: null, age_s: null, reaches_ms: null, source: "", stale_after_s: null, state: "missing" },
    ],
  },
  bid: { bid_key: "big-0", revision: 1, state: "accepted", author: "" },
  no_replay: "",
};

const NO_REPLAY = { workflow_id: "big-0", state: "none", verdict: null, same: null, differs: [], reason: "", by: "", began_ms: null, took_s: null };

const answers = new Map<string, unknown>();
const asked: string[] = [];

beforeEach(() => {
  asked.length = 0;
  answers.clear();
  answers.set("/api/runs", [RUN]);
  answers.set("/api/runs/big-0", DETAIL);
  answers.set("/api/runs/big-0/replay", NO_REPLAY);
  vi.stubGlobal(
    "fetch",
    vi.fn((url: URL, options?: RequestInit) => {
      const path = new URL(url).pathname;
      asked.push(`${options?.method ?? "GET"} ${path}`);
      const body = answers.get(path);
      return Promise.resolve(new Response(JSON.stringify(body ?? { detail: "there is no such run" }), { status: body === undefined ? 404 : 200, headers: { "Content-Type": "application/json" } }));
    }),
  );
});

describe("words", () => {
  it("mark what is late, by hand, or on a lower rung", () => {
    expect(marksOf(RUN, GATE_MS)).toEqual(["fallback"]);
    expect(marksOf({ ...RUN, rung_reason: "" }, GATE_MS)).toEqual([]);
    expect(marksOf({ ...RUN, status: "missed" }, null)).toEqual(["late", "fallback"]);
    expect(marksOf({ ...RUN, rung: "manual", rung_reason: "made by ada" }, null)).toEqual(["manual"]);
    expect(marksOf({ ...RUN, rung: "standing", rung_reason: "declined: nothing to decide" }, null)).toEqual(["standing"]);
    expect(marksOf({ ...RUN, kind: "settle", rung: "provisional", rung_reason: "0 intervals" }, null)).toEqual([]);
    expect(isLate({ ...RUN, status: "draft", finished_ms: null }, GATE_MS)).toBe(true);
    expect(isLate({ ...RUN, status: "draft", finished_ms: null }, GATE_MS - 1)).toBe(false);
  });

  it("say whether a bid was in time", () => {
    expect(sentWords(DETAIL)).toBe("Sent 30 min before the gate.");
    expect(sentWords({ ...DETAIL, sent_ms: GATE_MS + 60_000 })).toBe("Sent 60 s after the gate: the market could not take it.");
    expect(sentWords({ ...DETAIL, sent_ms: null, run: { ...RUN, status: "draft" } })).toBe("Not sent yet.");
    expect(sentWords({ ...DETAIL, sent_ms: null, run: { ...RUN, status: "standing" } })).toMatch(/was left as it is/);
  });

  it("place decision, sending and gate in their order", () => {
    const places = placesOf(DETAIL);
    expect(places.map((one) => one.key)).toEqual(["decided", "sent", "gate"]);
    expect(places[1]?.at).toBeCloseTo(0.5);
    expect(placesOf({ ...DETAIL, gate: null })).toEqual([]);
    expect(shareOf(STEP)).toBe(1);
    expect(shareOf({ ...STEP, budget_s: null })).toBeNull();
    expect([tookWords(0.0123), tookWords(0), tookWords(5)]).toEqual(["12 ms", "0.0 s", "5.0 s"]);
  });

  it("count a run once, the live word first", () => {
    const live = { ...RUN, status: "superseded" };
    expect(merged([RUN], [live, { ...RUN, workflow_id: "later", started_ms: GATE_MS }]).map((one) => one.status)).toEqual(["accepted", "superseded"]);
  });
});

describe("the list", () => {
  it("shows what a person should look at, and nothing else when asked", async () => {
    const calm = { ...RUN, workflow_id: "calm", rung_reason: "", rung: "fresh" };
    answers.set("/api/runs", [RUN, calm]);
    const onSearch = vi.fn();
    const { container, unmount } = draw(<Runs search={{}} onSearch={onSearch} />, { live: { state: CALM } });
    expect(await screen.findAllByRole("link", { name: /show the run for big/ })).toHaveLength(2);
    expect(screen.getByText("lower rung")).toBeTruthy();
    await userEvent.selectOptions(screen.getByLabelText("Show"), "odd");
    expect(onSearch).toHaveBeenCalledWith({ show: "odd" });
    expect(await faultsOf(container)).toEqual([]);
    unmount();
    draw(<Runs search={{ show: "odd" }} onSearch={onSearch} />, { live: { state: CALM } });
    expect(await screen.findAllByRole("link", { name: /show the run for big/ })).toHaveLength(1);
  });

  it("says that there is none yet, and that none fits", async () => {
    const { unmount } = draw(<Runs search={{ day: "2020-01-01" }} onSearch={vi.fn()} />, { live: { state: CALM } });
    expect(await screen.findByText("No run fits what is chosen above.")).toBeTruthy();
    unmount();
    answers.set("/api/runs", []);
    draw(<Runs search={{}} onSearch={vi.fn()} />, { live: { state: CALM } });
    expect(await screen.findByText(/No run yet/)).toBeTruthy();
  });
});

describe("one run", () => {
  it("shows steps against the gate, why a better rung did not hold, and how old its inputs were", async () => {
    const { container } = draw(<OneRun workflowId="big-0" />, { live: { state: CALM } });
    expect((await screen.findByTestId("run-way")).getAttribute("aria-label")).toContain("gate 10:00");
    expect(screen.getByText("One better rung did not hold.")).toBeTruthy();
    expect(screen.getByText("12 ms of 2.0 s")).toBeTruthy();
    const inputs = within(screen.getByTestId("run-inputs"));
    expect(inputs.getByText("older than it may be")).toBeTruthy();
    expect(inputs.getByText("nothing was known")).toBeTruthy();
    expect(inputs.getByText("29 h old")).toBeTruthy();
    await userEvent.click(screen.getByRole("button", { name: /Against the gate: show as a table/ }));
    expect(screen.getByRole("table", { name: "Against the gate" }).textContent).toContain("no limit kept");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("decides again, and names what differs", async () => {
    draw(<OneRun workflowId="big-0" />, { live: { state: CALM } });
    await screen.findByText("Nobody asked for it lately.");
    answers.set("/api/runs/big-0/replay", {
      ...NO_REPLAY, state: "done", verdict: "different", same: false, by: "ada", took_s: 2,
      differs: [{ what: "facts", where: "price/a at 10:00", recorded: "1", replayed: "2" }],
    });
    await userEvent.click(screen.getByRole("button", { name: "Decide again" }));
    expect(asked).toContain("POST /api/runs/big-0/replay");
    expect(await screen.findByText("One thing differs.")).toBeTruthy();
    expect(screen.getByText("price/a at 10:00")).toBeTruthy();
  });

  it("offers no replay to who may not trade, nor where nothing was decided", async () => {
    const { unmount } = draw(<OneRun workflowId="big-0" />, { rights: ["see"], live: { state: CALM } });
    expect(await screen.findByText(/takes the right to trade/)).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Decide again" })).toBeNull();
    unmount();
    answers.set("/api/runs/big-0", { ...DETAIL, run: { ...RUN, kind: "settle" }, gate: null, sent_ms: null, decision: null, bid: null, no_replay: "nothing was decided in it" });
    draw(<OneRun workflowId="big-0" />, { live: { state: CALM } });
    expect(await screen.findByText(/cannot be decided again: nothing was decided in it/)).toBeTruthy();
    expect(screen.getByText("No inputs are kept of this run.")).toBeTruthy();
  });
});
