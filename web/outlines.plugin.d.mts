import type { Plugin } from "vite";

type Point = readonly [number, number];

export function thinned(line: readonly Point[], off: number): Point[];
export function steps(line: readonly Point[], perDeg: number): number[];
export function outlines(): Plugin;
