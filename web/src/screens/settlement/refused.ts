/** What the plant cannot tell yet is no fault of anything: it says why, and the panel says so. Pure. */
import { RefusedError } from "../../api/client";
import { faultWords, type PanelState } from "../../ui/panelState";
import { strings } from "./strings";

const UNKNOWN = 404;
const NOT_YET = 422;

export function refusedAsEmpty(error: unknown): PanelState | null {
  if (!(error instanceof RefusedError)) return null;
  if (error.status === UNKNOWN) return { kind: "empty", words: strings.noSuchDay };
  return error.status === NOT_YET ? { kind: "empty", words: faultWords(error) } : null;
}
