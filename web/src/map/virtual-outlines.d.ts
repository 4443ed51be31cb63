/** What `outlines.plugin.mjs` makes when the page is built. */
declare module "virtual:outlines" {
  interface Coded {
    readonly perDeg: number;
    readonly lines: readonly (readonly number[])[];
  }
  export const coasts: Coded;
  export const borders: Coded;
}
