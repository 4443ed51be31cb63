/** Columns as the plant packs them (`api/fleet/packed.py`): bytes of whole numbers plane by plane, names by what they share. Pure. */

/** A number that is not known. */
export const NONE = -0x80000000;
/** The character of a name that shares nothing with the one before. */
const NOTHING_SHARED = 0x30;

function bytesOf(text: string): Uint8Array {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** So many whole numbers; `NONE` where there is none. */
export function unpack(text: string, rows: number): Int32Array {
  const bytes = bytesOf(text);
  const values = new Int32Array(rows);
  for (let at = 0; at < bytes.length; at += 1) {
    const row = at % rows;
    values[row]! |= bytes[at]! << (8 * ((at - row) / rows));
  }
  for (let row = 0; row < rows; row += 1) {
    const code = values[row]! - 1;
    values[row] = code < 0 ? NONE : code & 1 ? -((code + 1) >> 1) : code >> 1;
  }
  return values;
}

/** Whole numbers that were sent as the steps from one to the next. */
export function unpackSteps(text: string, rows: number): Int32Array {
  const values = unpack(text, rows);
  for (let row = 1; row < rows; row += 1) values[row]! += values[row - 1]!;
  return values;
}

/** The rows whose bit is set. */
export function unpackBits(text: string): Int32Array {
  const bytes = bytesOf(text);
  const rows: number[] = [];
  for (let at = 0; at < bytes.length * 8; at += 1) if ((bytes[at >> 3]! >> (at & 7)) & 1) rows.push(at);
  return Int32Array.from(rows);
}

export function unpackNames(text: string): string[] {
  if (text === "") return [];
  let last = "";
  return text.split("\n").map((line) => (last = last.slice(0, line.charCodeAt(0) - NOTHING_SHARED) + line.slice(1)));
}
