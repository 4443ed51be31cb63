/** What the shell says of this screen before it is loaded. */
export const titles = { title: "Dispatch", form: "New dispatch", order: "Order" } as const;
