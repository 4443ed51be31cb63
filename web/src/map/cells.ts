/** Ten thousand places made few: what lies in one square of the screen is one mark until the reader comes near. Pure. */

export interface View {
  readonly width: number;
  readonly height: number;
  /** Screen pixels of a projected unit. */
  readonly scale: number;
  readonly x: number;
  readonly y: number;
}

export interface Cell {
  readonly x: number;
  readonly y: number;
  readonly rows: readonly number[];
}

export const CELL_PX = 26;
/** More than there are squares from north to south, however near. */
const SQUARES = 2 ** 25;
/** With so few in view each is drawn by itself. */
export const FEW = 1_200;
/** A fleet of one town is shown with the land around it, about seven degrees wide: an outline says where it is. */
export const LEAST_SPAN = 0.12;

/** Where a projected place is on the screen. */
export function onScreen(view: View, px: number, py: number): [number, number] {
  return [px * view.scale + view.x, py * view.scale + view.y];
}

/** The rows that are in view, a little beyond its edge. */
export function inView(view: View, px: Float64Array, py: Float64Array, margin = 12): number[] {
  const rows: number[] = [];
  for (let i = 0; i < px.length; i += 1) {
    const x = (px[i] ?? Number.NaN) * view.scale + view.x;
    const y = (py[i] ?? Number.NaN) * view.scale + view.y;
    if (x >= -margin && y >= -margin && x <= view.width + margin && y <= view.height + margin) rows.push(i);
  }
  return rows;
}

/** Put rows together by squares that are fixed to the land, so that marks do not dance while the map is moved. */
export function cellsOf(view: View, rows: readonly number[], px: Float64Array, py: Float64Array, sizePx = CELL_PX): Cell[] {
  const size = sizePx / view.scale;
  const found = new Map<number, { x: number; y: number; rows: number[] }>();
  for (const row of rows) {
    const x = px[row] ?? 0;
    const y = py[row] ?? 0;
    const key = Math.floor(x / size) * SQUARES + Math.floor(y / size);
    const cell = found.get(key);
    if (cell) {
      cell.x += x;
      cell.y += y;
      cell.rows.push(row);
    } else found.set(key, { x, y, rows: [row] });
  }
  return [...found.values()].map(({ x, y, rows: inside }) => {
    const [sx, sy] = onScreen(view, x / inside.length, y / inside.length);
    return { x: sx, y: sy, rows: inside };
  });
}

/** The view that shows all of some places with a margin. */
export function fitted(px: Float64Array, py: Float64Array, width: number, height: number, marginPx = 24): View {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < px.length; i += 1) {
    const x = px[i] ?? Number.NaN;
    const y = py[i] ?? Number.NaN;
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  if (left > right) return { width, height, scale: Math.min(width, height), x: width / 2, y: height / 2 };
  const span = Math.max(right - left, LEAST_SPAN);
  const rise = Math.max(bottom - top, LEAST_SPAN / 3);
  const scale = Math.min((width - 2 * marginPx) / span, (height - 2 * marginPx) / rise);
  return { width, height, scale, x: width / 2 - ((left + right) / 2) * scale, y: height / 2 - ((top + bottom) / 2) * scale };
}

/** The view nearer or farther by a factor, with one place of the screen standing still. */
export function zoomed(view: View, factor: number, x: number, y: number): View {
  return { ...view, scale: view.scale * factor, x: x - (x - view.x) * factor, y: y - (y - view.y) * factor };
}

/** The row nearest to a place on the screen within so many pixels; null without one. */
export function nearest(view: View, rows: readonly number[], px: Float64Array, py: Float64Array, x: number, y: number, withinPx = 14): number | null {
  let best: number | null = null;
  let least = withinPx * withinPx;
  for (const row of rows) {
    const [sx, sy] = onScreen(view, px[row] ?? 0, py[row] ?? 0);
    const away = (sx - x) ** 2 + (sy - y) ** 2;
    if (away <= least) {
      least = away;
      best = row;
    }
  }
  return best;
}
