/** Outlines of countries and states, bundled and loaded with the first map: no tiles, nothing from elsewhere. */
import type { MultiLineString } from "geojson";
import { mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";

export interface Outlines {
  readonly coasts: MultiLineString;
  readonly borders: MultiLineString;
}

let held: Promise<Outlines> | null = null;

async function load(): Promise<Outlines> {
  const [world, states] = await Promise.all([import("world-atlas/countries-110m.json"), import("us-atlas/states-10m.json")]);
  const land = world.default as unknown as Topology<{ countries: GeometryCollection }>;
  const us = states.default as unknown as Topology<{ states: GeometryCollection }>;
  return {
    coasts: mesh(land, land.objects.countries),
    borders: mesh(us, us.objects.states),
  };
}

/** The outlines; loaded once, and again after a failure. */
export function outlines(): Promise<Outlines> {
  held ??= load().catch((error: unknown) => {
    held = null;
    throw error;
  });
  return held;
}
