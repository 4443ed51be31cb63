/** Plain numbers: grouped, with a fixed number of decimals so that they do not dance. */

const LOCALE = "en-US";
const formats = new Map<number, Intl.NumberFormat>();

/** Format with exactly `decimals` decimals. */
export function fixed(value: number, decimals: number): string {
  let format = formats.get(decimals);
  if (!format) {
    format = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    formats.set(decimals, format);
  }
  // Rounding must not leave a "-0".
  const rounded = Number(value.toFixed(decimals));
  return format.format(rounded === 0 ? 0 : rounded);
}

/** A count: whole, grouped. */
export function count(value: number): string {
  return fixed(value, 0);
}

/** A share of one as a percentage, e.g. `97 %`. Never rounds up to 100 % what is not whole. */
export function percent(frac: number, decimals = 0): string {
  const scale = 10 ** decimals;
  const raw = frac * 100 * scale;
  let shown = Math.round(raw) / scale;
  if (frac < 1 && shown >= 100) shown = Math.floor(raw) / scale;
  return `${fixed(shown, decimals)} %`;
}

/** A number of bytes. */
export function bytes(size: number): string {
  return size < 1024 ? `${count(size)} B` : `${fixed(size / 1024, 1)} KiB`;
}
