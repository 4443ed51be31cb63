// @vitest-environment jsdom
import { act, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { draw, faultsOf } from "../testing/render";
import { cellsOf, fitted, inView, nearest, onScreen, zoomed } from "./cells";
import { MapCanvas, projected, type MapPoints } from "./MapCanvas";

const POINTS: MapPoints = {
  ids: ["a", "b", "c"],
  lat: Float64Array.from([29.7, 32.8, 30.3]),
  lon: Float64Array.from([-95.4, -96.8, -97.7]),
  version: 1,
};

describe("places on the map", () => {
  const { px, py } = projected(POINTS);
  const view = fitted(px, py, 800, 400);

  it("has north up and east right, all in view", () => {
    const at = (row: number): [number, number] => onScreen(view, px[row] ?? 0, py[row] ?? 0);
    expect(at(0)[0]).toBeGreaterThan(at(2)[0]);
    expect(at(1)[1]).toBeLessThan(at(0)[1]);
    expect(inView(view, px, py)).toEqual([0, 1, 2]);
    expect(nearest(view, [0, 1, 2], px, py, ...at(1))).toBe(1);
    expect(nearest(view, [0, 1, 2], px, py, -500, -500)).toBeNull();
  });

  it("keeps the place under the pointer while zooming", () => {
    const [x, y] = onScreen(view, px[1] ?? 0, py[1] ?? 0);
    expect(onScreen(zoomed(view, 3, x, y), px[1] ?? 0, py[1] ?? 0).map(Math.round)).toEqual([x, y].map(Math.round));
  });

  it("makes few marks of many places, and loses none", () => {
    const many = 10_000;
    const mx = Float64Array.from({ length: many }, (_, i) => ((i * 7919) % 1000) / 1e4);
    const my = Float64Array.from({ length: many }, (_, i) => ((i * 104_729) % 1000) / 1e4);
    const all = fitted(mx, my, 800, 400);
    const rows = inView(all, mx, my);
    const cells = cellsOf(all, rows, mx, my);
    expect(cells.length).toBeLessThan(700);
    expect(cells.reduce((sum, cell) => sum + cell.rows.length, 0)).toBe(many);
  });

  it("stands somewhere with one place or none", () => {
    expect(Number.isFinite(fitted(new Float64Array(0), new Float64Array(0), 100, 100).scale)).toBe(true);
    expect(Number.isFinite(fitted(Float64Array.of(0.1), Float64Array.of(0.2), 100, 100).scale)).toBe(true);
  });
});

describe("MapCanvas", () => {
  it("says what it shows, and walks from alarm to alarm by the keyboard", async () => {
    const pick = vi.fn();
    const { container } = draw(
      <MapCanvas
        points={POINTS}
        label="Fleet"
        colorOf={() => "--battery"}
        alarm={(row) => row !== 1}
        describe={(row) => `site ${POINTS.ids[row]}`}
        summary="3 sites"
        onPick={pick}
      />,
    );
    expect(screen.getByRole("status").textContent).toBe("3 sites");
    act(() => screen.getByRole("application").focus());
    await userEvent.keyboard("{Tab}{Tab}");
    expect(screen.getByRole("status").textContent).toBe("site c");
    await userEvent.keyboard("{Enter}");
    expect(pick).toHaveBeenCalledWith(2);
    expect(await faultsOf(container)).toEqual([]);
  });
});
