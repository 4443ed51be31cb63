/** What the shell says of this screen before it is loaded. */
export const titles = { title: "Alarms", one: "Alarm" } as const;
