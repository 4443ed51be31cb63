import { describe, expect, it } from "vitest";
import type { Alarm, Severity } from "../../api/types";
import { strings } from "../../strings";
import { attention } from "../../screens/fleet/attention";
import { SHAPES } from "../../ui/Severity";
import { extent, inOrder, what } from "./alarms";

function alarm(part: Partial<Alarm>): Alarm {
  return {
    number: 1, kind: "communication_loss", severity: "major", scope: "group", subject: "s4", name: "Substation 4", hierarchy_id: "grid", sites: 9800,
    of_sites: 10_000, peak_sites: 10_000, examples: ["home-1"], value: null, detail: "", count: 1, raised_ms: 0, updated_ms: 0, acknowledged_ms: null,
    acknowledged_by: "", note: "", returned_ms: null, cleared_ms: null, merged_into_number: null, split_from_number: null, ...part,
  };
}

describe("alarms in words", () => {
  it("says what is wrong, and an unknown kind as it is", () => {
    expect(what(alarm({}))).toBe("Communication lost");
    expect(what(alarm({ kind: "something_new" }))).toBe("something new");
  });

  it("says how much of the subject is concerned", () => {
    expect(extent(alarm({}))).toBe("9,800 of 10,000 sites");
    expect(extent(alarm({ detail: "scattered", sites: 12 }))).toBe("12 of 10,000 sites, scattered");
    expect(extent(alarm({ scope: "site", of_sites: 1, sites: 1 }))).toBe("one site");
    expect(extent(alarm({ scope: "part", value: 1234.4, detail: "s" }))).toBe("1,234 s");
    expect(extent(alarm({ scope: "part", value: 0.791, detail: "of the capacity" }))).toBe("0.79 of the capacity");
    expect(extent(alarm({ kind: "samples_lost", value: 49_000 }))).toBe("49,000 samples, 9,800 of 10,000 sites");
    expect(extent(alarm({ kind: "samples_lost", scope: "site", of_sites: 1, sites: 1, value: 12 }))).toBe("12 samples, one site");
    expect(extent(alarm({ returned_ms: 5 }))).toBe("over, until acknowledged");
  });

  it("has a word and a shape of its own for each severity", () => {
    const all: Severity[] = ["notice", "warning", "major", "critical"];
    expect(new Set(all.map((one) => SHAPES[one])).size).toBe(4);
    expect(all.map((one) => strings.severity[one])).toEqual(all);
  });

  it("puts first what nobody knows of, then the worst, then the latest", () => {
    const shown = inOrder([
      alarm({ number: 1, severity: "critical", acknowledged_ms: 1 }),
      alarm({ number: 2, severity: "warning", raised_ms: 10 }),
      alarm({ number: 3, severity: "warning", raised_ms: 20 }),
      alarm({ number: 4, severity: "critical" }),
    ]);
    expect(shown.map((one) => one.number)).toEqual([4, 3, 2, 1]);
  });
});

describe("attention", () => {
  it("calls for a person while nobody has acknowledged a critical alarm", () => {
    const entries = (active: Alarm[]): string[] => {
      const calm = { fleet: null, twins: null, resources: [], bids: [], health: [], next_gate: null };
      return attention({ ...calm, alarms: { active_count: active.length, active } }, 0);
    };
    expect(entries([alarm({}), alarm({ severity: "critical", acknowledged_ms: 1 })])).toEqual([]);
    expect(entries([alarm({ severity: "critical" })])).toEqual(["A critical alarm that nobody has acknowledged"]);
    expect(entries([alarm({ severity: "critical" }), alarm({ number: 2, severity: "critical" })])).toEqual([
      "2 critical alarms that nobody has acknowledged",
    ]);
  });
});
