// @vitest-environment jsdom
import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Right } from "../../api/types";
import { alarm, CALM } from "../../testing/states";
import { draw, faultsOf } from "../../testing/render";
import { ActDialog } from "./acts";
import { stepsOf } from "./Detail";
import { GroupList } from "./GroupList";
import { causeOf, evidenceLink, extentOf, kindsOf, moneyOf, powerOf, type AlarmGroup } from "./groups";
import { standing } from "./Screen";
import { strings } from "./strings";

const HOUR_MS = 3_600_000;

function group(part: Partial<AlarmGroup> = {}): AlarmGroup {
  return {
    cause: "group:feeder-1", kind: "group", subject: "feeder-1", name: "Feeder 1", hierarchy_id: "grid", path: ["Grid", "Feeder 1"], severity: "major",
    kinds: [{ kind: "communication_loss", count: 3 }], count: 3, open_count: 3, shelved_count: 0, shelved_until_ms: null, acknowledged: false, sites: 40,
    since_ms: 0, oldest_age_s: 300, lost_kw: 200, low_kw: 150, high_kw: 260, numbers: [1, 2, 3],
    money: [{ resource_id: "homes", currency: "USD", low_per_h: "0.00", expected_per_h: "4.00", high_per_h: "8.00", sold_kw: 500, price_per_mwh: 40, until_ms: HOUR_MS }],
    evidence: [{ kind: "gateway", id: "gw-1", label: "gw-1" }], ...part,
  };
}

const MEMBERS = { as_of_ms: 0, cause: "group:feeder-1", total: 1, offset: 0, limit: 50, alarms: [{ alarm: alarm({ number: 7 }), shelved: null }] };

/** Answers as the plant would; remembers what was sent. */
function answering(said: Record<string, unknown>): { sent: { path: string; body: unknown }[] } {
  const sent: { path: string; body: unknown }[] = [];
  vi.stubGlobal(
    "fetch",
    vi.fn(async (url: URL, options: RequestInit) => {
      const found = Object.entries(said).find(([path]) => url.pathname === path);
      if (options.method !== "GET") sent.push({ path: url.pathname, body: JSON.parse(String(options.body ?? "null")) as unknown });
      return new Response(JSON.stringify(found ? found[1] : { detail: "it is away" }), { status: found ? 200 : 503 });
    }),
  );
  return { sent };
}

afterEach(() => vi.unstubAllGlobals());

function list(groups: AlarmGroup[], { open = null, rights = ["see", "operate"] }: { open?: string | null; rights?: Right[] } = {}): { container: Element; onOpen: ReturnType<typeof vi.fn> } {
  const onOpen = vi.fn();
  const { container } = draw(<GroupList groups={groups} asOfMs={5} open={open} onOpen={onOpen} />, { rights, live: { state: CALM } });
  return { container, onOpen };
}

describe("a group in words", () => {
  it("names its cause", () => {
    expect(causeOf(group())).toBe("Feeder 1");
    expect(causeOf(group({ kind: "gateway", name: "gw-1" }))).toBe("Gateway gw-1");
    expect(causeOf(group({ kind: "weather", name: "Tornado Warning" }))).toBe("In the area of: Tornado Warning");
    expect(causeOf(group({ kind: "type", subject: "ev_charger" }))).toBe("One type of device: car charger");
    expect(causeOf(group({ kind: "part", subject: "shard_without_owner" }))).toBe("Shard without owner");
    expect(causeOf(group({ kind: "kind", subject: "clock_fault" }))).toBe("Clock at fault, with no common place");
    expect(causeOf(group({ kind: "kind", subject: "clock_fault", count: 1, name: "home-3" }))).toBe("home-3");
    expect(causeOf(group({ kind: "other", name: "" }))).toBe(strings.causes.other);
  });

  it("says every kind of trouble, and at least how many sites", () => {
    const two = [{ kind: "communication_loss", count: 2 }, { kind: "clock_fault", count: 1 }];
    expect(kindsOf(group({ kinds: two }))).toBe("Communication lost; Clock at fault");
    expect(kindsOf(group({ kinds: [...two, { kind: "samples_lost", count: 1 }] }))).toBe("Communication lost and 2 more kinds");
    expect(extentOf(group({ kinds: two }))).toEqual(["3 alarms", "at least 40 sites"]);
    expect(extentOf(group({ sites: 0 }))).toEqual(["3 alarms"]);
  });

  it("never says a power or an amount without how sure it is", () => {
    expect(powerOf(group())).toEqual({ value: "200 kW", sure: "between 150 kW and 260 kW" });
    expect(powerOf(group({ low_kw: 200, high_kw: 200 }))).toEqual({ value: "200 kW", sure: "exact" });
    expect(powerOf(group({ lost_kw: 0, low_kw: 0, high_kw: 0 }))).toEqual({ value: "none", sure: "exact" });
    expect(powerOf(group({ lost_kw: null, low_kw: null, high_kw: null })).sure).toBeNull();
    expect(moneyOf(group())).toEqual([{ value: expect.stringContaining("$4.00"), sure: expect.stringContaining("$8.00") }]);
    expect(moneyOf(group({ money: [] }))).toEqual([]);
  });

  it("links only to screens that there are", () => {
    const site = { kind: "site", id: "home-1", label: "home-1" } as const;
    expect(evidenceLink(site, [])).toBeNull();
    expect(evidenceLink(site, ["/site/$siteId"])).toBe("/site/home-1");
    expect(evidenceLink({ kind: "gateway", id: "gw", label: "gw" })).toBeNull();
    expect(evidenceLink({ kind: "system", id: "", label: "" }, ["/admin"])).toBe("/admin?tab=system");
  });

  it("tells calm, put aside, waiting, old and failed apart", () => {
    const said = (groups: AlarmGroup[]) => ({ as_of_ms: 0, alarms: groups.length, groups });
    expect(standing(null, null, "standing", null).kind).toBe("loading");
    expect(standing(said([]), null, "standing", null)).toEqual({ kind: "empty", words: strings.groups.empty });
    const aside = said([group({ shelved_until_ms: 1 })]);
    expect(standing(aside, null, "standing", null)).toEqual({ kind: "empty", words: strings.groups.allShelved });
    expect(standing(aside, null, "shelved", null).kind).toBe("ready");
    expect(standing(said([group()]), null, "shelved", null)).toEqual({ kind: "empty", words: strings.groups.shelvedEmpty });
    expect(standing(said([group()]), null, "standing", 60)).toEqual({ kind: "stale", ageS: 60 });
    expect(standing(said([group()]), "the database is away", "standing", null)).toEqual({ kind: "error", words: "the database is away" });
  });
});

describe("the list", () => {
  it("is walked and acted on by keyboard alone", async () => {
    const { sent } = answering({ "/api/alarms/groups/ack": { cause: "x", done: 3, left: 2, refused: [{ number: 9, why: "bob has already" }] } });
    const { container, onOpen } = list([group(), group({ cause: "other", kind: "other", name: "" })]);
    const user = userEvent.setup();
    expect(await faultsOf(container)).toEqual([]);
    await user.tab();
    await user.keyboard("{ArrowDown}");
    expect(document.activeElement?.textContent).toBe(strings.causes.other);
    await user.keyboard("{Home}{Enter}");
    expect(onOpen).toHaveBeenCalledWith("group:feeder-1");
    await user.keyboard("a");
    const dialog = screen.getByRole("dialog", { name: "Acknowledge 3 alarms of Feeder 1" });
    await user.type(within(dialog).getByLabelText("Note"), "crew sent");
    await user.click(within(dialog).getByRole("button", { name: "Acknowledge" }));
    await waitFor(() => expect(screen.getByText("Done for 3 alarms. 2 alarms are left: do it again. 1 alarm refused: bob has already.")).toBeTruthy());
    expect(sent).toEqual([{ path: "/api/alarms/groups/ack", body: { cause: "group:feeder-1", as_of_ms: 5, note: "crew sent" } }]);
    expect(screen.queryByRole("dialog")).toBeNull();
  });

  it("puts aside for a time and a reason, and takes back", async () => {
    const done = { cause: "x", done: 3, left: 0, refused: [] };
    const { sent } = answering({ "/api/alarms/groups/shelve": done, "/api/alarms/groups/return": done });
    list([group(), group({ cause: "other", kind: "other", shelved_count: 1 })]);
    const user = userEvent.setup();
    await user.tab();
    await user.keyboard("s");
    const dialog = screen.getByRole("dialog");
    const send = within(dialog).getByRole("button", { name: "Put aside" });
    expect(send.hasAttribute("disabled")).toBe(true);
    await user.selectOptions(within(dialog).getByLabelText("For how long"), "1 hour");
    await user.type(within(dialog).getByLabelText("Reason"), "known work");
    await user.click(send);
    await waitFor(() => expect(screen.getByText("Done for 3 alarms.")).toBeTruthy());
    await user.click(screen.getByRole("button", { name: /Take back/ }));
    await waitFor(() => expect(sent.map((one) => one.path)).toEqual(["/api/alarms/groups/shelve", "/api/alarms/groups/return"]));
    expect(sent[0]?.body).toEqual({ cause: "group:feeder-1", as_of_ms: 5, minutes: 60, reason: "known work" });
  });

  it("shows who may not act no way to, and says so", async () => {
    const { container } = list([group()], { rights: ["see"] });
    expect(screen.queryByRole("button", { name: /Acknowledge/ })).toBeNull();
    expect(screen.getByText(strings.act.mayNot)).toBeTruthy();
    const user = userEvent.setup();
    await user.tab();
    await user.keyboard("a");
    expect(screen.queryByRole("dialog")).toBeNull();
    expect(await faultsOf(container)).toEqual([]);
  });

  it("opens a group: its path, the award, where to look, its alarms", async () => {
    answering({ "/api/alarms/groups/members": MEMBERS });
    const { container } = list([group()], { open: "group:feeder-1" });
    expect(await screen.findByText("Grid › Feeder 1")).toBeTruthy();
    expect(screen.getByText(/homes has sold 500 kW at \$40.00\/MWh until/)).toBeTruthy();
    expect(screen.getByText("Gateway gw-1")).toBeTruthy();
    const link = await screen.findByRole("link", { name: "Communication lost" });
    expect(link.getAttribute("href")).toBe("#/alarms/7");
    expect(await faultsOf(container)).toEqual([]);
  });
});

it("keeps the dialog open and says why when the plant refuses", async () => {
  const onClose = vi.fn();
  draw(<ActDialog act="acknowledge" howMany="1 alarm" name="Feeder 1" onDo={() => Promise.reject(new Error("the alarm desk does not answer"))} onClose={onClose} />);
  await userEvent.setup().click(screen.getByRole("button", { name: "Acknowledge" }));
  expect(await screen.findByText("the alarm desk does not answer")).toBeTruthy();
  expect(onClose).not.toHaveBeenCalled();
});

it("tells the steps of an alarm and of the shelf in one order", () => {
  const step = { t_ms: 1, action: "raised", by: "", alarm: alarm() } as const;
  const noted = { t_ms: 9, action: "acknowledged", by: "ada", alarm: alarm({ note: "crew sent" }) } as const;
  const aside = { number: 1, t_ms: 5, action: "shelved", by: "bob", reason: "known work", until_ms: HOUR_MS } as const;
  const steps = stepsOf({ alarm: alarm(), steps: [step, noted] }, { number: 1, shelved: null, steps: [aside] }, "UTC");
  expect(steps.map((one) => one.action)).toEqual(["raised", "shelved", "acknowledged"]);
  expect(steps[1]?.said).toBe("until 1 Jan 01:00, known work");
  expect(steps[2]?.said).toBe("crew sent");
});
