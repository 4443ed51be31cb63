/** Colours by meaning. The values live in `tokens.css`, once for light and once for dark; a colour means one thing everywhere. */
export type Token =
  | "--battery"
  | "--import"
  | "--export"
  | "--solar"
  | "--load"
  | "--price"
  | "--forecast"
  | "--plan"
  | "--ink"
  | "--ink-dim"
  | "--grid"
  | "--edge"
  | "--card"
  | "--warn-ink"
  | "--bad-ink"
  | "--focus";

/** The present value of a colour, for a canvas. */
export function tokenValue(token: Token): string {
  return getComputedStyle(document.documentElement).getPropertyValue(token).trim();
}
