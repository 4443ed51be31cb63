/** The top of the page: what needs a person, the one sentence, and five figures, each with how certain it is. */
import { Alert, Skeleton, Tooltip } from "@mantine/core";
import type { ReactElement, ReactNode } from "react";
import type { FleetNow, LiveState } from "../../api/types";
import { marketName } from "../../format/market";
import { amount } from "../../format/money";
import { count, percent } from "../../format/number";
import { IDLE_KW, batteryPhrase, batteryRange, energySize } from "../../format/power";
import { countdown, deliveryDay, duration } from "../../format/time";
import { useNowMs } from "../../live/now";
import { useLive } from "../../live/store";
import { strings } from "../../strings";
import { ErrorBoundary } from "../../ui/ErrorBoundary";
import { attention } from "./attention";
import { composition, sentence } from "./sentence";
import classes from "./Overview.module.css";

const words = strings.figures;

function Figure(props: { label: string; value: string; testId: string; hint?: string; children?: ReactNode }): ReactElement {
  const label = <div className={classes["label"]}>{props.label}</div>;
  return (
    <div className={classes["figure"]}>
      {props.hint ? (
        <Tooltip label={props.hint} multiline w={260} events={{ hover: true, focus: true, touch: true }}>
          <button type="button" className={classes["explain"]}>
            {props.label}
          </button>
        </Tooltip>
      ) : (
        label
      )}
      <div className={classes["value"]} data-testid={props.testId}>
        {props.value}
      </div>
      <div className={classes["detail"]}>{props.children}</div>
    </div>
  );
}

function Bar({ frac }: { frac: number }): ReactElement {
  return (
    <div className={classes["bar"]} aria-hidden>
      <div style={{ width: `${Math.min(Math.max(frac, 0), 1) * 100}%` }} />
    </div>
  );
}

function BatteryFigure({ fleet }: { fleet: FleetNow | null }): ReactElement {
  if (!fleet) return <Figure label={words.battery} value={words.socUnknown} testId="battery-power" />;
  const exact = Math.abs(fleet.battery_high_kw - fleet.battery_low_kw) < IDLE_KW;
  const range = batteryRange(fleet.battery_low_kw, fleet.battery_high_kw);
  return (
    <Figure label={words.battery} value={batteryPhrase(fleet.battery_kw)} testId="battery-power" hint={words.batteryHint}>
      {exact ? words.batteryExact : words.batteryRange(...range)}
    </Figure>
  );
}

function GateFigure({ state }: { state: LiveState }): ReactElement {
  const now = useNowMs();
  const gate = state.next_gate;
  if (!gate || now === null) return <Figure label={words.gate} value={words.gateNone} testId="gate-countdown" />;
  return (
    <Figure label={words.gate} value={countdown(gate.gate_ms - now) ?? words.gateClosed} testId="gate-countdown">
      <div>{marketName(gate.market_id)}</div>
      <div>{words.gateDetail(deliveryDay(gate.delivery_date), count(gate.resources_ready.length), count(state.resources.length))}</div>
    </Figure>
  );
}

function MoneyFigure({ money }: { money: LiveState["money"] }): ReactElement {
  const { revenue, perfect_foresight: best, currency, by_day: days } = money;
  const shared = revenue !== null && best !== null && best > 0;
  const dates = (status: string): number => new Set(days.filter((day) => day.status === status).map((day) => day.delivery_date)).size;
  return (
    <Figure label={words.money} value={revenue === null ? words.moneyUnknown : amount(revenue, currency)} testId="money" hint={words.moneyHint}>
      <div>{shared ? words.moneyShare(percent(revenue / best)) : words.moneyShareUnknown}</div>
      {days.length > 0 ? <div>{words.settledDays(count(dates("settled")), count(dates("provisional")))}</div> : null}
    </Figure>
  );
}

function Figures({ state }: { state: LiveState }): ReactElement {
  const { fleet } = state;
  return (
    <div className={classes["figures"]}>
      <BatteryFigure fleet={fleet} />
      <Figure label={words.soc} value={fleet?.soc_frac == null ? words.socUnknown : percent(fleet.soc_frac)} testId="soc">
        {fleet?.soc_frac == null ? null : <Bar frac={fleet.soc_frac} />}
        {fleet ? words.socDetail(energySize(fleet.energy_kwh), energySize(fleet.energy_capacity_kwh)) : null}
      </Figure>
      <Figure label={words.coverage} value={fleet ? percent(fleet.coverage_kw_frac, 1) : words.socUnknown} testId="coverage" hint={words.coverageHint}>
        {fleet ? (
          <>
            <div>{words.coverageDetail(count(fleet.fresh), count(fleet.stale), count(fleet.unknown))}</div>
            <div>{fleet.oldest_age_s === null ? words.coverageAgeNone : words.coverageAge(duration(fleet.oldest_age_s))}</div>
          </>
        ) : null}
      </Figure>
      <MoneyFigure money={state.money} />
      <GateFigure state={state} />
    </div>
  );
}

function Attention({ state }: { state: LiveState }): ReactElement | null {
  const entries = attention(state, useNowMs() ?? state.now_ms);
  if (entries.length === 0) return null;
  return (
    <Alert className={classes["alert"] ?? ""} title={strings.attention.title} role="alert" variant="outline" color="gray" data-testid="attention">
      <ul>
        {entries.map((entry) => (
          <li key={entry}>{entry}</li>
        ))}
      </ul>
    </Alert>
  );
}

export function Overview(): ReactElement {
  const state = useLive((view) => view.state);
  if (state === null) {
    return (
      <section aria-busy>
        <h1 className={classes["sentence"]}>{strings.loading}</h1>
        <Skeleton height={110} />
      </section>
    );
  }
  return (
    <section aria-label={strings.product}>
      <ErrorBoundary>
        <Attention state={state} />
      </ErrorBoundary>
      <ErrorBoundary>
        <p className={classes["who"]}>{composition(state.resources)}</p>
        <h1 className={classes["sentence"]} data-testid="sentence">
          {sentence(state)}
        </h1>
      </ErrorBoundary>
      <ErrorBoundary>
        <Figures state={state} />
      </ErrorBoundary>
    </section>
  );
}
