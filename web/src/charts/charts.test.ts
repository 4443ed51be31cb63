// @vitest-environment jsdom
import { describe, expect, it } from "vitest";
import { fanOf } from "./fan";
import { faded, valueRange } from "./TimeChart";

describe("fanOf", () => {
  it("makes a band of each pair around the median, the narrower the stronger", () => {
    const fan = fanOf({ "0.05": [1], "0.25": [2], "0.50": [3], "0.75": [4], "0.95": [5] }, "--forecast", String);
    expect(fan.bands.map((band) => [band.upper, band.lower])).toEqual([
      ["q0.95", "q0.05"],
      ["q0.75", "q0.25"],
    ]);
    expect(fan.bands[0]?.strength).toBeLessThan(fan.bands[1]?.strength ?? 0);
    expect(fan.series.find((one) => one.key === "q0.5")?.values).toEqual([3]);
    expect(fan.series.find((one) => one.key === "q0.95")?.values).toEqual([5]);
  });

  it("leaves out a quantile that has no partner", () => {
    expect(fanOf({ "0.1": [1], "0.5": [2] }, "--forecast", String).bands).toEqual([]);
  });
});

describe("axes and colours", () => {
  it("keeps zero in view for power, and not for scores", () => {
    expect(valueRange(10, 20, true)[0]).toBe(0);
    expect(valueRange(-20, -10, true)[1]).toBe(0);
    expect(valueRange(null, null, true)).toEqual([0, 1]);
    const [low, high] = valueRange(10, 20, false);
    expect([low > 9, low < 10, high > 20, high < 21]).toEqual([true, true, true, true]);
    expect(valueRange(5, 5, false)[0]).toBeLessThan(5);
  });

  it("fades a colour", () => {
    expect(faded("#009e73", 0.2)).toBe("#009e7333");
    expect(faded("#009e73", 2)).toBe("#009e73ff");
  });
});
