import { describe, expect, it } from "vitest";
import { asSteps, endsOf, thin, withGaps } from "./shape";

describe("withGaps", () => {
  it("breaks the line where values are missing in time", () => {
    const shaped = withGaps([0, 10, 20, 100, 110], [[1, 2, 3, 4, 5]]);
    expect(shaped.t).toEqual([0, 10, 20, 21, 100, 110]);
    expect(shaped.columns).toEqual([[1, 2, 3, null, 4, 5]]);
  });

  it("goes by the distance of the points before, which may change along the way", () => {
    const old = Array.from({ length: 20 }, (_, i) => i * 30);
    const fresh = Array.from({ length: 30 }, (_, i) => 570 + i);
    expect(withGaps([...old, ...fresh.slice(1)], []).t).toHaveLength(49);
    expect(withGaps([...old, ...fresh.slice(1), 620, 621], []).t).toHaveLength(52);
    expect(withGaps([...old, ...fresh.slice(1), 620, 621], [], 3, 100).t).toHaveLength(51);
  });

  it("leaves an even series alone and keeps nulls", () => {
    expect(withGaps([0, 10, 20], [[1, null, 3]]).columns).toEqual([[1, null, 3]]);
    expect(withGaps([], [[]])).toEqual({ t: [], columns: [[]] });
  });
});

describe("asSteps", () => {
  it("holds a step over the whole interval and a bar inside it", () => {
    const shaped = asSteps([0, 100], [100, 200], [
      { kind: "step", values: [1, null] },
      { kind: "bar", values: [5, 6] },
    ]);
    expect(shaped.t).toEqual([0, 10, 90, 99, 100, 110, 190, 199]);
    expect(shaped.columns[0]).toEqual([1, 1, 1, 1, null, null, null, null]);
    expect(shaped.columns[1]).toEqual([null, 5, 5, null, null, 6, 6, null]);
  });
});

describe("endsOf", () => {
  it("never stretches an interval over a missing one", () => {
    expect(endsOf([0, 10, 50], 10)).toEqual([10, 20, 60]);
    expect(endsOf([0, 5], 10)).toEqual([5, 15]);
  });
});

describe("thin", () => {
  it("keeps the latest first and stays within the limit", () => {
    expect(thin(5, 10)).toEqual([4, 3, 2, 1, 0]);
    const shown = thin(1000, 96);
    expect(shown[0]).toBe(999);
    expect(shown.length).toBeLessThanOrEqual(96);
    expect(thin(0, 10)).toEqual([]);
  });
});
