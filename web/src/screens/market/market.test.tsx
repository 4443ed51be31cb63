// @vitest-environment jsdom
import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Right } from "../../api/types";
import { draw, faultsOf as axeFaults } from "../../testing/render";
import { CALM } from "../../testing/states";
import { bodyOf, faultsOf, firstForm, needsExpectation, numberOf, placeOf, shapeOf } from "./manual";
import { BID, DETAIL, DIFF, MACHINE, OFFER, PLAN, PRICES, PRODUCT, RESOURCE, RULES, START_MS, HOUR_MS, draftOf } from "./samples";
import { Market } from "./Screen";
import { authorWords, coveredOf, distanceWords, linesOf, nextGate, offeredOf, piecesOf, signedMegawatts, usualDay, whyWords } from "./words";

// whole screens are drawn and looked over by axe, on a machine that may be busy
vi.setConfig({ testTimeout: 20_000 });

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

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const answers = new Map<string, Answer | ((body: unknown) => Answer)>();
const asked: { method: string; path: string; body: unknown }[] = [];

beforeEach(() => {
  asked.length = 0;
  answers.clear();
  const ok = (body: unknown): Answer => ({ status: 200, body });
  answers.set("GET /api/market/products", ok({ as_of_ms: START_MS, resources: [RESOURCE], products: [PRODUCT] }));
  answers.set("GET /api/market/prices", ok(PRICES));
  answers.set("GET /api/market/rules", ok(RULES));
  answers.set("GET /api/market/plan", ok(PLAN));
  answers.set("GET /api/market/bids", ok({ as_of_ms: START_MS, resource_id: "bess", market_id: "ercot-da", day: "2021-02-11", zone: "America/Chicago", currency: "USD", bids: [BID, MACHINE] }));
  answers.set(`GET /api/market/bids/${BID.key}`, ok(DETAIL));
  answers.set(`GET /api/market/bids/${BID.key}/diff`, ok(DIFF));
  answers.set("GET /api/market/manual", ok({ as_of_ms: START_MS, resource_id: "bess", manual: [] }));
  vi.stubGlobal(
    "fetch",
    vi.fn((url: URL, init?: { method?: string; body?: string }) => {
      const [method, path] = [init?.method ?? "GET", new URL(url).pathname];
      const body: unknown = init?.body === undefined ? null : JSON.parse(init.body);
      if (method !== "GET") asked.push({ method, path, body });
      const found = answers.get(`${method} ${path}`);
      const { status, body: said } = found === undefined ? { status: 404, body: { detail: `there is no ${path}` } } : typeof found === "function" ? found(body) : found;
      return Promise.resolve(new Response(JSON.stringify(said), { status, headers: { "Content-Type": "application/json" } }));
    }),
  );
});

const shown = (search: Record<string, string>, { rights, onSearch = vi.fn() }: { rights?: readonly Right[]; onSearch?: (part: Record<string, string | undefined>) => void } = {}): ReturnType<typeof draw> =>
  draw(<Market wanted="bess" search={search} onSearch={onSearch} />, { ...(rights ? { rights } : {}), live: { state: { ...CALM, now_ms: START_MS } } });

describe("words", () => {
  it("name the gate that closes next and the day that is bid for", () => {
    const later = { ...PRODUCT, gate_ms: PRODUCT.gate_ms + HOUR_MS, delivery_date: "2021-02-12" };
    const closed = { ...PRODUCT, gate_ms: PRODUCT.gate_ms - HOUR_MS, state: "closed" as const, delivery_date: "2021-02-10" };
    expect(nextGate([later, closed, PRODUCT])).toBe(PRODUCT);
    expect(usualDay([later, closed, PRODUCT])).toBe("2021-02-11");
    expect(nextGate([closed])).toBeNull();
    expect(usualDay([closed])).toBe("2021-02-10");
    expect(usualDay([])).toBeUndefined();
  });

  it("say who made a bid, what is offered and where a price comes from", () => {
    expect(authorWords(BID)).toBe("tess, by hand");
    expect(authorWords(MACHINE)).toBe("the plant, stochastic");
    const one = OFFER.intervals[0];
    if (!one) throw new Error("no interval");
    expect(linesOf("energy", { steps: one.steps, points: [], powerMw: null }, "USD")).toEqual(["buys at or below $20.00/MWh: 4.00 MW", "sells at or above $63.20/MWh: 5.00 MW"]);
    expect(linesOf("capacity", { steps: [{ side: "hold", quantity_mw: 2, price_per_mwh: 4, why: "" }], points: [], powerMw: null }, "USD")).toEqual(["holds ready at or above $4.00/MW/h: 2.00 MW"]);
    expect(signedMegawatts(-2)).toBe("discharge 2.00 MW");
    expect(whyWords(one.steps[1] ?? null, one.why, "USD")).toBe(
      "What a MWh in store is worth, with losses. Expected price $45.00/MWh. A MWh more in store is worth $51.10/MWh. Would flip to discharge at $63.20/MWh. Up against: full store.",
    );
    expect(whyWords(null, null, "USD")).toBe("No reason was kept for this price.");
    expect(distanceWords(45, 63.2, "USD")).toBe("$18.20/MWh higher");
  });

  it("draw steps outward from nothing and join the points of a curve", () => {
    const one = OFFER.intervals[0];
    if (!one) throw new Error("no interval");
    expect(offeredOf(one)).toEqual({ sellMw: 5, buyMw: 4, holdMw: 0 });
    expect(piecesOf(one).map((piece) => [piece.fromMw, piece.toMw, piece.toPrice])).toEqual([
      [0, -4, 20],
      [0, 5, 63.2],
    ]);
    const curve = { ...one, steps: [], points: [{ power_mw: 5, price_per_mwh: 10 }, { power_mw: -5, price_per_mwh: 60 }] };
    expect(piecesOf(curve)).toMatchObject([{ fromMw: -5, toMw: 5, fromPrice: 10, toPrice: 60 }]);
    expect(offeredOf(curve)).toEqual({ sellMw: 5, buyMw: 5, holdMw: 0 });
  });

  it("count what fell into the band, and nothing that was not forecast", () => {
    expect(coveredOf(PRICES)).toEqual({ inside: 1, all: 2 });
  });
});

describe("the form of a bid by hand", () => {
  const product = RULES.products[0];
  if (!product) throw new Error("no product");

  it("begins with what stands in the first open interval", () => {
    expect(shapeOf(product)).toBe("orders");
    const form = firstForm(RULES, product);
    expect(form.firstMs).toBe(START_MS + HOUR_MS);
    expect(form.rows).toEqual([{ side: "sell", mw: "5", price: "63.2" }]);
  });

  it("says what is missing at its place, before anything is asked", () => {
    const form = { ...firstForm(RULES, product), rows: [{ side: "sell" as const, mw: "much", price: "" }] };
    const made = bodyOf(RULES, product, form);
    expect("faults" in made && [...made.faults.keys()].sort()).toEqual(["reason", "row-0-mw", "row-0-price"]);
  });

  it("lists every interval from the first to the last", () => {
    const form = { ...firstForm(RULES, product), lastMs: START_MS + 2 * HOUR_MS, reason: "outage" };
    const made = bodyOf(RULES, product, form);
    if ("faults" in made) throw new Error("it has faults");
    expect(made.body).toMatchObject({
      resource_id: "bess",
      delivery_date: "2021-02-11",
      reason: "outage",
      offers: [{ product: "day-ahead", shape: "orders", intervals: [{ start_ms: START_MS + HOUR_MS, orders: [{ side: "sell", quantity_mw: 5, price_per_mwh: 63.2 }] }, { start_ms: START_MS + 2 * HOUR_MS }] }],
    });
    expect(made.body).not.toHaveProperty("power");
  });

  it("asks what to expect where a price decides the side", () => {
    const both = { ...firstForm(RULES, product), reason: "x", rows: [{ side: "sell" as const, mw: "5", price: "60" }, { side: "buy" as const, mw: "4", price: "20" }] };
    expect(needsExpectation(product, both)).toBe(true);
    const made = bodyOf(RULES, product, { ...both, expectMw: "2,5", expectWay: "discharge" });
    if ("faults" in made) throw new Error("it has faults");
    expect(made.body).toMatchObject({ power: [{ start_ms: START_MS + HOUR_MS, power_kw: -2500 }] });
    const curve = bodyOf(RULES, { ...product, shapes: ["storage_curves"] }, { ...both, expectMw: "0" });
    expect(curve).toMatchObject({ body: { offers: [{ shape: "storage_curves", intervals: [{ points: [{ power_mw: -5 }, { power_mw: 4 }] }] }] } });
    const bands = bodyOf(RULES, { ...product, shapes: ["bands"] }, both);
    expect(bands).toMatchObject({ body: { offers: [{ shape: "bands", side: "gen", band_prices_per_mwh: [60, 20], intervals: [{ band_mw: [5, 4], max_avail_mw: 9 }] }] } });
  });

  it("reads numbers as people type them", () => {
    expect([numberOf(" \u22123.5 "), numberOf("1,5"), numberOf(""), numberOf("a")]).toEqual([-3.5, 1.5, null, null]);
  });

  it("puts what the market objects to at its field, once", () => {
    expect(placeOf("offers[0].intervals[2].orders[1].price_per_mwh", 2)).toBe("row-1-price");
    expect(placeOf("orders[5].quantity_mw", 2)).toBe("row-1-mw");
    expect(placeOf("offers[0].band_prices_per_mwh[4]", 10)).toBe("row-4-price");
    expect(placeOf("fixed", 2)).toBe("expect");
    expect(placeOf("reason", 2)).toBe("reason");
    expect(placeOf("offers[0].intervals[0].power_mw", 0)).toBe("load");
    expect(placeOf("delivery_date", 2)).toBe("form");
    const same = { value: "9,500.00", fix: "at most 9,000.00" };
    const found = faultsOf([{ field: "offers[0].intervals[0].orders[0].price_per_mwh", ...same }, { field: "offers[0].intervals[1].orders[0].price_per_mwh", ...same }], 1);
    expect([...found]).toEqual([["row-0-price", ["9,500.00: at most 9,000.00."]]]);
  });
});

describe("the screen", () => {
  it("shows the gate, the fan with what it rests on, and every product", async () => {
    const onSearch = vi.fn();
    const { container } = shown({}, { onSearch });
    expect((await screen.findByTestId("gate-countdown")).textContent).toMatch(/^(1 h 00 min|59 min \d+ s)$/);
    expect(await screen.findByText("1 of 2 intervals shown")).toBeTruthy();
    expect(screen.getAllByText("Nine times in ten").length).toBe(1);
    await userEvent.click(screen.getByRole("button", { name: /Price at HB_NORTH: show as a table/ }));
    expect(screen.getByRole("table", { name: /Price at HB_NORTH/ }).textContent).toContain("$30.00/MWh to $60.00/MWh");
    await userEvent.click(screen.getByRole("button", { name: "Day-ahead energy, Thu 11 Feb: show its bids" }));
    expect(onSearch).toHaveBeenCalledWith({ tab: "bids", day: "2021-02-11", bid: undefined });
    expect(await axeFaults(container)).toEqual([]);
  });

  it("shows every revision, the prices of the newest with the reason of each, the change and the audit", async () => {
    const onSearch = vi.fn();
    const { container } = shown({ tab: "bids" }, { onSearch });
    const offers = await screen.findByTestId("market-offers");
    const step = await within(offers).findByRole("button", { name: "sells at or above $63.20/MWh: 5.00 MW" });
    step.focus();
    expect((await screen.findByRole("tooltip")).textContent).toContain("Set by hand by tess: outage");
    expect(within(offers).getByRole("img", { name: /Prices of/ })).toBeTruthy();
    await userEvent.click(within(offers).getByRole("button", { name: /What revision 2 offers: show as a table/ }));
    expect(within(offers).getByRole("table", { name: "Day-ahead energy, by interval" }).textContent).toContain("Set by hand by tess: outage");
    const diff = await screen.findByTestId("market-diff");
    await waitFor(() => expect(within(diff).getByText("sells at or above $70.00/MWh: 5.00 MW")).toBeTruthy());
    expect(within(screen.getByTestId("market-audit")).getByText("tess")).toBeTruthy();
    await userEvent.click(screen.getByRole("button", { name: "Revision 1, replaced by a later one: show it" }));
    expect(onSearch).toHaveBeenCalledWith({ bid: MACHINE.key, against: undefined });
    expect(await axeFaults(container)).toEqual([]);
  });

  it("checks an override, says at its field what is wrong, asks once, sends it", async () => {
    const problem = { field: "offers[0].intervals[0].orders[0].price_per_mwh", value: "9,500.00", fix: "at most 9,000.00" };
    answers.set("POST /api/market/manual", { status: 200, body: { ...draftOf("invalid"), problems: [problem] } });
    const { container } = shown({ tab: "bids", by: "hand" });
    const form = await screen.findByRole("form", { name: "Override by hand" });
    const typed = within(form).getByLabelText("Price per MWh");
    await userEvent.clear(typed);
    await userEvent.type(typed, "9500");
    await userEvent.type(within(form).getByLabelText("Why"), "outage of the line");
    await userEvent.click(screen.getByRole("button", { name: "Check it" }));
    await waitFor(() => expect(typed.getAttribute("aria-invalid")).toBe("true"));
    expect(document.getElementById(typed.getAttribute("aria-describedby") ?? "")?.textContent).toBe("9,500.00: at most 9,000.00.");
    expect(await axeFaults(container)).toEqual([]);

    answers.set("POST /api/market/manual", { status: 200, body: draftOf("draft") });
    answers.set("POST /api/market/manual/manual-1/submit", { status: 200, body: draftOf("submitted") });
    await userEvent.clear(typed);
    await userEvent.type(typed, "70");
    await userEvent.click(screen.getByRole("button", { name: "Check it" }));
    await userEvent.click(within(await screen.findByTestId("manual-draft")).getByRole("button", { name: "Send it to the market" }));
    expect(asked.some((one) => one.path.endsWith("/submit"))).toBe(false);
    answers.set("GET /api/market/manual", { status: 200, body: { as_of_ms: START_MS, resource_id: "bess", manual: [{ ...draftOf("submitted"), bid: BID }] } });
    const dialog = await screen.findByRole("dialog");
    expect(dialog.textContent).toContain("sells at or above $70.00/MWh: 5.00 MW");
    await userEvent.click(within(dialog).getByRole("button", { name: "Send it to the market" }));
    expect(await screen.findByText("It is revision 2: accepted.")).toBeTruthy();
    expect(asked.filter((one) => one.path.endsWith("/submit"))).toHaveLength(1);
  });

  it("says when the gate closed to who comes too late", async () => {
    answers.set("POST /api/market/manual", { status: 409, body: { detail: "the gate closed", field: "gate_ms", fix: "bid for a later day" } });
    shown({ tab: "bids", by: "hand" });
    await userEvent.type(await screen.findByLabelText("Why"), "late");
    await userEvent.click(screen.getByRole("button", { name: "Check it" }));
    await waitFor(() => expect(screen.getByTestId("manual-refused").textContent).toMatch(/Too late: the gate closed at Wed 10 Feb 2021 07:00:00 CST/));
  });

  it("lets somebody else approve what waits, and nobody their own", async () => {
    const waiting = { ...BID, state: "draft" as const, approval: "second wanted" as const, approval_words: "tess has seen it; four eyes are wanted", author: "tess" };
    answers.set(`GET /api/market/bids/${BID.key}`, { status: 200, body: { ...DETAIL, bid: waiting } });
    answers.set(`POST /api/market/bids/${BID.key}/approve`, { status: 200, body: { bid: waiting, may_go: true, words: "" } });
    const first = shown({ tab: "bids" });
    const panel = await screen.findByTestId("market-approval");
    await userEvent.click(within(panel).getByRole("button", { name: "Approve" }));
    expect(await within(panel).findByText("It may go now.")).toBeTruthy();
    expect(asked[0]?.body).toEqual({ reason: "", content_digest: BID.content_digest });
    first.unmount();
    answers.set(`GET /api/market/bids/${BID.key}`, { status: 200, body: { ...DETAIL, bid: { ...waiting, author: "ada" } } });
    shown({ tab: "bids" });
    expect(within(await screen.findByTestId("market-approval")).queryByRole("button", { name: "Approve" })).toBeNull();
  });

  it("asks before the mode is changed, with a reason", async () => {
    answers.set("PUT /api/market/bess/mode", { status: 200, body: { ...RESOURCE.mode, mode: "off" } });
    shown({ tab: "bids" });
    const panel = await screen.findByTestId("market-mode");
    await userEvent.selectOptions(within(panel).getByLabelText("How it bids"), "off");
    await userEvent.click(within(panel).getByRole("button", { name: "Set how it bids" }));
    const dialog = await screen.findByRole("dialog");
    expect(dialog.textContent).toContain("Nothing new will go to the market");
    await userEvent.type(within(dialog).getByLabelText(/Why|Reason/), "maintenance");
    await userEvent.click(within(dialog).getByRole("button", { name: "Set how it bids" }));
    await waitFor(() => expect(asked).toEqual([{ method: "PUT", path: "/api/market/bess/mode", body: { mode: "off", four_eyes: false, reason: "maintenance" } }]));
  });

  it("gives who only looks no way to change anything", async () => {
    shown({ tab: "bids", by: "hand" }, { rights: ["see"] });
    await screen.findByTestId("market-offers");
    expect(screen.queryByRole("button", { name: "Override by hand" })).toBeNull();
    expect(screen.queryByTestId("market-manual")).toBeNull();
    expect(screen.getByText("Changing this is for traders.")).toBeTruthy();
  });

  it("shows the plan with the price at which it would be another", async () => {
    const { container } = shown({ tab: "plan" });
    const flips = await screen.findByTestId("plan-flips");
    const row = within(flips).getAllByRole("row")[1];
    expect(row?.textContent).toContain("$63.20/MWh");
    expect(row?.textContent).toContain("$18.20/MWh higher");
    expect(row?.textContent).toContain("discharge");
    await userEvent.click(screen.getByRole("button", { name: /Energy in store: show as a table/ }));
    expect(screen.getByRole("table", { name: /Energy in store/ }).textContent).toContain("5.00 MWh, 50 % full");
    expect(await axeFaults(container)).toEqual([]);
  });

  it("says what is not there yet, and offers to try again after a fault", async () => {
    answers.set("GET /api/market/plan", { status: 422, body: { detail: "no plan is kept" } });
    const first = shown({ tab: "plan" });
    expect(await screen.findByText("No decision of this resource has kept a plan yet.")).toBeTruthy();
    first.unmount();
    answers.set("GET /api/market/prices", { status: 500, body: { detail: "the store does not answer" } });
    answers.set("GET /api/market/products", { status: 200, body: { as_of_ms: START_MS, resources: [], products: [] } });
    draw(<Market wanted="" search={{}} onSearch={vi.fn()} />, { live: { state: CALM } });
    expect(await screen.findByText("No resource bids in a market yet.")).toBeTruthy();
  });
});
