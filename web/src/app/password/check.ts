/** What is wrong with a new password, by field, before it is sent; and what the plant's refusal says, likewise. */
import { RefusedError, UnreachedError } from "../../api/client";
import { LEAST, MOST, words } from "./strings";

export type Field = "old" | "next" | "again";
export type Faults = Partial<Record<Field | "all", string>>;
export type Given = Readonly<Record<Field, string>>;

const said = words.faults;
/** The order in which fields are looked at. */
export const FIELDS: readonly Field[] = ["old", "next", "again"];

export function faultsIn({ old, next, again }: Given): Faults {
  const faults: Faults = {};
  // Counted as the plant counts: a sign beyond the first plane is one character.
  const count = [...next].length;
  if (old === "") faults.old = said.noOld;
  if (count < LEAST) faults.next = said.short(count);
  else if (count > MOST) faults.next = said.long;
  else if (next === old) faults.next = said.same;
  else if (again !== next) faults.again = said.unlike;
  return faults;
}

export function faultsOfRefusal(error: unknown): Faults {
  if (error instanceof UnreachedError) return { all: said.unreached };
  if (error instanceof RefusedError) {
    if (error.field === "old") return { old: said.wrongOld };
    if (error.field === "new") return { next: error.fix ?? error.message };
    if (error.status === 429) return { all: said.tooMany };
  }
  return { all: said.refused(error instanceof Error ? error.message : String(error)) };
}
