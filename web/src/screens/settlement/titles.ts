/** What the shell says of this screen before it is loaded. */
export const titles = { title: "Settlement" } as const;
