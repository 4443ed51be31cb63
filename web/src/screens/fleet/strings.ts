/** The words of the fleet's screen. */
export const strings = {
  title: "Fleet",
} as const;
