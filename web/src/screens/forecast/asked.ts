/** What is asked of the plant for all panels of one forecast: the same question is asked once. */
export interface Asked {
  readonly series: string;
  readonly from_ms: number | null;
  readonly to_ms: number | null;
}

export const ASK_MS = 120_000;
