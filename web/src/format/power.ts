/**
 * Power and energy for people. Inside, signs are load-positive; here they become words and arrows.
 *
 * Charts turn the sign once, with `outward`: up gives power (discharge, generation, sold), down takes it.
 */
import { strings } from "../strings";
import { fixed } from "./number";

/** Below this a battery counts as idle. */
export const IDLE_KW = 0.05;

function decimalsFor(magnitude: number): number {
  if (magnitude >= 100) return 0;
  return magnitude >= 10 ? 1 : 2;
}

/** The size of a power without its direction, e.g. `8.40 MW`, `3.2 kW`. */
export function powerSize(kw: number): string {
  const size = Math.abs(kw);
  if (size >= 1000) return `${fixed(size / 1000, size >= 100_000 ? 0 : size >= 10_000 ? 1 : 2)} MW`;
  return `${fixed(size, size >= 10 ? 0 : 1)} kW`;
}

/** The size of an energy without its direction. */
export function energySize(kwh: number): string {
  const size = Math.abs(kwh);
  if (size >= 1000) return `${fixed(size / 1000, decimalsFor(size / 1000))} MWh`;
  return `${fixed(size, size >= 10 ? 0 : 1)} kWh`;
}

function phrase(kw: number, taking: string, giving: string, size: (value: number) => string): string {
  return `${kw > 0 ? taking : giving} ${size(kw)}`;
}

/** Battery power in words: `discharging 3.20 MW`, `charging 40 kW`, `idle`. */
export function batteryPhrase(kw: number): string {
  if (Math.abs(kw) < IDLE_KW) return strings.direction.idle;
  return phrase(kw, strings.direction.charging, strings.direction.discharging, powerSize);
}

/** Power at the grid connection in words: `importing 1.2 MW`. */
export function gridPhrase(kw: number): string {
  if (Math.abs(kw) < IDLE_KW) return strings.direction.idle;
  return phrase(kw, strings.direction.importing, strings.direction.exporting, powerSize);
}

/** Market energy in words: `sold 8.40 MWh`, `bought 200 kWh`, `nothing`. */
export function tradedPhrase(mwh: number): string {
  if (Math.abs(mwh) < 5e-5) return strings.direction.nothing;
  return phrase(mwh * 1000, strings.direction.bought, strings.direction.sold, energySize);
}

/** Turn a load-positive value into one that points up when power is given; null stays a gap. */
export function outward(value: number | null | undefined): number | null {
  if (value === null || value === undefined || !Number.isFinite(value)) return null;
  return value === 0 ? 0 : -value;
}

function arrow(outwardValue: number): string {
  if (outwardValue === 0) return "";
  return `${outwardValue > 0 ? strings.direction.up : strings.direction.down} `;
}

/** The label of an axis tick, `value` pointing outward, in kW. `span` (kW) fixes one unit for the whole axis. */
export function powerTick(outwardKw: number, spanKw: number): string {
  const size = Math.abs(outwardKw);
  const inMw = spanKw >= 2000;
  const shown = inMw ? size / 1000 : size;
  const step = (inMw ? spanKw / 1000 : spanKw) / 5;
  return `${arrow(outwardKw)}${fixed(shown, step >= 1 ? 0 : step >= 0.1 ? 1 : 2)} ${inMw ? "MW" : "kW"}`;
}

/** The label of an axis tick in energy, `value` pointing outward, in MWh. */
export function energyTick(outwardMwh: number, spanMwh: number): string {
  const inKwh = spanMwh < 2;
  const shown = Math.abs(outwardMwh) * (inKwh ? 1000 : 1);
  const step = (spanMwh * (inKwh ? 1000 : 1)) / 5;
  return `${arrow(outwardMwh)}${fixed(shown, step >= 1 ? 0 : step >= 0.1 ? 1 : 2)} ${inKwh ? "kWh" : "MWh"}`;
}

function rangeOf(lowKw: number, highKw: number, say: (kw: number) => string): [string, string] {
  const sameWay = (lowKw >= IDLE_KW && highKw >= IDLE_KW) || (lowKw <= -IDLE_KW && highKw <= -IDLE_KW);
  if (!sameWay) return [say(lowKw), say(highKw)];
  // Said from the smaller to the larger size, as a person would.
  const [small, large] = Math.abs(lowKw) <= Math.abs(highKw) ? [lowKw, highKw] : [highKw, lowKw];
  return [powerSize(small), powerSize(large)];
}

/** A range of battery power, both ends in words; one direction is said once. */
export function batteryRange(lowKw: number, highKw: number): [string, string] {
  return rangeOf(lowKw, highKw, batteryPhrase);
}

/** A range of power at grid connections, in the same way. */
export function gridRange(lowKw: number, highKw: number): [string, string] {
  return rangeOf(lowKw, highKw, gridPhrase);
}

/** What a resource does in the market, in words: `selling 8.40 MW`. */
export function tradePhrase(kw: number): string {
  if (Math.abs(kw) < IDLE_KW) return strings.direction.idle;
  return phrase(kw, strings.direction.buying, strings.direction.selling, powerSize);
}

/** How delivered energy differs from what was awarded, in words; both load-positive, in MWh. */
export function deliveredGap(awardMwh: number, deliveredMwh: number): string {
  const gap = deliveredMwh - awardMwh;
  if (Math.abs(gap) < 5e-4) return strings.delivery.exact;
  // "Short" is nearer to nothing than the award was, whichever way the award went.
  const short = awardMwh !== 0 && Math.sign(gap) !== Math.sign(awardMwh);
  return (short ? strings.delivery.less : strings.delivery.more)(energySize(gap * 1000));
}
