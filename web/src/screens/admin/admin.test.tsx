// @vitest-environment jsdom
import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CALM } from "../../testing/states";
import { draw, faultsOf } from "../../testing/render";
import { Lines } from "./AuditTab";
import { DeviceRows, SecretDialog } from "./DevicesTab";
import { QuarantinePanel, SeriesRows } from "./FeedsTab";
import { MarketPanel } from "./MarketsTab";
import { ProgramsTab } from "./ProgramsTab";
import { strings } from "./strings";
import { HealthPanel, Owners, ownersState, SystemTab } from "./SystemTab";
import { UsersTab } from "./UsersTab";
import { dayStartMs, freeWords, gateWords, madePassword, namesIn, room, SEEN, serviceWords, TABS, tabOf, type DevicePage, type DeviceView, type MarketView, type ProgramAdmin, type SystemAdmin, type UserView } from "./words";

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

/** Answers as the plant would; remembers what was sent. */
function answering(said: Record<string, unknown>, refusing?: unknown): Sent[] {
  const sent: Sent[] = [];
  vi.stubGlobal(
    "fetch",
    vi.fn(async (url: URL, options: RequestInit) => {
      const method = String(options.method);
      if (method !== "GET") sent.push({ method, path: url.pathname, body: JSON.parse(String(options.body ?? "null")) as unknown });
      if (method !== "GET" && refusing !== undefined) return new Response(JSON.stringify(refusing), { status: 422 });
      const found = Object.entries(said).find(([path]) => url.pathname === path);
      if (method === "DELETE") return new Response(null, { status: 204 });
      return new Response(JSON.stringify(found ? found[1] : { detail: "it is away" }), { status: found ? 200 : 404 });
    }),
  );
  return sent;
}

afterEach(() => vi.unstubAllGlobals());

function user(part: Partial<UserView> = {}): UserView {
  return { name: "bob", roles: ["operator"], sites: [], made_ms: 0, made_by: "ada", password_ms: 0, sessions: 2, ...part };
}

function device(part: Partial<DeviceView> = {}): DeviceView {
  return {
    device_id: "home-1", kind: "site", device_type: "home", sites: 1, state: "enrolled", enrolled_ms: 0, revoked_ms: null, firmware: null, asked: true,
    heard_ms: 5, age_s: 12, grade: "fresh", ...part,
  };
}

function pageOf(rows: DeviceView[]): DevicePage {
  return { as_of_ms: 0, devices: 1_000_000, enrolled: 3, revoked: 1, missing: 2, limit: 50, next: null, rows };
}

function system(part: Partial<SystemAdmin> = {}): SystemAdmin {
  return {
    as_of_ms: 0, wall_ms: 0, version: "1.0", python: "3.11", database: "sqlite", schema_revision: "0020", roles: [], owners: [], owners_fault: "", leases: [], clients: 2,
    slow_clients: 0, message_age_s: 1, host: { processors: 2, load_1min: 0.5, memory_bytes: 1024 ** 3, memory_free_bytes: 1024 ** 2, disk_bytes: null, disk_free_bytes: null }, ...part,
  };
}

const MARKET: MarketView = {
  market_id: "m", name: "A market", zone: "UTC", currency: "USD", day: "2021-02-10", resources: ["bess"], settlement_s: 900,
  products: [
    {
      product_id: "da", name: "day-ahead", kind: "energy", first_day: "2010-12-01", last_day: null, traded: true, interval_s: 3600, interval_from: "2010-12-01", floor_per_mwh: -250, cap_per_mwh: 5000,
      limits: [
        { effective_from: "2010-12-01", floor_per_mwh: -250, cap_per_mwh: 9000, in_force: false },
        { effective_from: "2022-01-01", floor_per_mwh: -250, cap_per_mwh: 5000, in_force: true },
      ],
      gates: [{ kind: "auction", closes_at: "10:00", lead_s: 0, publishes_at: "13:30" }], next_gate_ms: 3_600_000, quantity_minimum_mw: 0.1, quantity_step_mw: 0.1, price_tick_per_mwh: 0.01,
    },
  ],
};

const PROGRAM: ProgramAdmin = {
  place: 1, program_id: "peak", name: "Peak", kind: "power", exclusive: false, may_opt_out: true, minimum_notice_s: 7200, pays: "energy", terms: "", sites: 4, opted_out_sites: 1,
  asks_everybody: false, standing_orders: 1, next_order_ms: 1, services: [{ service_id: "s", kind: "peak_shaving", group: "feeder-1", windows: ["17:00-21:00"], zone: "America/Chicago" }],
};

describe("words", () => {
  it("goes to the tab that the address names, if the reader may see it", () => {
    expect(tabOf("audit", TABS)).toBe("audit");
    expect(tabOf("audit", SEEN)).toBe("markets");
    expect(tabOf(undefined, TABS)).toBe("users");
  });

  it("makes up passwords that are long enough and never the same", () => {
    const made = new Set(Array.from({ length: 50 }, () => madePassword()));
    expect(made.size).toBe(50);
    for (const one of made) expect(one).toMatch(/^[a-zA-Z2-9]{20}$/);
    // a number too large to be shared out evenly is drawn again
    let drawn = 0;
    expect(madePassword((n) => new Uint32Array(n).fill(drawn++ === 0 ? 2 ** 32 - 1 : 0))).toBe("a".repeat(20));
  });

  it("reads names out of a field, each once", () => {
    expect(namesIn(" home-1, home-2;home-1\nhome-3 ")).toEqual(["home-1", "home-2", "home-3"]);
  });

  it("says room as people say it of disks", () => {
    expect([room(12), room(1536), room(5 * 1024 ** 3)]).toEqual(["12 B", "1.5 KiB", "5.0 GiB"]);
    expect(freeWords(1, 20)).toEqual({ words: "1 B of 20 B, 5 %", little: true });
    expect(freeWords(10, 20).little).toBe(false);
  });

  it("knows when a day begins in a zone, on either side of a change of the clocks", () => {
    expect(dayStartMs("2021-02-10", "UTC")).toBe(Date.UTC(2021, 1, 10));
    expect(dayStartMs("2021-02-10", "America/Chicago")).toBe(Date.UTC(2021, 1, 10, 6));
    expect(dayStartMs("2021-03-14", "America/Chicago")).toBe(Date.UTC(2021, 2, 14, 6));
    expect(dayStartMs("2021-03-14", "America/Chicago", 1)).toBe(Date.UTC(2021, 2, 15, 5));
    expect(dayStartMs("2021-11-07", "America/Chicago", 1)).toBe(Date.UTC(2021, 10, 8, 6));
    expect(dayStartMs("2021-02-10", "Australia/Brisbane")).toBe(Date.UTC(2021, 1, 9, 14));
    expect(dayStartMs("soon", "UTC")).toBeUndefined();
    expect(dayStartMs("2021-99-99", "UTC")).toBeUndefined();
    expect(dayStartMs(undefined, "UTC")).toBeUndefined();
  });

  it("says when bids close and when services act", () => {
    expect(MARKET.products[0]?.gates.map(gateWords)).toEqual(["10:00 the day before, results 13:30"]);
    expect(gateWords({ kind: "interval", closes_at: null, lead_s: 20, publishes_at: null })).toBe("20 s before each interval");
    expect(serviceWords(PROGRAM)).toEqual(["peak shaving at feeder-1, 17:00-21:00 (America/Chicago)"]);
  });
});

describe("users", () => {
  it("lets nobody but an administrator be the first", async () => {
    answering({ "/api/admin/users": [] });
    const { container } = draw(<UsersTab />, { live: { state: CALM } });
    expect(await screen.findByText(/this machine alone may use the page/)).toBeTruthy();
    const hand = userEvent.setup();
    await hand.click(screen.getByRole("button", { name: "Add a user" }));
    const dialog = screen.getByRole("dialog", { name: "Add a user" });
    await hand.click(within(dialog).getByRole("checkbox", { name: /^administrator/ }));
    await hand.click(within(dialog).getByRole("checkbox", { name: /^viewer/ }));
    expect(within(dialog).getByText(strings.users.firstAdmin)).toBeTruthy();
    expect(within(dialog).getByRole("button", { name: "Add this user" }).hasAttribute("disabled")).toBe(true);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("adds somebody with a password that was made up and is shown to be handed over", async () => {
    const sent = answering({ "/api/admin/users": [user({ name: "ada" })], "/api/admin/users/vera": user({ name: "vera" }) });
    draw(<UsersTab />, { live: { state: CALM } });
    const hand = userEvent.setup();
    await hand.click(await screen.findByRole("button", { name: "Add a user" }));
    const dialog = screen.getByRole("dialog");
    await hand.type(within(dialog).getByRole("textbox", { name: /^Name/ }), "vera");
    await hand.click(within(dialog).getByRole("button", { name: "Make up a password" }));
    const field = within(dialog).getByLabelText<HTMLInputElement>(/^Password/);
    expect([field.type, field.value.length]).toEqual(["text", 20]);
    const password = field.value;
    await hand.click(within(dialog).getByRole("button", { name: "Add this user" }));
    expect(await screen.findByText("vera is saved.")).toBeTruthy();
    expect(screen.queryByRole("dialog")).toBeNull();
    expect(document.body.textContent).not.toContain(password);
    expect(sent).toEqual([{ method: "PUT", path: "/api/admin/users/vera", body: { roles: ["viewer"], sites: [], password } }]);
  });

  it("keeps the dialog and says the plant's words when it refuses", async () => {
    answering({ "/api/admin/users": [user({ name: "ada" }), user()] }, { detail: "sites: '0 sites' cannot be used; name the homeowner's sites", fix: "name the homeowner's sites" });
    draw(<UsersTab />, { live: { state: CALM } });
    const hand = userEvent.setup();
    await hand.click(await screen.findByRole("button", { name: "Change bob" }));
    await hand.click(screen.getByRole("button", { name: "Save" }));
    expect(await screen.findByText(/name the homeowner's sites/)).toBeTruthy();
    expect(screen.getByRole("dialog", { name: "Change bob" })).toBeTruthy();
  });

  it("asks before somebody is removed, and offers nobody to remove oneself", async () => {
    const sent = answering({ "/api/admin/users": [user({ name: "ada" }), user()] });
    const { container } = draw(<UsersTab />, { live: { state: CALM } });
    const hand = userEvent.setup();
    await hand.click(await screen.findByRole("button", { name: "Remove bob" }));
    expect(screen.queryByRole("button", { name: "Remove ada" })).toBeNull();
    const dialog = screen.getByRole("dialog", { name: "Remove bob?" });
    expect(within(dialog).getByText(/2 open sessions end at once/)).toBeTruthy();
    await hand.click(within(dialog).getByRole("button", { name: "Leave it" }));
    expect(sent).toEqual([]);
    await hand.click(screen.getByRole("button", { name: "Remove bob" }));
    await hand.click(within(screen.getByRole("dialog")).getByRole("button", { name: "Remove this user" }));
    expect(await screen.findByText("bob is removed.")).toBeTruthy();
    expect(sent.map((one) => [one.method, one.path])).toEqual([["DELETE", "/api/admin/users/bob"]]);
    expect(await faultsOf(container)).toEqual([]);
  });
});

describe("devices", () => {
  it("offers to each what it can have, and says when it was heard", async () => {
    const rows = [
      device(),
      device({ device_id: "gw-1", kind: "gateway", device_type: null, sites: 40, state: "missing", enrolled_ms: null, heard_ms: null, age_s: null, grade: "unknown" }),
      device({ device_id: "gw-2", kind: "gateway", device_type: null, sites: 0, asked: false, heard_ms: null, age_s: null, grade: null }),
      device({ device_id: "home-2", state: "revoked", revoked_ms: 5, asked: false, heard_ms: null, age_s: null, grade: null }),
    ];
    const onEnrol = vi.fn();
    const { container } = draw(<DeviceRows page={pageOf(rows)} busy={false} onEnrol={onEnrol} onRevoke={vi.fn()} />, { live: { state: CALM } });
    expect(screen.getByRole("button", { name: "Revoke home-1" })).toBeTruthy();
    expect(screen.getByRole("button", { name: "Enrol gw-1" })).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Revoke home-2" })).toBeNull();
    expect(screen.getByText("gateway of 40 sites")).toBeTruthy();
    expect(screen.getByText(strings.devices.heardNever)).toBeTruthy();
    expect(screen.getByText(strings.devices.notAsked)).toBeTruthy();
    expect(screen.getByText(strings.devices.noSite)).toBeTruthy();
    await userEvent.setup().click(screen.getByRole("button", { name: "New secret for home-2" }));
    expect(onEnrol).toHaveBeenCalledWith(rows[3]);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("shows a secret until it is noted, and never after", async () => {
    const onClose = vi.fn();
    const { container } = draw(<SecretDialog enrolled={{ device_id: "home-1", secret: "s".repeat(43), enrolled_ms: 0, replaced: true }} onClose={onClose} />);
    expect(screen.getByTestId("device-secret").textContent).toBe("s".repeat(43));
    expect(screen.getByText(strings.devices.secretReplaced)).toBeTruthy();
    expect(await faultsOf(container)).toEqual([]);
    await userEvent.setup().click(screen.getByRole("button", { name: strings.devices.done }));
    expect(onClose).toHaveBeenCalledOnce();
  });
});

describe("what is seen by everybody", () => {
  it("shows the rules of a market with the days from which they hold", async () => {
    const { container } = draw(<MarketPanel market={MARKET} />, { live: { state: CALM } });
    expect(screen.getByText("this plant bids here: bess")).toBeTruthy();
    expect(screen.getAllByText("from 2022-01-01")).toHaveLength(1);
    expect(screen.getByText("10:00 the day before, results 13:30")).toBeTruthy();
    expect(await faultsOf(container)).toEqual([]);
  });

  it("shows programs with who takes part and what stands", async () => {
    answering({ "/api/admin/programs": { as_of_ms: 0, sites: 9, sites_with_hours: 2, programs: [PROGRAM, { ...PROGRAM, program_id: "x", asks_everybody: true, services: [], standing_orders: 0, next_order_ms: null }] } });
    const { container } = draw(<ProgramsTab />, { live: { state: CALM } });
    expect(await screen.findByText("4 of 9")).toBeTruthy();
    expect(screen.getByText(strings.programs.everybody)).toBeTruthy();
    expect(screen.getByText(/2 sites keep hours/)).toBeTruthy();
    expect(await faultsOf(container)).toEqual([]);
  });

  it("tells old knowledge from knowledge of which nobody said how old it may be", async () => {
    const series = { series_id: "price/x", unit: "USD/MWh", facts: 5, latest_end_ms: 1, known_ms: 1, age_s: 7200, expected_s: 3600, state: "stale", set_aside: 0 } as const;
    const { container } = draw(<SeriesRows rows={[series, { ...series, series_id: "y", expected_s: null, state: "unjudged" }]} />, { live: { state: CALM } });
    expect(screen.getByText("too old")).toBeTruthy();
    expect(screen.getAllByText("no limit said")).toHaveLength(1);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("shows services and messages set aside, live", async () => {
    const health = [{ role: "control", status: "down", restarts: 3, since_ms: 5 }] as const;
    const quarantine = { total: 2, by_reason: { bad_length: 2 }, recent: [{ arrival_ms: 5, site_id: "home-1", reason: "bad_length", detail: "3 bytes", size_bytes: 3 }] };
    const { container } = draw(
      <>
        <HealthPanel />
        <QuarantinePanel />
      </>,
      { live: { state: { ...CALM, health: [...health], quarantine } } },
    );
    expect(screen.getByText("down")).toBeTruthy();
    expect(screen.getByText("2 set aside")).toBeTruthy();
    expect(screen.getAllByText("bad length")).toHaveLength(2);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("says what is known of the system when the owners are not", async () => {
    answering({ "/api/admin/system": system({ owners_fault: "stream OWNERS: it does not answer" }) });
    const { container } = draw(<SystemTab />, { live: { state: CALM } });
    expect(await screen.findByText(/Who owns what is not known now: stream OWNERS/)).toBeTruthy();
    expect(screen.getByText("1.0 MiB of 1.0 GiB, 0 %")).toBeTruthy();
    expect(screen.getByText(strings.system.little)).toBeTruthy();
    expect(screen.getByText(strings.system.diskElsewhere)).toBeTruthy();
    expect(await faultsOf(container)).toEqual([]);
  });

  it("tells apart who is alive, gone, and never was", () => {
    const unit = { group: "live", unit: "shard_0", owner: "a", alive: true, token: 1, position: 1, journal_end: 3, behind: 2 };
    draw(<Owners system={system({ owners: [unit, { ...unit, unit: "shard_1", alive: false }, { ...unit, group: "history", unit: "merge", owner: "", alive: false, behind: null }] })} />);
    expect(screen.getByText(strings.system.gone)).toBeTruthy();
    expect(screen.getAllByText(strings.system.nobody)).toHaveLength(2);
    expect(ownersState({ kind: "ready" }, system())).toEqual({ kind: "empty", words: strings.system.ownersEmpty });
    expect(ownersState({ kind: "stale", ageS: 9 }, system({ owners: [unit] }))).toEqual({ kind: "stale", ageS: 9 });
  });
});

it("shows lines of the audit, what was refused too, and who is nobody in particular", async () => {
  const line = { kind: "orders", at_ms: 5, by: "", action: "device enrolled", about: "o-1", outcome: "refused", detail: "why" } as const;
  const { container } = draw(<Lines lines={[line, { ...line, by: "ada", outcome: "done" }]} />, { live: { state: CALM } });
  expect(screen.getByText(strings.audit.plant)).toBeTruthy();
  expect(screen.getAllByText("refused")).toHaveLength(1);
  await waitFor(() => expect(screen.getAllByRole("row")).toHaveLength(3));
  expect(await faultsOf(container)).toEqual([]);
});
