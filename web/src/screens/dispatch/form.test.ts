import { describe, expect, it } from "vitest";
import { askedOf, emptyForm, faultsOfForm, fieldOf, targetOf, usualPower, usualProgram, usualStart, type Around, type Form } from "./form";
import { hasShifted, whyOld } from "./said";
import { feeder, HOUR_MS, NOW, PREVIEW, PROGRAMS } from "./testing";
import { extended, joined, MOST_POINTS, pointOf, type Point } from "./track";
import { localText, msOfLocal, nextQuarter } from "./when";

const NOW_MS = Date.parse("2021-02-10T12:07:30Z");
const AROUND: Around = { nowMs: NOW_MS, zone: "America/Chicago", programs: PROGRAMS, target: { kind: "group", group: feeder() } };
const FORM: Form = { ...emptyForm("feeder-7"), power: "18", program: "emergency", reason: " hot " };

describe("local times of a field", () => {
  it("go there and back, over summer time and the last hour before it ends", () => {
    expect(localText(NOW_MS, "America/Chicago")).toBe("2021-02-10T06:07");
    expect(msOfLocal("2021-02-10T06:07", "America/Chicago")).toBe(Date.parse("2021-02-10T12:07:00Z"));
    expect(msOfLocal("2021-07-10T06:07", "Europe/Berlin")).toBe(Date.parse("2021-07-10T04:07:00Z"));
    expect(msOfLocal("2021-11-07T01:30", "America/Chicago")).toBe(Date.parse("2021-11-07T06:30:00Z"));
  });
  it("are nothing where the hour is left out or the text is none", () => {
    expect(msOfLocal("2021-03-14T02:30", "America/Chicago")).toBeNull();
    for (const text of ["", "2021-02-30T25:00", "tomorrow"]) expect(msOfLocal(text, "UTC")).toBeNull();
  });
  it("begin at quarters that keep the notice", () => {
    expect(nextQuarter(Date.parse("2021-02-10T12:15:00Z"))).toBe(Date.parse("2021-02-10T12:15:00Z"));
    expect(usualStart(NOW_MS, 1_800)).toBe(Date.parse("2021-02-10T12:45:00Z"));
  });
});

describe("what is asked", () => {
  it("finds the group by id, then by name, and says what to do about others", () => {
    const found = [feeder(), feeder({ group_id: "b", name: "Twin" }), feeder({ group_id: "c", name: "Twin" })];
    expect(targetOf("feeder-7", found)).toMatchObject({ kind: "group" });
    expect(targetOf(" feeder 7 ", found)).toMatchObject({ kind: "group", group: { group_id: "feeder-7" } });
    expect(targetOf("whole fleet", [])).toEqual({ kind: "fleet" });
    expect(targetOf("twin", found)).toMatchObject({ kind: "none", fault: expect.stringContaining("b, c") as string });
    expect(targetOf("x", found)).toMatchObject({ fault: "There is no group “x”. Choose one of the list." });
    expect(targetOf("", found)).toMatchObject({ kind: "none" });
  });
  it("is prefilled with what the group can be counted on for, never more", () => {
    expect(usualPower("discharge", feeder())).toBe("18");
    expect(usualPower("charge", feeder())).toBe("4.2");
    expect(usualPower("discharge", feeder({ firm_discharge_kw: -3 }))).toBe("");
    expect(usualPower("rest", feeder())).toBe("");
    expect(usualProgram("now", PROGRAMS)).toBe("emergency");
    expect(usualProgram("ahead", PROGRAMS)).toBe("peak");
    expect(usualProgram("ahead", [])).toBe("");
  });
  it("has every fault said at its field with the fix", () => {
    expect(faultsOfForm(FORM, AROUND)).toEqual({});
    expect(faultsOfForm({ ...FORM, power: "-3", minutes: "0", program: "none" }, AROUND)).toEqual({
      power: "Give the power in kW as a number above 0, such as 12.5.",
      minutes: "Give 1 to 20160 minutes (14 days).",
      program: "Choose a program.",
    });
    expect(faultsOfForm({ ...FORM, way: "ahead", start: "2021-02-10T06:00" }, AROUND).start).toContain("it is 06:07 now");
    expect(faultsOfForm({ ...FORM, way: "ahead", program: "peak", start: "2021-02-10T06:30" }, AROUND).start).toContain("Begin at 06:45 or later");
    const deliver: Form = { ...FORM, way: "deliver", start: "2021-02-10T06:20", minutes: "50" };
    expect(faultsOfForm(deliver, { ...AROUND, target: { kind: "fleet" } })).toMatchObject({
      group: "Delivering is asked of a group. Name one.",
      start: "Delivery begins at a quarter of an hour, such as 18:15.",
      minutes: expect.stringContaining("multiple of 15") as string,
    });
    expect(faultsOfForm({ ...FORM, act: "rest", power: "" }, AROUND)).toEqual({});
  });
  it("becomes the order that its way needs", () => {
    expect(askedOf({ ...FORM, power: "18,5" }, AROUND)).toEqual({ setpoint: { sites: [], groups: ["feeder-7"], fleet: false, discharge_kw: 18.5, program: "emergency", reason: "hot", preview: "", minutes: 60 } });
    expect(askedOf({ ...FORM, way: "ahead", act: "rest", start: "2021-02-10T06:30" }, { ...AROUND, target: { kind: "fleet" } }).event).toMatchObject({ kind: "hold", fleet: true, start_ms: Date.parse("2021-02-10T12:30:00Z") });
    expect(askedOf({ ...FORM, way: "deliver", start: "2021-02-10T06:30" }, AROUND).call).toMatchObject({ targets: [{ group: "feeder-7", power_kw: 18 }], end_ms: Date.parse("2021-02-10T13:30:00Z") });
    expect(fieldOf("body.setpoint.minutes")).toBe("minutes");
    expect(fieldOf("canary")).toBeNull();
    expect(fieldOf(null)).toBeNull();
  });
});

describe("an old preview", () => {
  const asked = askedOf(FORM, AROUND);
  const fine = { nowMs: NOW_MS, ageS: 10, asked, freshThen: 9, freshNow: 8 };
  it("is said to be so when the form, the window, its keeping or the state has moved on", () => {
    expect(whyOld(PREVIEW, asked, fine)).toEqual([]);
    expect(whyOld(PREVIEW, asked, { ...fine, asked: askedOf({ ...FORM, power: "9" }, AROUND) })).toHaveLength(1);
    expect(whyOld(PREVIEW, asked, { ...fine, asked: null })).toHaveLength(1);
    expect(whyOld({ ...PREVIEW, kind: "event", start_ms: NOW_MS }, asked, fine)).toEqual(["The window has begun."]);
    expect(whyOld(PREVIEW, asked, { ...fine, ageS: 901 })).toHaveLength(1);
    expect(whyOld(PREVIEW, asked, { ...fine, freshNow: 6 })).toEqual(["The state has changed: 9 sites were fresh, 6 are now."]);
    expect(hasShifted(100, 91)).toBe(false);
    expect(hasShifted(100, 90)).toBe(true);
  });
});

describe("commanded against measured", () => {
  it("goes on from what the plant kept without a seam or a point twice", () => {
    const series = { order_id: "o-1", from_ms: 0, until_ms: HOUR_MS, step_ms: 60_000, seam_ms: null, t_ms: [0, 60_000], commanded_kw: [-20, -20], measured_kw: [null, -10], low_kw: [null, -12], high_kw: [null, -8], coverage_frac: [1, 1], gap: [false, false] };
    let live: readonly Point[] = [];
    for (const t_ms of [60_000, 120_000, 120_000, 180_000]) live = extended(live, { ...NOW, t_ms });
    expect(live).toHaveLength(3);
    expect(joined(series, live).map((one) => one.t)).toEqual([0, 60_000, 120_000, 180_000]);
    expect(joined({ ...series, gap: [false, true] }, []).map((one) => [one.t, one.measured])).toEqual([[0, null], [59_999, null], [60_000, -10]]);
    expect(joined(undefined, live).map((one) => one.t)).toEqual([60_000, 120_000, 180_000]);
    expect(pointOf({ ...NOW, measured_kw: null })).toMatchObject({ measured: null, low: null, high: null });
    const many = Array.from({ length: MOST_POINTS }, (_, i) => ({ ...pointOf(NOW), t: i }));
    expect(extended(many, NOW)).toHaveLength(MOST_POINTS);
  });
});
