/**
 * A map on a canvas: many sites as few marks from afar, each by itself when near, alarms drawn last.
 *
 * The mouse drags and the wheel zooms; arrows move, + and - zoom, 0 shows all, Tab walks from alarm to alarm and Enter opens.
 * What the marks say is in words below, and the screen has the same as a table.
 */
import { geoMercatorRaw, geoPath, geoTransform } from "d3-geo";
import type { Feature, MultiLineString } from "geojson";
import { useCallback, useEffect, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent, type ReactElement } from "react";
import { useDark } from "../app/theme";
import { strings } from "../strings";
import { tokenValue, type Token } from "../ui/tokens";
import { useInView } from "./useInView";
import { FEW, cellsOf, fitted, inView, nearest, onScreen, zoomed, type Cell, type View } from "./cells";
import { outlines, type Outlines } from "./outlines";
import classes from "./MapCanvas.module.css";

export interface MapPoints {
  readonly ids: readonly string[];
  readonly lat: Float64Array;
  readonly lon: Float64Array;
  /** Another number whenever what the marks show has changed; the arrays may be the same. */
  readonly version: number;
}

export type MarkShape = "disc" | "square" | "triangle" | "diamond";

export interface MapCanvasProps {
  readonly points: MapPoints;
  readonly colorOf: (row: number) => Token;
  readonly shapeOf?: (row: number) => MarkShape;
  /** Whether a place calls for a person. */
  readonly alarm: (row: number) => boolean;
  readonly onPick?: (row: number) => void;
  /** Areas such as those of weather alerts. */
  readonly areas?: readonly Feature[];
  readonly label: string;
  /** One place in words. */
  readonly describe: (row: number) => string;
  /** All of them in words. */
  readonly summary: string;
  readonly height?: number;
}

const RADIANS = Math.PI / 180;
const STEP_PX = 60;
const MARK_PX = 3.2;

/** Places on a plane: x to the right, y down, one unit a radian. */
export function projected(points: MapPoints): { px: Float64Array; py: Float64Array } {
  const px = new Float64Array(points.ids.length);
  const py = new Float64Array(points.ids.length);
  for (let i = 0; i < px.length; i += 1) {
    const [x, y] = geoMercatorRaw((points.lon[i] ?? Number.NaN) * RADIANS, (points.lat[i] ?? Number.NaN) * RADIANS);
    px[i] = x;
    py[i] = -y;
  }
  return { px, py };
}

function drawMark(context: CanvasRenderingContext2D, shape: MarkShape, x: number, y: number, r: number): void {
  context.beginPath();
  if (shape === "disc") context.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === "square") context.rect(x - r, y - r, 2 * r, 2 * r);
  else if (shape === "triangle") {
    context.moveTo(x, y - 1.2 * r);
    context.lineTo(x + 1.1 * r, y + r);
    context.lineTo(x - 1.1 * r, y + r);
    context.closePath();
  } else {
    context.moveTo(x, y - 1.3 * r);
    context.lineTo(x + 1.3 * r, y);
    context.lineTo(x, y + 1.3 * r);
    context.lineTo(x - 1.3 * r, y);
    context.closePath();
  }
  context.fill();
}

/** Lines of the land in projected units, made once: while the map is moved they are only shifted and scaled. */
const made = new WeakMap<MultiLineString, Path2D>();

function pathOf(shape: MultiLineString): Path2D {
  const held = made.get(shape);
  if (held) return held;
  const path = new Path2D();
  for (const line of shape.coordinates) {
    line.forEach(([lon = 0, lat = 0], i) => {
      const [x, y] = geoMercatorRaw(lon * RADIANS, Math.max(Math.min(lat, 85), -85) * RADIANS);
      if (i === 0) path.moveTo(x, -y);
      else path.lineTo(x, -y);
    });
  }
  made.set(shape, path);
  return path;
}

function drawLand(context: CanvasRenderingContext2D, view: View, land: Outlines, areas: readonly Feature[]): void {
  const place = geoTransform({
    point(lon, lat) {
      const [x, y] = geoMercatorRaw(lon * RADIANS, Math.max(Math.min(lat, 85), -85) * RADIANS);
      const [sx, sy] = onScreen(view, x, -y);
      this.stream.point(sx, sy);
    },
  });
  const path = geoPath(place, context);
  const line = (shape: MultiLineString, color: string, width: number): void => {
    const placed = new Path2D();
    placed.addPath(pathOf(shape), { a: view.scale, d: view.scale, e: view.x, f: view.y });
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke(placed);
  };
  line(land.borders, tokenValue("--grid"), 1);
  line(land.coasts, tokenValue("--edge"), 1.2);
  context.fillStyle = `${tokenValue("--warn-ink")}22`;
  context.strokeStyle = tokenValue("--warn-ink");
  for (const area of areas) {
    context.beginPath();
    path(area);
    context.fill();
    context.stroke();
  }
}

/** What is drawn under the sites, kept while nothing of it changes: new figures come every second, another view only by hand. */
interface Backdrop {
  readonly picture: HTMLCanvasElement;
  readonly of: readonly unknown[];
}

function backdropOf(held: Backdrop | null, view: View, land: Outlines, areas: readonly Feature[] | undefined, dark: boolean): Backdrop {
  const ratio = window.devicePixelRatio;
  const of = [view, land, areas, dark, ratio];
  if (held && held.of.every((one, i) => one === of[i])) return held;
  const picture = held?.picture ?? document.createElement("canvas");
  picture.width = Math.round(view.width * ratio); // empties it, too
  picture.height = Math.round(view.height * ratio);
  const context = picture.getContext("2d");
  if (context) {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawLand(context, view, land, areas ?? []);
  }
  return { picture, of };
}

export function MapCanvas(props: MapCanvasProps): ReactElement {
  const { points, label, height = 420, areas } = props;
  const holder = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [land, setLand] = useState<Outlines | null>(null);
  const [said, setSaid] = useState("");
  const [picked, setPicked] = useState<number | null>(null);
  const dark = useDark();
  const seen = useInView(holder);
  const { ids, lat, lon } = points;
  const places = useMemo(() => projected({ ids, lat, lon, version: 0 }), [ids, lat, lon]);
  const view = useRef<View | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const frame = useRef(0);
  const backdrop = useRef<Backdrop | null>(null);
  const grouped = useRef<{ readonly of: View; readonly places: typeof places; readonly rows: readonly number[]; readonly cells: readonly Cell[] | null } | null>(null);
  const drag = useRef<{ x: number; y: number; moved: boolean } | null>(null);

  useEffect(() => {
    let wanted = true;
    outlines().then(
      (found) => {
        if (wanted) setLand(found);
      },
      () => undefined, // the sites are there without land, too
    );
    return () => {
      wanted = false;
    };
  }, []);

  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    const watcher = new ResizeObserver(() => setWidth(element.clientWidth));
    watcher.observe(element);
    setWidth(element.clientWidth);
    return () => watcher.disconnect();
  }, []);

  const draw = useCallback(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    const now = view.current;
    if (!element || !context || !now) return;
    const { colorOf, shapeOf = () => "disc" as const, alarm } = latest.current;
    const ratio = window.devicePixelRatio;
    if (element.width !== Math.round(now.width * ratio)) element.width = Math.round(now.width * ratio);
    if (element.height !== Math.round(now.height * ratio)) element.height = Math.round(now.height * ratio);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, element.width, element.height);
    if (land) {
      backdrop.current = backdropOf(backdrop.current, now, land, latest.current.areas, dark);
      context.drawImage(backdrop.current.picture, 0, 0);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const { px, py } = places;
    if (grouped.current?.of !== now || grouped.current.places !== places) {
      const inside = inView(now, px, py);
      grouped.current = { of: now, places, rows: inside, cells: inside.length > FEW ? cellsOf(now, inside, px, py) : null };
    }
    const { rows, cells } = grouped.current;
    const colors = new Map<Token, string>();
    const ink = (token: Token): string => {
      let value = colors.get(token);
      if (value === undefined) colors.set(token, (value = tokenValue(token)));
      return value;
    };
    const calling: number[] = [];
    if (cells) {
      for (const cell of cells) {
        const first = cell.rows[0] ?? 0;
        const calls = cell.rows.filter(alarm);
        if (calls.length > 0) calling.push(calls[0] ?? first);
        context.globalAlpha = 0.75;
        context.fillStyle = ink(colorOf(first));
        drawMark(context, "disc", cell.x, cell.y, Math.min(3 + 1.7 * Math.log2(cell.rows.length + 1), 13));
      }
    } else {
      context.globalAlpha = 0.85;
      for (const row of rows) {
        if (alarm(row)) {
          calling.push(row);
          continue;
        }
        context.fillStyle = ink(colorOf(row));
        drawMark(context, shapeOf(row), ...onScreen(now, px[row] ?? 0, py[row] ?? 0), MARK_PX);
      }
    }
    context.globalAlpha = 1;
    context.fillStyle = ink("--bad-ink");
    context.strokeStyle = ink("--card");
    context.lineWidth = 1.5;
    for (const row of calling) {
      drawMark(context, "diamond", ...onScreen(now, px[row] ?? 0, py[row] ?? 0), 5);
      context.stroke();
    }
  }, [land, places, dark]);

  const redraw = useCallback(() => {
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(draw);
  }, [draw]);

  useEffect(() => {
    if (width === 0) return;
    const now = view.current;
    view.current = now ? { ...now, width, height } : fitted(places.px, places.py, width, height);
  }, [width, height, places]);
  useEffect(() => {
    if (!seen) return; // drawn when it comes into sight
    redraw();
    return () => cancelAnimationFrame(frame.current);
  }, [redraw, seen, width, height, dark, points.version, areas]);

  const move = (change: (now: View) => View): void => {
    if (!view.current) return;
    view.current = change(view.current);
    redraw();
  };

  // React's own wheel listener cannot keep the page from scrolling.
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const onWheel = (event: WheelEvent): void => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== holder.current) return;
      event.preventDefault();
      const box = element.getBoundingClientRect();
      if (view.current) view.current = zoomed(view.current, Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
      redraw();
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, [redraw]);

  const rowAt = (event: PointerEvent): number | null => {
    const now = view.current;
    if (!now) return null;
    const box = event.currentTarget.getBoundingClientRect();
    return nearest(now, inView(now, places.px, places.py), places.px, places.py, event.clientX - box.left, event.clientY - box.top);
  };

  const onPointerMove = (event: PointerEvent): void => {
    const from = drag.current;
    if (from) {
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      drag.current = { x: event.clientX, y: event.clientY, moved: from.moved || Math.abs(dx) + Math.abs(dy) > 2 };
      move((now) => ({ ...now, x: now.x + dx, y: now.y + dy }));
      return;
    }
    const row = rowAt(event);
    setSaid(row === null ? "" : latest.current.describe(row));
  };

  const onPointerUp = (event: PointerEvent): void => {
    const moved = drag.current?.moved ?? false;
    drag.current = null;
    const row = moved ? null : rowAt(event);
    if (row !== null) props.onPick?.(row);
  };

  const walk = (by: number): boolean => {
    const calling = points.ids.map((_, row) => row).filter((row) => latest.current.alarm(row));
    if (calling.length === 0) return false;
    const at = picked === null ? (by > 0 ? -1 : calling.length) : calling.indexOf(picked);
    const next = calling[at + by];
    setPicked(next ?? null);
    if (next === undefined) return false;
    setSaid(latest.current.describe(next));
    move((now) => ({ ...now, x: now.width / 2 - (places.px[next] ?? 0) * now.scale, y: now.height / 2 - (places.py[next] ?? 0) * now.scale }));
    return true;
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    const shift: Record<string, [number, number]> = { ArrowLeft: [STEP_PX, 0], ArrowRight: [-STEP_PX, 0], ArrowUp: [0, STEP_PX], ArrowDown: [0, -STEP_PX] };
    const by = shift[event.key];
    const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
    if (by) move((now) => ({ ...now, x: now.x + by[0], y: now.y + by[1] }));
    else if (factor !== undefined) move((now) => zoomed(now, factor, now.width / 2, now.height / 2));
    else if (event.key === "0") move((now) => fitted(places.px, places.py, now.width, now.height));
    else if (event.key === "Enter" && picked !== null) props.onPick?.(picked);
    else if (event.key === "Tab" && walk(event.shiftKey ? -1 : 1)) event.preventDefault();
    else return;
    if (event.key !== "Tab") event.preventDefault();
  };

  return (
    <div className={classes["map"]} data-testid="map">
      <div ref={holder} role="application" tabIndex={0} aria-label={strings.map.label(label)} aria-describedby="map-keys" className={classes["holder"]} style={{ height }} onKeyDown={onKeyDown}>
        <canvas
          ref={canvas}
          className={classes["canvas"]}
          style={{ height }}
          onPointerDown={(event) => {
            event.currentTarget.setPointerCapture(event.pointerId);
            drag.current = { x: event.clientX, y: event.clientY, moved: false };
          }}
          onPointerMove={onPointerMove}
          onPointerUp={onPointerUp}
          onPointerLeave={() => setSaid("")}
        />
      </div>
      <p className={classes["said"]} role="status">
        {said || props.summary}
      </p>
      <p id="map-keys" className={classes["keys"]}>
        {strings.map.keys}
      </p>
    </div>
  );
}
