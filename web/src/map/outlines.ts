/** Outlines of countries and states, bundled and loaded with the first map: no tiles, nothing from elsewhere (`outlines.plugin.ts` makes them small). */
import type { MultiLineString } from "geojson";

export interface Outlines {
  readonly coasts: MultiLineString;
  readonly borders: MultiLineString;
}

let held: Promise<Outlines> | null = null;

/** Lines in degrees from whole numbers: where each begins, then its steps. */
export function linesOf({ perDeg, lines }: { perDeg: number; lines: readonly (readonly number[])[] }): MultiLineString {
  const coordinates = lines.map((steps) => {
    const line: [number, number][] = [];
    let [x, y] = [0, 0];
    for (let i = 0; i < steps.length; i += 2) {
      x += steps[i]!;
      y += steps[i + 1]!;
      line.push([x / perDeg, y / perDeg]);
    }
    return line;
  });
  return { type: "MultiLineString", coordinates };
}

async function load(): Promise<Outlines> {
  const { coasts, borders } = await import("virtual:outlines");
  return { coasts: linesOf(coasts), borders: linesOf(borders) };
}

/** The outlines; loaded once, and again after a failure. */
export function outlines(): Promise<Outlines> {
  held ??= load().catch((error: unknown) => {
    held = null;
    throw error;
  });
  return held;
}
