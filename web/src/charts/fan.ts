/** A forecast as a fan: the median as a line, and a band for each pair of quantiles, the wider the paler. Pure. */
import type { Nullable } from "../api/types";
import type { Token } from "../ui/tokens";
import type { Band, ChartSeries } from "./TimeChart";

export interface Fan {
  readonly series: ChartSeries[];
  readonly bands: Band[];
}

const STRONGEST = 0.38;
const PALEST = 0.14;

/** Return what to draw of quantiles by their share (`"0.05"`, `"0.5"`, ...); only pairs that lie around the median make a band. */
export function fanOf(quantiles: Readonly<Record<string, readonly Nullable[]>>, color: Token, label: (share: number) => string): Fan {
  const byShare = new Map(Object.entries(quantiles).map(([share, values]) => [Number(share), values] as const));
  const shares = [...byShare.keys()].filter((share) => share > 0 && share < 1).sort((a, b) => a - b);
  const key = (share: number): string => `q${share}`;
  const valuesOf = (share: number): Nullable[] => [...(byShare.get(share) ?? [])];
  const pairs = shares.filter((share) => share < 0.5 && shares.some((other) => Math.abs(other - (1 - share)) < 1e-9)).map((share) => [share, 1 - share] as const);
  const series: ChartSeries[] = [];
  const bands: Band[] = [];
  pairs.forEach(([low, high], i) => {
    const top = shares.find((share) => Math.abs(share - high) < 1e-9) ?? high;
    series.push({ key: key(top), label: label(top), color, kind: "edge", values: valuesOf(top) });
    series.push({ key: key(low), label: label(low), color, kind: "edge", values: valuesOf(low) });
    const part = pairs.length === 1 ? 0.5 : i / (pairs.length - 1);
    bands.push({ upper: key(top), lower: key(low), color, strength: PALEST + (STRONGEST - PALEST) * part });
  });
  if (shares.includes(0.5)) series.push({ key: key(0.5), label: label(0.5), color, kind: "line", dashed: true, values: valuesOf(0.5) });
  return { series, bands };
}
