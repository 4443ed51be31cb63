// @vitest-environment jsdom
import { act, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState, type ReactElement } from "react";
import { describe, expect, it, vi } from "vitest";
import { RefusedError, UnreachedError } from "../api/client";
import { batteryPhrase, batteryRange } from "../format/power";
import { CALM, sessionOf } from "../testing/states";
import { draw, faultsOf, liveNow } from "../testing/render";
import { Allowed } from "./Allowed";
import { BigTable, compared, sortAfter } from "./BigTable";
import { Breadcrumb } from "./Breadcrumb";
import { useConfirm } from "./Confirm";
import { DataTable } from "./DataTable";
import { Age, arrowOf, Coverage, Estimate, Figure, PowerWords } from "./figures";
import { FourEyes } from "./FourEyes";
import { Countdown, Instant, Interval } from "./Instant";
import { Panel, standing } from "./Panel";
import { stateOfQuery } from "./panelState";
import { Severity } from "./Severity";
import { placeAfter, Tabs } from "./Tabs";

const LATE_MS = Date.parse("2021-02-10T16:00:00Z");

describe("Panel", () => {
  const panel = (props: Partial<Parameters<typeof Panel>[0]>): ReactElement => (
    <Panel title="Power" {...props}>
      {() => <p>content</p>}
    </Panel>
  );

  it.each([
    ["ready", { state: { kind: "ready" } }, "content"],
    ["empty", { state: { kind: "empty", words: "Nothing yet." } }, "Nothing yet."],
    ["partial", { state: { kind: "partial", words: "One shard is missing." } }, "One shard is missing."],
    ["error", { state: { kind: "error", words: "The plant does not answer." } }, "The plant does not answer."],
    ["stale", { state: { kind: "stale", ageS: 90 } }, "90 s old"],
  ] as const)("has a face for %s that axe has nothing against", async (kind, props, words) => {
    const { container } = draw(panel(props));
    expect(screen.getByText(words)).toBeTruthy();
    expect(container.querySelector("section")?.getAttribute("data-state")).toBe(kind);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("is loading until the parts that it needs are here", () => {
    const { container } = draw(panel({ parts: ["alarms"] }), { live: { state: {} } });
    expect(container.querySelector("section")?.getAttribute("aria-busy")).toBe("true");
    expect(screen.queryByText("content")).toBeNull();
    liveNow({ state: CALM });
    expect(screen.getByText("content")).toBeTruthy();
    expect(standing({ state: null }, { parts: ["alarms"], state: { kind: "ready" } }).kind).toBe("loading");
  });

  it("says that live content is old while the connection is gone", () => {
    draw(panel({}), { live: { link: "reconnecting", state: CALM } });
    expect(screen.getByText("not up to date")).toBeTruthy();
  });

  it("tries again, and shows the same as a table", async () => {
    const retry = vi.fn();
    const { rerender } = draw(panel({ state: { kind: "error", words: "no" }, onRetry: retry }));
    await userEvent.click(screen.getByRole("button", { name: "Try again: Power" }));
    expect(retry).toHaveBeenCalledOnce();
    rerender(panel({ table: () => <p>rows</p> }));
    await userEvent.click(screen.getByRole("button", { name: "Power: show as a table" }));
    expect(screen.getByText("rows")).toBeTruthy();
  });

  it("keeps a fault in its content to itself", () => {
    const silent = vi.spyOn(console, "error").mockImplementation(() => undefined);
    draw(
      <>
        <Panel title="Broken">{() => { throw new Error("oh"); }}</Panel>
        {panel({})}
      </>,
    );
    expect(screen.getByText("content")).toBeTruthy();
    expect(screen.getByRole("alert").textContent).toContain("could not be drawn");
    silent.mockRestore();
  });

  it("stands as its question does", () => {
    const base = { isPending: false, isError: false, error: null, data: [1], dataUpdatedAt: 1_000 };
    expect(stateOfQuery(base).kind).toBe("ready");
    expect(stateOfQuery({ ...base, data: undefined, isPending: true }).kind).toBe("loading");
    expect(stateOfQuery(base, () => "none")).toEqual({ kind: "empty", words: "none" });
    expect(stateOfQuery({ ...base, isError: true }, undefined, 61_000)).toEqual({ kind: "stale", ageS: 60 });
    const failed = { ...base, data: undefined, isError: true };
    expect(stateOfQuery({ ...failed, error: new RefusedError("limit", 422, "limit", "give at most 5") })).toEqual({ kind: "error", words: "limit. give at most 5" });
    expect(stateOfQuery({ ...failed, error: new UnreachedError("x") })).toEqual({ kind: "error", words: "The plant does not answer." });
  });
});

describe("figures", () => {
  it("never stand without how sure they are", async () => {
    const { container } = draw(
      <>
        <Estimate lowKw={-900} expectedKw={-850} highKw={-800} color="--battery" say={batteryPhrase} range={batteryRange} reportedKw={-600} testId="battery" />
        <Coverage frac={0.987} countFrac={0.97} />
        <Coverage frac={null} />
        <Age seconds={400} staleAfterS={300} />
        <Age seconds={null} />
        <Figure label="Power" value="1 kW" hint="What it is." />
        <Severity value="critical" />
      </>,
    );
    expect(screen.getByTestId("battery").textContent).toBe("discharging 850 kW");
    expect(container.textContent).toContain("between 800 kW and 900 kW, nine times in ten");
    expect(container.textContent).toContain("fresh sites alone: discharging 600 kW");
    expect(container.textContent).toContain("98.7 %");
    expect(container.textContent).toContain("out of date");
    expect(container.textContent).toContain("no value yet");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("say a direction in a word and an arrow", () => {
    draw(
      <>
        <PowerWords kw={3.2} kind="battery" />
        <PowerWords kw={-5} kind="solar" />
        <PowerWords kw={1} kind="load" />
        <PowerWords kw={-1} kind="grid" />
        <PowerWords kw={null} kind="grid" />
      </>,
    );
    for (const words of ["charging 3.2 kW", "generating 5.0 kW", "using 1.0 kW", "exporting 1.0 kW", "no value"]) expect(screen.getByText(words)).toBeTruthy();
    expect([arrowOf(3), arrowOf(-3), arrowOf(0)]).toEqual(["down", "up", null]);
  });
});

describe("instants", () => {
  it("are local, with UTC on hover", async () => {
    const { container } = draw(
      <>
        <Instant ms={LATE_MS} show="clock" />
        <Interval startMs={LATE_MS} endMs={LATE_MS + 3_600_000} />
        <Countdown toMs={LATE_MS + 90_000} over="over" />
      </>,
      { live: { state: { ...CALM, zone: "America/Chicago", now_ms: LATE_MS, speed: null } } },
    );
    const time = container.querySelector("time");
    expect(time?.textContent).toBe("Wed 10 Feb 2021 10:00:00 CST");
    expect(time?.title).toBe("2021-02-10 16:00:00 UTC. Shown in America/Chicago.");
    expect(container.textContent).toContain("10 Feb 10:00 to 11:00");
    expect(container.textContent).toContain("1 min 30 s");
    expect(await faultsOf(container)).toEqual([]);
  });
});

describe("BigTable", () => {
  interface Row {
    readonly id: string;
    readonly kw: number | null;
  }
  const rows: Row[] = Array.from({ length: 10_000 }, (_, i) => ({ id: `home-${i}`, kw: i === 5 ? null : (i * 37) % 10_000 }));
  const columns = [
    { id: "id", label: "Site", cell: (row: Row) => row.id, sort: (row: Row) => row.id },
    { id: "kw", label: "Power", cell: (row: Row) => String(row.kw), sort: (row: Row) => row.kw, end: true },
  ];

  it("draws only what is in view, and tells how many there are", async () => {
    const { container } = draw(<BigTable caption="Sites" columns={columns} rows={rows} rowKey={(row) => row.id} />);
    const table = screen.getByRole("table", { name: "Sites" });
    expect(table.getAttribute("aria-rowcount")).toBe("10001");
    const drawn = within(table).getAllByRole("row").length;
    expect(drawn).toBeGreaterThan(5);
    expect(drawn).toBeLessThan(60);
    expect(screen.getByText("10,000 rows")).toBeTruthy();
    expect(await faultsOf(container)).toEqual([]);
  });

  it("is sorted by its heads, with what is unknown last either way", async () => {
    draw(<BigTable caption="Sites" columns={columns} rows={rows.slice(0, 8)} rowKey={(row) => row.id} />);
    const values = (): string[] => screen.getAllByRole("row").slice(1).map((row) => within(row).getAllByRole("cell")[1]?.textContent ?? "");
    await userEvent.click(screen.getByRole("button", { name: /Power/ }));
    expect(values()).toEqual(["0", "37", "74", "111", "148", "222", "259", "null"]);
    await userEvent.click(screen.getByRole("button", { name: /Power/ }));
    expect(values()).toEqual(["259", "222", "148", "111", "74", "37", "0", "null"]);
    expect(screen.getByRole("columnheader", { name: /Power/ }).getAttribute("aria-sort")).toBe("descending");
    expect(sortAfter({ id: "kw", descending: true }, "kw")).toBeNull();
    expect(compared("home-10", "home-9")).toBeGreaterThan(0);
  });

  it("is walked and opened by the keyboard", async () => {
    const open = vi.fn();
    draw(<BigTable caption="Sites" columns={columns} rows={rows.slice(0, 8)} rowKey={(row) => row.id} onOpen={open} />);
    const body = screen.getAllByRole("row").slice(1);
    act(() => body[0]?.focus());
    await userEvent.keyboard("{ArrowDown}{ArrowDown}{ArrowUp}");
    expect(document.activeElement).toBe(body[1]);
    await userEvent.keyboard("{Enter}");
    expect(open).toHaveBeenCalledWith(rows[1]);
    await userEvent.keyboard("{End}");
    expect(document.activeElement?.getAttribute("data-index")).toBe("7");
  });
});

describe("asking before an act", () => {
  function Asking({ onAnswer, reason = true }: { onAnswer: (answer: unknown) => void; reason?: boolean }): ReactElement {
    const ask = useConfirm();
    return (
      <button type="button" onClick={() => void ask({ title: "Abort the event?", body: "812 sites stop.", act: "Abort the event", danger: true, needReason: reason, typeToConfirm: "fleet" }).then(onAnswer)}>
        open
      </button>
    );
  }

  it("takes a reason and the word before it lets anybody act", async () => {
    const answer = vi.fn();
    const { baseElement } = draw(<Asking onAnswer={answer} />);
    await userEvent.click(screen.getByText("open"));
    expect(await faultsOf(baseElement)).toEqual([]);
    const act_ = (): HTMLButtonElement => screen.getByRole("button", { name: "Abort the event" });
    expect(act_().disabled).toBe(true);
    await userEvent.type(screen.getByLabelText("Reason"), "wrong feeder");
    await userEvent.type(screen.getByLabelText(/Type/), "fleet");
    await userEvent.click(act_());
    expect(answer).toHaveBeenCalledWith({ reason: "wrong feeder" });
    expect(screen.queryByRole("dialog")).toBeNull();
  });

  it("does nothing when the reader thinks better of it", async () => {
    const answer = vi.fn();
    draw(<Asking onAnswer={answer} reason={false} />);
    await userEvent.click(screen.getByText("open"));
    expect(document.activeElement).toBe(screen.getByLabelText(/Type/));
    await userEvent.click(screen.getByRole("button", { name: "Leave it" }));
    expect(answer).toHaveBeenCalledWith(null);
  });
});

describe("FourEyes", () => {
  const proposal = { by: "ada", atMs: LATE_MS, reason: "peak" };
  const never = (): Promise<void> => Promise.reject(new Error("not here"));

  it("lets nobody approve what is their own", async () => {
    const { container } = draw(<FourEyes proposal={proposal} me="ada" mayDecide onApprove={never} onRefuse={never} />);
    expect(screen.getByText("You proposed this: somebody else has to approve it.")).toBeTruthy();
    expect(screen.queryByRole("button")).toBeNull();
    expect(await faultsOf(container)).toEqual([]);
  });

  it("sends the note, and says why it was refused", async () => {
    const approve = vi.fn(() => Promise.reject(new RefusedError("it has expired", 409)));
    draw(<FourEyes proposal={proposal} me="bob" mayDecide onApprove={approve} onRefuse={never} />);
    await userEvent.type(screen.getByLabelText("Note"), "fine");
    await userEvent.click(screen.getByRole("button", { name: "Approve" }));
    expect(approve).toHaveBeenCalledWith("fine");
    expect(screen.getByRole("alert").textContent).toBe("it has expired");
  });
});

describe("rights, tabs and ways", () => {
  it("shows what takes a right to those who have it", () => {
    draw(
      <>
        <Allowed right="operate">act</Allowed>
        <Allowed right="trade" otherwise="not yours">
          bid
        </Allowed>
      </>,
      { rights: ["see", "operate"] },
    );
    expect([screen.queryByText(/act/) !== null, screen.queryByText(/bid/) !== null, screen.queryByText(/not yours/) !== null]).toEqual([true, false, true]);
    expect(sessionOf(["see"]).operator).toBeNull();
  });

  it("moves between tabs by arrows", async () => {
    function Some(): ReactElement {
      const [tab, setTab] = useState("a");
      return (
        <Tabs label="Parts" items={[{ id: "a", label: "A" }, { id: "b", label: "B" }]} value={tab} onChange={setTab}>
          <p>{`shows ${tab}`}</p>
        </Tabs>
      );
    }
    const { container } = draw(<Some />);
    act(() => screen.getByRole("tab", { name: "A" }).focus());
    await userEvent.keyboard("{ArrowRight}");
    expect(screen.getByText("shows b")).toBeTruthy();
    expect(document.activeElement?.textContent).toBe("B");
    expect(await faultsOf(container)).toEqual([]);
    expect([placeAfter("ArrowLeft", 0, 3), placeAfter("End", 0, 3), placeAfter("x", 0, 3)]).toEqual([2, 2, null]);
  });

  it("says where the reader is", async () => {
    const { container } = draw(
      <>
        <Breadcrumb items={[{ label: "Texas", to: "/node/texas" }, { label: "Feeder 7", to: "/node/f7" }]} />
        <DataTable caption="Figures" columns={[{ label: "A" }]} rows={[{ key: "1", cells: ["x"] }]} />
      </>,
    );
    expect(screen.getByRole("link", { name: "Texas" }).getAttribute("href")).toBe("#/node/texas");
    expect(screen.queryByRole("link", { name: "Feeder 7" })).toBeNull();
    expect(await faultsOf(container)).toEqual([]);
  });
});
