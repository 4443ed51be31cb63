/** Instants in the market's own zone, ages and countdowns. */
import { strings } from "../strings";

const LOCALE = "en-US";
const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: string, key: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const name = `${zone}/${key}`;
  let made = formats.get(name);
  if (!made) {
    try {
      made = new Intl.DateTimeFormat(LOCALE, { ...options, timeZone: zone, hourCycle: "h23" });
    } catch {
      // A zone that this browser does not know: UTC, and the clock says so.
      made = new Intl.DateTimeFormat(LOCALE, { ...options, timeZone: "UTC", hourCycle: "h23" });
    }
    formats.set(name, made);
  }
  return made;
}

/** The full clock with its zone: `Wed 10 Feb 2021 06:00:05 CST`. */
export function clock(ms: number, zone: string): string {
  const parts = new Map(
    format(zone, "clock", {
      weekday: "short",
      day: "numeric",
      month: "short",
      year: "numeric",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      timeZoneName: "short",
    })
      .formatToParts(ms)
      .map((part) => [part.type, part.value]),
  );
  const get = (type: Intl.DateTimeFormatPartTypes): string => parts.get(type) ?? "";
  const day = `${get("weekday")} ${get("day")} ${get("month")} ${get("year")}`;
  return `${day} ${get("hour")}:${get("minute")}:${get("second")} ${get("timeZoneName")}`;
}

/** The same instant in UTC, for the hover: `2021-02-10 12:00:05 UTC`. */
export function utc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Hour and minute: `06:00`. */
export function hourMinute(ms: number, zone: string): string {
  return format(zone, "hm", { hour: "2-digit", minute: "2-digit" }).format(ms);
}

/** Day of the month: `10 Feb`. */
export function dayMonth(ms: number, zone: string): string {
  const parts = format(zone, "dm", { day: "numeric", month: "short" }).formatToParts(ms);
  const get = (type: Intl.DateTimeFormatPartTypes): string => parts.find((part) => part.type === type)?.value ?? "";
  return `${get("day")} ${get("month")}`;
}

/** Day, hour and minute: `10 Feb 06:00`. */
export function dayHour(ms: number, zone: string): string {
  return `${dayMonth(ms, zone)} ${hourMinute(ms, zone)}`;
}

/** An interval: `10 Feb 06:00 to 07:00`. */
export function intervalWords(startMs: number, endMs: number, zone: string): string {
  return strings.panel.interval(dayHour(startMs, zone), hourMinute(endMs, zone));
}

/** A tick of a time axis: the day at local midnight, else hour and minute. */
export function timeTick(ms: number, zone: string): string {
  const text = hourMinute(ms, zone);
  return text === "00:00" ? dayMonth(ms, zone) : text;
}

/** A delivery date (`2021-02-10`, a local day, no instant) as `Wed 10 Feb`. */
export function deliveryDay(date: string): string {
  const ms = Date.parse(`${date}T12:00:00Z`);
  if (Number.isNaN(ms)) return date;
  const weekday = format("UTC", "wd", { weekday: "short" }).format(ms);
  return `${weekday} ${dayMonth(ms, "UTC")}`;
}

/** How long until an instant: `3 h 04 min`, `4 min 05 s`, `12 s`; null when it has passed. */
export function countdown(remainingMs: number): string | null {
  if (remainingMs <= 0) return null;
  const total = Math.floor(remainingMs / 1000);
  const days = Math.floor(total / 86_400);
  const hours = Math.floor((total % 86_400) / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  const seconds = total % 60;
  const two = (value: number): string => String(value).padStart(2, "0");
  if (days > 0) return `${days} d ${two(hours)} h`;
  if (hours > 0) return `${hours} h ${two(minutes)} min`;
  if (minutes > 0) return `${minutes} min ${two(seconds)} s`;
  return `${seconds} s`;
}

/** An age or a duration in seconds: `0.4 s`, `12 s`, `3 min`, `2 h`, `5 d`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
