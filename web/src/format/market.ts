/** Names of markets as people say them. */
import { strings } from "../strings";

/** The spoken name of a market id; an unknown id is shown as it is, without dashes. */
export function marketName(id: string): string {
  const key = id.toLowerCase().replaceAll("_", "-");
  return strings.markets[key] ?? id.replaceAll(/[-_]/g, " ");
}

/** A code (`no_such_site`) as words. */
export function codeWords(code: string): string {
  return code.replaceAll(/[-_]/g, " ");
}
