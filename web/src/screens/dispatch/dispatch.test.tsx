// @vitest-environment jsdom
import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import { draw, faultsOf, liveNow } from "../../testing/render";
import { CALM } from "../../testing/states";
import { NewDispatch } from "./NewDispatch";
import { OneOrder, OneProposal } from "./OneOrder";
import { List } from "./Screen";
import { DETAIL, feeder, HOUR_MS, NOW, PREVIEW, PROGRAMS, PROPOSAL, ROW } from "./testing";

vi.mock("../../charts/TimeChart", () => ({ TimeChart: ({ testId, t }: { testId: string; t: number[] }) => <div data-testid={testId}>{t.length}</div> }));

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

/** Answers by method and path; what is not named is not there. Returns what was asked. */
function answers(said: Record<string, unknown>): Request[] {
  const asked: Request[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation((input, options) => {
    const url = input as URL;
    const method = options?.method ?? "GET";
    const text = typeof options?.body === "string" ? options.body : "null";
    asked.push({ method, path: `${url.pathname}${url.search}`, body: JSON.parse(text) });
    const found = said[method === "GET" ? url.pathname : `${method} ${url.pathname}`];
    if (found instanceof Response) return Promise.resolve(found.clone());
    return Promise.resolve(found === undefined ? Response.json({ detail: `there is no ${url.pathname}` }, { status: 404 }) : Response.json(found));
  });
  return asked;
}

const GROUPS = { as_of_ms: 0, total: 1, offset: 0, limit: 50, groups: [feeder()] };
const FORM = { "/api/groups": GROUPS, "/api/programs": PROGRAMS, "POST /api/dispatch/preview": PREVIEW };
const LIVE = { live: { state: { ...CALM, now_ms: 60_000 } } };
const SERIES = { order_id: "o-1", from_ms: 0, until_ms: HOUR_MS, step_ms: 60_000, seam_ms: 60_000, t_ms: [0, 60_000], commanded_kw: [-20, -20], measured_kw: [-9, -12], low_kw: [-11, -14], high_kw: [-8, -10], coverage_frac: [1, 1], gap: [false, false] };
const ORDER = { "/api/dispatch/orders/o-1": DETAIL, "/api/dispatch/orders/o-1/series": SERIES };
const following = (now: unknown): Parameters<typeof liveNow>[0] => ({ state: { ...CALM, now_ms: 120_000 }, feeds: new Map([["order/o-1", { as_of_ms: 120_000, value: now, fault: null }]]) });

vi.setConfig({ testTimeout: 30_000 });
const SOON = { timeout: 10_000 };
afterEach(() => {
  vi.restoreAllMocks();
  window.location.hash = "";
});

async function previewed(said: Record<string, unknown> = {}): Promise<{ asked: Request[]; container: Element }> {
  const asked = answers({ ...FORM, ...said });
  const { container } = draw(<NewDispatch group="feeder-7" onGroup={() => undefined} />, LIVE);
  await waitFor(() => expect((screen.getByLabelText("Power of all together, kW") as HTMLInputElement).value).toBe("18"), SOON);
  await waitFor(() => expect((screen.getByLabelText("Program") as HTMLSelectElement).value).toBe("emergency"), SOON);
  await userEvent.type(screen.getByLabelText("Reason, for the record"), "hot evening");
  await userEvent.click(screen.getByRole("button", { name: "Preview" }));
  await screen.findByTestId("preview-expected", {}, SOON);
  return { asked, container };
}

describe("a new dispatch", () => {
  it("says every fault at its field before anything is sent, and goes to the first", async () => {
    const asked = answers(FORM);
    const { container } = draw(<NewDispatch group="" onGroup={() => undefined} />, LIVE);
    await screen.findByRole("option", { name: "Emergency" }, SOON);
    await userEvent.clear(screen.getByLabelText("Lasts, minutes"));
    await userEvent.type(screen.getByLabelText("Lasts, minutes"), "0");
    await userEvent.click(screen.getByRole("button", { name: "Preview" }));
    const group = screen.getByLabelText("Group");
    expect(group.getAttribute("aria-invalid")).toBe("true");
    expect(screen.getByText("Name the group: begin to type and choose one of the list.")).toBeTruthy();
    expect(screen.getByText("Give the power in kW.")).toBeTruthy();
    expect(screen.getByText("Give 1 to 20160 minutes (14 days).")).toBeTruthy();
    await waitFor(() => expect(document.activeElement).toBe(group));
    expect(asked.some((one) => one.method === "POST")).toBe(false);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("shows what it would come to: who stays out and why, range, limits, cost, rebound, feeders", async () => {
    const { asked, container } = await previewed();
    expect(asked.find((one) => one.method === "POST")?.body).toEqual({ setpoint: { sites: [], groups: ["feeder-7"], fleet: false, discharge_kw: 18, program: "emergency", reason: "hot evening", preview: "", minutes: 60 } });
    const text = (id: string): string => screen.getByTestId(id).textContent ?? "";
    expect(text("preview")).toContain("between 15 kW and 19 kW, nine times in ten");
    expect(text("preview")).toContain("Owners take part as they did lately.");
    expect(text("preview-part")).toBe("8 of 12 sites");
    expect(text("preview-out")).toContain("2 sites are silent; they are told as soon as they speak");
    expect(text("preview-limits")).toContain("energy or what the owner keeps");
    expect(text("preview-limits")).toContain("it goes after emergencies");
    expect(text("preview-cost")).toContain("costs $1.20, between $1.00 and $1.40, nine times in ten");
    expect(text("preview-cost")).toContain("wear of the batteries");
    expect(text("preview-rebound")).toContain("At the most 22 kW together, 16 kWh until all is as before");
    expect(text("preview-feeders")).toContain("Feeder 7");
    expect(text("preview")).not.toContain("-17");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("lists the sites behind a reason", async () => {
    await previewed({ "/api/dispatch/preview/p-1/sites": { token: "p-1", reason: "silent", total: 1, offset: 0, limit: 50, rows: [{ site_id: "home-3", reason: "silent", asked_kw: -1, expected_kw: 0, sustained_kw: 0, soc_frac: 0.5, age_s: null }] } });
    await userEvent.click(screen.getByRole("button", { name: /^Show them: 2 sites are silent/ }));
    const dialog = await screen.findByTestId("preview-sites");
    expect((await within(dialog).findByRole("link", { name: "home-3" })).getAttribute("href")).toBe("#/site/home-3");
    expect(dialog.textContent).toContain("never");
    expect(await faultsOf(dialog)).toEqual([]);
  });

  it("launches with the preview's name after asking once, and not when the reader thinks better of it", async () => {
    const { asked } = await previewed({ "POST /api/commands/setpoints": { order_id: "o-1" } });
    await userEvent.click(screen.getByTestId("launch"));
    const dialog = await screen.findByRole("dialog", { name: "Launch this?" });
    expect(dialog.textContent).toContain("Discharge 20 kW with 8 sites of Feeder 7");
    expect(dialog.textContent).toContain("between 15 kW and 19 kW, nine times in ten");
    await userEvent.click(within(dialog).getByRole("button", { name: "Leave it" }));
    expect(asked.some((one) => one.path === "/api/commands/setpoints")).toBe(false);
    await userEvent.click(screen.getByTestId("launch"));
    await userEvent.click(within(await screen.findByRole("dialog")).getByRole("button", { name: "Launch" }));
    await waitFor(() => expect(window.location.hash).toBe("#/dispatch/o-1"));
    expect(asked.find((one) => one.path === "/api/commands/setpoints")?.body).toMatchObject({ groups: ["feeder-7"], discharge_kw: 18, preview: "p-1" });
  });

  it("is proposed where a second person is needed, and says what the plant refuses", async () => {
    const { asked } = await previewed({ "POST /api/dispatch/preview": { ...PREVIEW, needs_second: true, second_above_kw: 10 }, "POST /api/dispatch/proposals": PROPOSAL });
    expect(screen.getByText(/Above 10 kW this plant asks for a second person/)).toBeTruthy();
    await userEvent.click(screen.getByTestId("launch"));
    await userEvent.click(within(await screen.findByRole("dialog", { name: "Propose this?" })).getByRole("button", { name: "Propose it" }));
    await waitFor(() => expect(window.location.hash).toBe("#/dispatch/q-1?proposal=1"));
    expect(asked.find((one) => one.path === "/api/dispatch/proposals")?.body).toMatchObject({ reason: "hot evening", preview: "p-1", setpoint: { discharge_kw: 18 } });
  });

  it("says that a preview is old when what is asked has changed, and does not launch it", async () => {
    const { container } = await previewed();
    await userEvent.clear(screen.getByLabelText("Lasts, minutes"));
    await userEvent.type(screen.getByLabelText("Lasts, minutes"), "90");
    expect(screen.getByTestId("preview-old").textContent).toContain("What you ask has changed since.");
    expect(screen.getByTestId("launch")).toHaveProperty("disabled", true);
    expect(await faultsOf(container)).toEqual([]);
    await userEvent.click(within(screen.getByTestId("preview-old")).getByRole("button", { name: "Preview again" }));
    await waitFor(() => expect(screen.getByTestId("preview-old").textContent).toBe(""));
  });

  it("shows a refusal of the plant at its field", async () => {
    answers({ ...FORM, "POST /api/dispatch/preview": Response.json({ detail: "minutes must not be 60", field: "minutes", fix: "Give at most 30." }, { status: 422 }) });
    draw(<NewDispatch group="feeder-7" onGroup={() => undefined} />, LIVE);
    await waitFor(() => expect((screen.getByLabelText("Power of all together, kW") as HTMLInputElement).value).toBe("18"), SOON);
    await screen.findByRole("option", { name: "Emergency" }, SOON);
    await userEvent.click(screen.getByRole("button", { name: "Preview" }));
    expect(await screen.findByText("minutes must not be 60. Give at most 30.")).toBeTruthy();
    expect(screen.getByLabelText("Lasts, minutes").getAttribute("aria-invalid")).toBe("true");
  });
});

describe("an order", () => {
  it("shows commanded against measured with its range, feeder by feeder, who refused and why, and its audit", async () => {
    answers(ORDER);
    const { container } = draw(<OneOrder orderId="o-1" />, { live: following(NOW) });
    const feeders = await screen.findByTestId("order-feeders", {}, SOON);
    expect(feeders.textContent).toContain("8 of 12");
    expect(feeders.textContent).toContain("1 no energy");
    expect(feeders.textContent).toContain("The controller shares a set-point anew");
    const now = screen.getByTestId("order-now").textContent;
    expect(now).toContain("discharging 17 kW");
    expect(now).toContain("between 15 kW and 19 kW, nine times in ten");
    expect(now).toContain("75.0 %");
    expect(now).not.toContain("-17");
    expect(screen.getByTestId("order").textContent).toContain("discharging 17 kW, between 15 kW and 19 kW");
    const audit = screen.getByTestId("order-audit").textContent ?? "";
    expect(audit.indexOf("Refused by a device")).toBeLessThan(audit.indexOf("Launched"));
    expect(await faultsOf(container)).toEqual([]);
  });

  it("is aborted after asking once, with a reason, and extended to an instant that is said", async () => {
    const asked = answers({ ...ORDER, "POST /api/commands/orders/o-1/end": {}, "POST /api/commands/orders/o-1/change": {} });
    draw(<OneOrder orderId="o-1" />, { live: following(NOW) });
    await userEvent.click(await screen.findByRole("button", { name: /^Extend/ }, SOON));
    const dialog = await screen.findByRole("dialog", { name: "Extend this order" });
    await userEvent.selectOptions(within(dialog).getByLabelText("By how long"), "1 hour");
    expect(dialog.textContent).toContain("It then ends at Thu 1 Jan 1970 02:00:00 UTC.");
    await userEvent.click(within(dialog).getByRole("button", { name: "Extend" }));
    await waitFor(() => expect(screen.getByTestId("order-said").textContent).toBe("It now ends at 1 Jan 02:00."));
    expect(asked.find((one) => one.path.endsWith("/change"))?.body).toEqual({ revision: 1, end_ms: 2 * HOUR_MS, reason: "" });
    await userEvent.click(screen.getByRole("button", { name: /^Abort/ }));
    const question = await screen.findByRole("dialog", { name: "Abort this order?" });
    const act = within(question).getByRole("button", { name: "Abort the order" });
    expect(act).toHaveProperty("disabled", true);
    await userEvent.type(within(question).getByLabelText("Reason"), "wrong feeder");
    await userEvent.click(act);
    await waitFor(() => expect(asked.find((one) => one.path.endsWith("/end"))?.body).toEqual({ now: true, reason: "wrong feeder" }));
  });

  it("is read only for who may not operate, says when it is over, and when its feed has a fault", async () => {
    answers(ORDER);
    const { unmount } = draw(<OneOrder orderId="o-1" />, { rights: ["see"], live: { ...following(NOW), feeds: new Map([["order/o-1", { as_of_ms: 0, value: null, fault: "the twins do not answer" }]]) } });
    expect((await screen.findAllByText("the twins do not answer", {}, SOON)).length).toBe(2);
    expect(screen.queryByRole("button", { name: /^Abort/ })).toBeNull();
    unmount();
    answers({ ...ORDER, "/api/dispatch/orders/o-1": { ...DETAIL, row: { ...ROW, phase: "past", state: "aborted" } } });
    draw(<OneOrder orderId="o-1" />, { live: following(null) });
    expect((await screen.findAllByText("It is over: nothing is asked any more.", {}, SOON)).length).toBe(2);
    expect(screen.getByTestId("order").textContent).toContain("aborted");
  });
});

describe("a proposal", () => {
  it("is approved by somebody else, who sees what it would come to", async () => {
    const asked = answers({ "/api/dispatch/proposals/q-1": PROPOSAL, "POST /api/dispatch/proposals/q-1/approve": { ...PROPOSAL, state: "approved", order_id: "o-1" } });
    const { container } = draw(<OneProposal proposalId="q-1" />, LIVE);
    await userEvent.type(await screen.findByLabelText("Note", {}, SOON), "fine");
    expect(screen.getByTestId("proposal").textContent).toContain("discharging 17 kW, between 15 kW and 19 kW");
    expect(await faultsOf(container)).toEqual([]);
    await userEvent.click(screen.getByRole("button", { name: "Approve" }));
    await waitFor(() => expect(asked.find((one) => one.path.endsWith("/approve"))?.body).toEqual({ note: "fine" }));
  });
  it("of one's own can be withdrawn, not approved; a refusal says why", async () => {
    answers({ "/api/dispatch/proposals/q-1": { ...PROPOSAL, by: "ada" }, "POST /api/dispatch/proposals/q-1/withdraw": Response.json({ detail: "it was decided already" }, { status: 409 }) });
    draw(<OneProposal proposalId="q-1" />, LIVE);
    expect(await screen.findByText("You proposed this: somebody else has to approve it.", {}, SOON)).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Approve" })).toBeNull();
    await userEvent.click(screen.getByRole("button", { name: "Withdraw" }));
    expect(await screen.findByText("it was decided already")).toBeTruthy();
  });
});

describe("the list", () => {
  const page = (rows: unknown[]): unknown => ({ as_of_ms: 0, now_ms: 0, total: rows.length, offset: 0, limit: 50, counts: { running: 1, waiting: 1 }, rows });
  it("shows what runs with asked and measured, and by keyboard what waits", async () => {
    answers({ "/api/dispatch": page([ROW]) });
    const chosen: string[] = [];
    const { container } = draw(<List tab="running" onTab={(tab) => chosen.push(tab)} />, LIVE);
    expect((await screen.findByRole("link", { name: ROW.title }, SOON)).getAttribute("href")).toBe("#/dispatch/o-1");
    expect(screen.getByTestId("orders").textContent).toContain("discharging 17 kW");
    expect(await faultsOf(container)).toEqual([]);
    screen.getByRole("tab", { name: /^Running/ }).focus();
    await userEvent.keyboard("{ArrowRight}{ArrowRight}");
    expect(chosen).toEqual(["planned", "planned"]);
  });
  it("says that nothing runs, that nobody needs a second person, and what could not be had", async () => {
    answers({ "/api/dispatch": page([]), "/api/dispatch/proposals": { above_kw: null, now_ms: 0, total: 0, offset: 0, limit: 100, rows: [] } });
    const { rerender } = draw(<List tab="running" onTab={() => undefined} />, LIVE);
    expect(await screen.findByText("Nothing is asked of any battery now.", {}, SOON)).toBeTruthy();
    rerender(<List tab="waiting" onTab={() => undefined} />);
    expect(await screen.findByText("Nothing waits: this plant asks for no second person.", {}, SOON)).toBeTruthy();
    answers({});
    rerender(<List tab="past" onTab={() => undefined} />);
    expect(await screen.findByRole("button", { name: /Try again: Past/ }, SOON)).toBeTruthy();
  });
});
