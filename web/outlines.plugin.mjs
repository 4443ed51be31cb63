/**
 * Outlines of countries and states for the map, made small when the page is built.
 *
 * `virtual:outlines` exports two sets of lines, each line a list of whole numbers in parts of a degree: the first longitude and latitude, then the
 * steps from point to point. Lines are thinned by Douglas and Peucker to about the width of such a part. Sources: Natural Earth (public domain) by
 * world-atlas, the US Census Bureau (public domain) by us-atlas.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { mesh } from "topojson-client";

const NAME = "virtual:outlines";
// Countries are drawn from a coarse source; states are seen close up.
const COASTS = { file: "world-atlas/countries-110m.json", key: "countries", perDeg: 10, offDeg: 0.1 };
const BORDERS = { file: "us-atlas/states-10m.json", key: "states", perDeg: 25, offDeg: 0.04 };

/** How far a point is from the line between two others, in degrees. */
function offLine([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const along = dx * dx + dy * dy;
  const t = along === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / along));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

/** The points of a line that matter: every other one is within `off` of the line that is left. */
export function thinned(line, off) {
  const kept = new Set([0, line.length - 1]);
  const spans = [[0, line.length - 1]];
  for (let span = spans.pop(); span !== undefined; span = spans.pop()) {
    const [from, to] = span;
    let [furthest, most] = [-1, off];
    for (let i = from + 1; i < to; i += 1) {
      const away = offLine(line[i], line[from], line[to]);
      if (away > most) [furthest, most] = [i, away];
    }
    if (furthest < 0) continue;
    kept.add(furthest);
    spans.push([from, furthest], [furthest, to]);
  }
  return line.filter((_, i) => kept.has(i));
}

/** A line as whole numbers: where it begins, then steps; points that fall together are one. */
export function steps(line, perDeg) {
  const said = [];
  let [lastX, lastY] = [0, 0];
  for (const [lon, lat] of line) {
    const [x, y] = [Math.round(lon * perDeg), Math.round(lat * perDeg)];
    if (said.length > 0 && x === lastX && y === lastY) continue;
    said.push(x - lastX, y - lastY);
    [lastX, lastY] = [x, y];
  }
  return said;
}

function coded({ file, key, perDeg, offDeg }) {
  const topology = JSON.parse(readFileSync(createRequire(import.meta.url).resolve(file), "utf8"));
  const lines = mesh(topology, topology.objects[key]).coordinates;
  return JSON.stringify({ perDeg, lines: lines.map((line) => steps(thinned(line, offDeg), perDeg)).filter((line) => line.length > 2) });
}

export function outlines() {
  const code = () => `export const coasts = ${coded(COASTS)};\nexport const borders = ${coded(BORDERS)};`;
  return { name: "outlines", resolveId: (id) => (id === NAME ? `\0${NAME}` : null), load: (id) => (id === `\0${NAME}` ? code() : null) };
}
