/** Local date and time as a field of the browser holds them, in the plant's zone. Pure. */

const formats = new Map<string, Intl.DateTimeFormat>();

function partsIn(zone: string): Intl.DateTimeFormat {
  let made = formats.get(zone);
  if (!made) {
    const options: Intl.DateTimeFormatOptions = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    try {
      made = new Intl.DateTimeFormat("en-US", { ...options, timeZone: zone });
    } catch {
      made = new Intl.DateTimeFormat("en-US", { ...options, timeZone: "UTC" });
    }
    formats.set(zone, made);
  }
  return made;
}

/** An instant as `2021-02-10T06:00`. */
export function localText(ms: number, zone: string): string {
  const parts = new Map(partsIn(zone).formatToParts(ms).map((one) => [one.type, one.value]));
  const get = (type: Intl.DateTimeFormatPartTypes): string => parts.get(type) ?? "";
  return `${get("year")}-${get("month")}-${get("day")}T${get("hour")}:${get("minute")}`;
}

/** The instant of a local time; of two (an hour that comes twice) the earlier, null for none (an hour that is left out). */
export function msOfLocal(text: string, zone: string): number | null {
  const exact = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$/.test(text.slice(0, 16)) ? text.slice(0, 16) : null;
  const asUtc = exact === null ? Number.NaN : Date.parse(`${exact}:00Z`);
  if (Number.isNaN(asUtc)) return null;
  const offsetAt = (ms: number): number => Date.parse(`${localText(ms, zone)}:00Z`) - Math.floor(ms / 60_000) * 60_000;
  const day = 86_400_000;
  const found = [asUtc - offsetAt(asUtc - day), asUtc - offsetAt(asUtc + day)].filter((ms) => localText(ms, zone) === exact);
  return found.length === 0 ? null : Math.min(...found);
}

export const QUARTER_MS = 15 * 60_000;

/** The first quarter of an hour at or after an instant. */
export function nextQuarter(ms: number): number {
  return Math.ceil(ms / QUARTER_MS) * QUARTER_MS;
}
