/** Money and prices. A price may be negative and then carries its sign; an amount says who pays. */
import { strings } from "../strings";
import { fixed } from "./number";

const LOCALE = "en-US";
const formats = new Map<string, Intl.NumberFormat>();

function currencyFormat(currency: string, decimals: number): Intl.NumberFormat {
  const key = `${currency}/${decimals}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat(LOCALE, {
      style: "currency",
      currency,
      minimumFractionDigits: decimals,
      maximumFractionDigits: decimals,
    });
    formats.set(key, format);
  }
  return format;
}

/** An amount in words: `$1,240` earned, `paid $12.30` when negative. */
export function amount(value: number, currency: string): string {
  const size = Math.abs(value);
  const text = currencyFormat(currency, size >= 1000 ? 0 : 2).format(size);
  return value < 0 && size >= 0.005 ? strings.money.paid(text) : strings.money.earned(text);
}

/** A price with its unit, e.g. `$45.10/MWh`, `−$3.20/MWh`. */
export function price(value: number, currency: string): string {
  const size = Math.abs(value);
  const text = `${currencyFormat(currency, size >= 1000 ? 0 : 2).format(size)}/MWh`;
  return value < 0 && size >= 0.005 ? `\u2212${text}` : text;
}

/** The label of a price axis tick. */
export function priceTick(value: number, currency: string): string {
  const symbol = currencyFormat(currency, 0)
    .formatToParts(0)
    .find((part) => part.type === "currency");
  const text = `${symbol?.value ?? currency}${fixed(Math.abs(value), Math.abs(value) % 1 === 0 ? 0 : 1)}`;
  return value < 0 ? `\u2212${text}` : text;
}

/** The size of whole cents, always with both decimals, so that what is shown adds up: `$1,240.05`. */
export function exactSize(cents: number, currency: string): string {
  return currencyFormat(currency, 2).format(Math.abs(cents) / 100);
}

/** Whole cents in words: `$1,240.05` earned, `paid $12.30` when negative. */
export function exactAmount(cents: number, currency: string): string {
  const text = exactSize(cents, currency);
  return cents < 0 ? strings.money.paid(text) : strings.money.earned(text);
}
