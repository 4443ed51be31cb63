import { describe, expect, it } from "vitest";
import { steps, thinned } from "../../outlines.plugin.mjs";
import { linesOf, outlines } from "./outlines";

describe("outlines", () => {
  it("keep the corners and leave out what is on the line between them", () => {
    const line = [[0, 0], [1, 0.001], [2, 0], [2, 1], [2.2, 2]] as const;
    expect(thinned(line, 0.005)).toEqual([[0, 0], [2, 0], [2, 1], [2.2, 2]]);
    expect(thinned(line, 0)).toEqual(line);
  });

  it("come back from whole numbers within half a step", () => {
    const line = [[-95.368, 29.764], [-95.361, 29.761], [-94.1, 30.0]] as const;
    const [back] = linesOf({ perDeg: 100, lines: [steps(line, 100)] }).coordinates;
    expect(back).toHaveLength(3);
    back?.forEach(([lon, lat], i) => {
      expect(Math.abs((lon ?? 0) - (line[i]?.[0] ?? 0))).toBeLessThanOrEqual(0.005 + 1e-9);
      expect(Math.abs((lat ?? 0) - (line[i]?.[1] ?? 0))).toBeLessThanOrEqual(0.005 + 1e-9);
    });
  });

  it("of the bundle stay on the earth and have the border of Texas", async () => {
    const { coasts, borders } = await outlines();
    const all = [...coasts.coordinates, ...borders.coordinates].flat();
    expect(all.every(([lon, lat]) => Math.abs(lon ?? 999) <= 180 && Math.abs(lat ?? 999) <= 90)).toBe(true);
    expect(borders.coordinates.flat().some(([lon, lat]) => Math.hypot((lon ?? 0) + 103.04, (lat ?? 0) - 36.5) < 0.1)).toBe(true);
  });
});
