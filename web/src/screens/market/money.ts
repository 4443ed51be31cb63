/** Amounts of money that come as decimals in text. Pure. */
import { amount } from "../../format/money";

/** An expected amount in words. */
export function moneyWords(text: string, currency: string): string {
  return amount(Number(text), currency);
}
