/** One line for each weather alert that touches a site: what, until when, how much of the fleet is inside. */
import type { ReactElement } from "react";
import type { AlertNow } from "../../api/types";
import { count } from "../../format/number";
import { strings } from "../../strings";
import { Pill } from "../../ui/Pill";
import { TONES, inside, title } from "./weather";
import classes from "./Weather.module.css";

const words = strings.weather;
const SHOWN = 3;

export function WeatherLines({ alerts, nowMs, zone }: { alerts: readonly AlertNow[]; nowMs: number; zone: string }): ReactElement | null {
  if (alerts.length === 0) return null;
  return (
    <ul className={classes["lines"]} aria-label={words.title} data-testid="weather">
      {alerts.slice(0, SHOWN).map((alert) => (
        <li key={alert.key}>
          <Pill tone={TONES[alert.severity]}>{words.severityWords[alert.severity]}</Pill>
          <span>
            <strong>{title(alert, nowMs, zone)}</strong>: {inside(alert)}
          </span>
        </li>
      ))}
      {alerts.length > SHOWN ? <li className={classes["more"]}>{words.more(count(alerts.length - SHOWN))}</li> : null}
    </ul>
  );
}
