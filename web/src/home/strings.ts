/** The words of the home page. */
export const strings = {
  title: "My home",
  which: "Which home?",
  whichHint: "Open this page with ?site= and the name of a home.",
  live: "Now",
  asOf: (age: string) => `${age} ago`,
  never: "Nothing was heard from your home yet.",
  battery: "Battery",
  solar: "Solar roof",
  load: "Your home uses",
  car: "Car",
  grid: "Grid",
  charge: "Battery charge",
  unknown: "not measured",
  waiting: "Asking your home",
} as const;
