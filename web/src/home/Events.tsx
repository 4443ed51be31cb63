/** Events that mean the home: under way, ahead and past; each may be sat out, which asks once and says what is given up. */
import { useState, type ReactElement } from "react";
import { api, type Schema } from "../api/client";
import { amount } from "../format/money";
import { percent } from "../format/number";
import { energySize, powerSize } from "../format/power";
import { countdown } from "../format/time";
import { useNowMs } from "../live/now";
import { Button } from "../ui/Button";
import { useConfirm } from "../ui/Confirm";
import { ReadCard } from "./Card";
import classes from "./Home.module.css";
import { strings } from "./strings";
import { faultWords, type Read } from "./useRead";
import { When } from "./When";

const words = strings.events;

type HomeEvent = Schema["HomeEvent"];
type Told = Schema["HomeTold"];
const PARTS = ["", "-charge", "-hold", "-return"];

/** Whether an event stands in what the home was told. */
export function inForce(event: HomeEvent, told: Told): boolean {
  return PARTS.some((part) => told.events.includes(`${event.event_id}${part}`));
}

/** What is asked of the battery, in words. */
export function askedWords(event: HomeEvent): string {
  const share = percent(event.soc_frac ?? 0);
  if (event.kind === "charge") return words.asked.charge(share);
  if (event.kind === "hold") return words.asked.hold(share);
  if (event.kind === "local") return words.asked.local;
  if (event.asked_kw === null) return words.asked.powerOpen;
  return event.asked_kw > 0 ? words.asked.take(powerSize(event.asked_kw)) : words.asked.power(powerSize(event.asked_kw));
}

/** How far the owner's word has come. */
export function wordOf(event: HomeEvent, told: Told): string {
  const stands = inForce(event, told);
  if (event.skipped_ms === null) {
    if (told.taken === null) return words.unheard;
    if (!stands) return "";
    if (!told.taken) return words.passing;
    return event.state === "running" ? words.follows : words.knows;
  }
  if (told.taken === null) return words.kept;
  if (stands) return words.still;
  return told.taken ? words.keepsOwn : words.sent;
}

function Left({ toMs, over }: { toMs: number; over: string }): ReactElement {
  const now = useNowMs();
  return <span className="tabular">{now === null ? "" : (countdown(toMs - now) ?? over)}</span>;
}

function GivingUp({ event }: { event: HomeEvent }): ReactElement {
  const asks = event.asked_kw !== null && event.asked_kw < 0;
  return (
    <>
      <p>{event.state === "running" ? words.askNow : words.askAhead}</p>
      <p>{event.pay === null ? words.askNoPay : words.askPay(amount(Number(event.pay.amount), event.pay.currency))}</p>
      <p>{asks ? words.askOthers(powerSize(event.asked_kw ?? 0)) : words.askNothing}</p>
      <p>{words.askBack}</p>
    </>
  );
}

interface OneProps {
  readonly event: HomeEvent;
  readonly told: Told;
  readonly zone: string;
  readonly siteId: string;
  readonly onSaid: () => void;
}

function One({ event, told, zone, siteId, onSaid }: OneProps): ReactElement {
  const ask = useConfirm();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const running = event.state === "running";
  const skipped = event.skipped_ms !== null;

  const say = (skips: boolean): void => {
    setBusy(true);
    setFault(null);
    const path = { path: { site_id: siteId, event_id: event.event_id } };
    const route = "/api/home/sites/{site_id}/events/{event_id}/skip" as const;
    (skips ? api.post(route, path) : api.delete(route, path))
      .catch((error: unknown) => setFault(faultWords(error)))
      .finally(() => {
        setBusy(false);
        onSaid();
      });
  };
  const skip = (): void => {
    void ask({ title: words.askTitle(event.program), body: <GivingUp event={event} />, act: words.skip, danger: true }).then((yes) => {
      if (yes !== null) say(true);
    });
  };

  const follows = wordOf(event, told);
  return (
    <li className={classes["event"]} data-testid="home-event" data-event={event.event_id} data-skipped={skipped} data-running={running} data-in-force={told.taken === null ? "unknown" : inForce(event, told)}>
      <p className={classes["dim"]}>{running ? words.running : words.ahead}</p>
      <h3>{event.program}</h3>
      <p>
        <When ms={event.from_ms} zone={zone} />
        {words.until}
        <When ms={event.until_ms} zone={zone} short />
      </p>
      <p className={classes["dim"]}>
        {running ? words.ends : words.begins} <Left toMs={running ? event.until_ms : event.from_ms} over={running ? words.ended : words.begun} />
      </p>
      {skipped ? (
        <p className={classes["said"]} role="status" data-testid="skipped">
          {words.skippedAt} <When ms={event.skipped_ms ?? 0} zone={zone} short />. {follows}
        </p>
      ) : (
        <>
          <p>{askedWords(event)}</p>
          {event.kind === "power" ? <p>{event.pay === null ? words.payOpen : (running ? words.payLeft : words.pay)(amount(Number(event.pay.amount), event.pay.currency), energySize(event.pay.energy_kwh))}</p> : null}
          {follows === "" ? null : <p className={classes["dim"]} role="status">{follows}</p>}
        </>
      )}
      {event.reason === "" ? null : <p className={classes["dim"]}>{words.reason(event.reason)}</p>}
      {event.why_not === "" ? null : <p className={classes["dim"]}>{event.why_not}</p>}
      {event.may_skip ? (
        <div className={classes["acts"]}>
          {skipped ? (
            <Button busy={busy} onClick={() => say(false)} testId="come-back">{words.back}</Button>
          ) : (
            <Button busy={busy} onClick={skip} testId="skip">{words.skip}</Button>
          )}
        </div>
      ) : null}
      {fault === null ? null : <p role="alert">{fault}</p>}
    </li>
  );
}

function howItWent(event: HomeEvent): string {
  if (event.state === "called off") return words.calledOff;
  return event.skipped_ms === null ? words.over : words.youSkipped;
}

function Past({ events, zone }: { events: readonly HomeEvent[]; zone: string }): ReactElement {
  return (
    <details className={classes["more"]}>
      <summary>{words.past}</summary>
      {events.length === 0 ? (
        <p>{words.nonePast}</p>
      ) : (
        <table className={classes["table"]}>
          <caption className={classes["hidden"]}>{words.pastCaption}</caption>
          <thead>
            <tr>
              <th scope="col">{words.columns.when}</th>
              <th scope="col">{words.columns.what}</th>
              <th scope="col">{words.columns.how}</th>
            </tr>
          </thead>
          <tbody>
            {events.map((event) => (
              <tr key={event.event_id}>
                <td><When ms={event.from_ms} zone={zone} /></td>
                <td>{event.program}</td>
                <td>{howItWent(event)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </details>
  );
}

export function Events({ siteId, zone, read }: { siteId: string; zone: string; read: Read<Schema["HomeEvents"]> }): ReactElement {
  return (
    <ReadCard title={words.title} hint={words.hint} testId="home-events" read={read}>
      {(events) => (
        <>
          {events.next.length === 0 ? <p>{words.none}</p> : null}
          <ul className={classes["events"]}>
            {events.next.map((event) => (
              <One key={event.event_id} event={event} told={events.told} zone={zone} siteId={siteId} onSaid={read.again} />
            ))}
          </ul>
          <Past events={events.past} zone={zone} />
        </>
      )}
    </ReadCard>
  );
}
