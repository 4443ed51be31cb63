/** Storm watch: on or off, and the weather alerts with the home inside. */
import { useId, useState, type ReactElement } from "react";
import { api, type Schema } from "../api/client";
import { Card } from "./Card";
import classes from "./Home.module.css";
import { strings } from "./strings";
import { faultWords } from "./useRead";
import { When } from "./When";

const words = strings.storm;

export interface StormProps {
  readonly home: Schema["HomeSite"];
  readonly onSaid: (storm: Schema["HomeStorm"]) => void;
}

export function Storm({ home, onSaid }: StormProps): ReactElement {
  const id = useId();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const { storm } = home;
  const turn = (): void => {
    setBusy(true);
    setFault(null);
    api
      .put("/api/home/sites/{site_id}/storm-watch", { path: { site_id: home.site_id }, body: { on: !storm.on } })
      .then(onSaid)
      .catch((error: unknown) => setFault(faultWords(error)))
      .finally(() => setBusy(false));
  };
  return (
    <Card title={words.title} hint={words.hint} testId="home-storm">
      {storm.offered ? (
        <div className={classes["switchLine"]}>
          <span id={id}>{words.label}</span>
          <button type="button" role="switch" className={classes["switch"]} aria-checked={storm.on} aria-labelledby={id} disabled={busy} onClick={turn}>
            <span aria-hidden className={classes["knob"]} />
            <span aria-hidden>{storm.on ? words.on : words.off}</span>
          </button>
        </div>
      ) : null}
      <p role="status">{storm.offered ? (storm.on ? words.onSays : words.offSays) : words.notOffered}</p>
      {storm.alerts.length === 0 ? (
        <p className={classes["dim"]}>{words.calm}</p>
      ) : (
        <ul className={classes["plain"]}>
          {storm.alerts.map((alert) => (
            <li key={`${alert.event} ${alert.until_ms}`} className={classes["note"]}>
              {words.alert(alert.event, alert.severity)} {words.until} <When ms={alert.until_ms} zone={home.zone} />
            </li>
          ))}
        </ul>
      )}
      {fault === null ? null : <p role="alert">{fault}</p>}
    </Card>
  );
}
