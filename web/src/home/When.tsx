/** An instant in the plant's own time; UTC beside it on hover, and on a tap, for a phone has no hover. */
import { useState, type ReactElement } from "react";
import { dayHour, hourMinute, utc } from "../format/time";
import classes from "./Home.module.css";
import { strings } from "./strings";

export interface WhenProps {
  readonly ms: number;
  readonly zone: string;
  /** Only the hour, where the day was said. */
  readonly short?: boolean;
}

export function When({ ms, zone, short = false }: WhenProps): ReactElement {
  const [open, setOpen] = useState(false);
  const local = short ? hourMinute(ms, zone) : dayHour(ms, zone);
  return (
    <button type="button" className={classes["when"]} aria-expanded={open} title={strings.instant(strings.inZone(local, zone), utc(ms))} onClick={() => setOpen(!open)}>
      <time dateTime={new Date(ms).toISOString()}>{open ? strings.instant(strings.inZone(local, zone), utc(ms)) : local}</time>
    </button>
  );
}
