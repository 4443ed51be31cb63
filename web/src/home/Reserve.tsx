/** What the owner keeps for outages: a slider, what it means in hours as far as that is known, and whether the battery has it. */
import { useId, useState, type ReactElement } from "react";
import { api, type Schema } from "../api/client";
import { percent } from "../format/number";
import { energySize, powerSize } from "../format/power";
import { Button } from "../ui/Button";
import { backupOf, lasting, reserveKwh } from "./backup";
import { Card } from "./Card";
import classes from "./Home.module.css";
import { strings } from "./strings";
import { faultWords } from "./useRead";
import { When } from "./When";

const words = strings.reserve;
const STEP = 5;

/** The places of the slider, in percent: the least that is possible, then every fifth percent. */
export function snapped(percentValue: number, least: number): number {
  return percentValue <= least ? least : Math.min(Math.max(Math.round(percentValue / STEP) * STEP, least), 100);
}

/** Whether the battery has what was said. */
export function toldWords(told: Schema["HomeTold"], asked: number | null): string {
  if (told.taken === null) return words.waits;
  const there = Math.abs((told.reserve_frac ?? 0) - (asked ?? 0)) < 1e-6;
  return told.taken && there ? words.saved : words.sent;
}

/** What keeping a share means in an outage. */
export function Means({ home, frac }: { home: Schema["HomeSite"]; frac: number }): ReactElement {
  const backup = backupOf(reserveKwh(home, frac), home.use);
  if (frac <= 0) return <p>{words.nothing}</p>;
  if (backup === null) return <p>{words.tooFew(home.use.hours, home.use.needed_hours)}</p>;
  return (
    <>
      <p data-testid="backup">
        <strong>{words.hours(lasting(backup.usualH))}</strong> {words.range(lasting(backup.shortH), lasting(backup.longH))}
      </p>
      <details className={classes["more"]}>
        <summary>{words.basisTitle}</summary>
        <p>{words.basis(home.use.hours)}</p>
        <p>{words.weak(powerSize(home.discharge_limit_kw))}</p>
      </details>
    </>
  );
}

export interface ReserveProps {
  readonly home: Schema["HomeSite"];
  readonly socFrac: number | null;
  readonly onKept: (reserve: Schema["HomeReserve"]) => void;
}

export function Reserve({ home, socFrac, onKept }: ReserveProps): ReactElement {
  const id = useId();
  const { reserve } = home;
  const [chosen, setChosen] = useState<number | null>(null);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const least = 100 * reserve.least_frac;
  const at = chosen ?? 100 * reserve.reserve_frac;
  const frac = at / 100;

  const save = (): void => {
    setBusy(true);
    setFault(null);
    api
      .put("/api/home/sites/{site_id}/reserve", { path: { site_id: home.site_id }, body: { reserve_frac: frac } })
      .then((kept) => {
        onKept(kept);
        setChosen(null);
      })
      .catch((error: unknown) => setFault(faultWords(error)))
      .finally(() => setBusy(false));
  };

  const card = { title: words.title, hint: words.hint, testId: "home-reserve" };
  if (home.energy_capacity_kwh <= 0) return <Card {...card}><p>{words.noBattery}</p></Card>;
  const said = words.value(percent(frac), energySize(frac * home.energy_capacity_kwh));
  return (
    <Card {...card}>
      <label htmlFor={id} className={classes["figure"]}>
        <span className={classes["hidden"]}>{words.label}</span>
        <output htmlFor={id} data-testid="reserve-value">{said}</output>
      </label>
      <input
        id={id}
        className={classes["slider"]}
        type="range"
        min={least}
        max={100}
        step="any"
        value={at}
        aria-valuetext={said}
        disabled={busy}
        onChange={(event) => setChosen(snapped(Number(event.target.value), least))}
        onKeyDown={(event) => {
          const by = event.key === "ArrowRight" || event.key === "ArrowUp" ? STEP : event.key === "ArrowLeft" || event.key === "ArrowDown" ? -STEP : 0;
          if (by === 0) return;
          event.preventDefault();
          setChosen(snapped(at + by, least));
        }}
      />
      <Means home={home} frac={frac} />
      {socFrac !== null && socFrac < frac - 0.005 ? <p>{words.below(percent(socFrac))}</p> : null}
      {chosen !== null && Math.abs(chosen - 100 * reserve.reserve_frac) > 0.01 ? (
        <div className={classes["acts"]}>
          <Button onClick={() => setChosen(null)}>{words.undo}</Button>
          <Button kind="primary" busy={busy} onClick={save} testId="keep-reserve">{words.save}</Button>
        </div>
      ) : (
        <p className={classes["dim"]} role="status" data-testid="reserve-told">
          {reserve.asked_frac === null ? words.least(percent(reserve.least_frac)) : toldWords(reserve.told, reserve.asked_frac)}
          {reserve.asked_ms === null ? null : (
            <>
              {" "}
              {words.by(reserve.asked_by)} <When ms={reserve.asked_ms} zone={home.zone} />
            </>
          )}
        </p>
      )}
      {fault === null ? null : <p role="alert">{fault}</p>}
    </Card>
  );
}
