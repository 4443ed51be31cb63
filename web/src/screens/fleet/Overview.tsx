/** The top of the page: what needs a person, the one sentence, the weather, and the figures, each with how certain it is. */
import { Alert, Skeleton } from "@mantine/core";
import type { ComponentProps, ReactElement } from "react";
import type { FleetNow, LiveState, TwinsNow } from "../../api/types";
import { count, percent } from "../../format/number";
import { IDLE_KW, batteryPhrase, batteryRange, energySize, gridPhrase, gridRange, powerSize } from "../../format/power";
import { duration } from "../../format/time";
import { useNowMs } from "../../live/now";
import { useFeed, useLivePart, useLiveParts } from "../../live/store";
import { strings } from "../../strings";
import { ErrorBoundary } from "../../ui/ErrorBoundary";
import { Figure as Shown, rangeSentence } from "../../ui/figures";
import { IntervalBar, type IntervalBarProps } from "../../ui/IntervalBar";
import { WeatherLines } from "./WeatherLines";
import { attention } from "./attention";
import { purposeNote, purposeSentence, type Purpose } from "./purpose";
import { composition } from "./composition";
import { strings as fleetStrings } from "./strings";
import classes from "./Overview.module.css";

const words = strings.figures;
const own = fleetStrings.figures;

const PARTS = [
  "now_ms", "zone", "fleet", "twins", "resources", "next_gate", "alarms", "alerts",
] as const satisfies readonly (keyof LiveState)[];
type State = Pick<LiveState, (typeof PARTS)[number]>;

/** A figure in a card of its own. */
function Figure(props: ComponentProps<typeof Shown>): ReactElement {
  return (
    <div className={classes["figure"]}>
      <Shown {...props} />
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

interface EstimateProps {
  readonly label: string;
  readonly hint: string;
  readonly testId: string;
  readonly bar: IntervalBarProps;
  readonly reportedKw: number;
  readonly say: (kw: number) => string;
  readonly range: (lowKw: number, highKw: number) => [string, string];
}

/** An estimate, its range drawn and in words, and what the fresh sites alone say where that is something else. */
function EstimateFigure({ label, hint, testId, bar, reportedKw, say, range }: EstimateProps): ReactElement {
  return (
    <Figure label={label} value={say(bar.expected)} testId={testId} hint={hint}>
      <IntervalBar {...bar} />
      <div>{rangeSentence({ lowKw: bar.low, highKw: bar.high, range })}</div>
      {Math.abs(reportedKw - bar.expected) >= IDLE_KW ? <div>{words.reported(say(reportedKw))}</div> : null}
    </Figure>
  );
}

function BatteryFigure({ fleet }: { fleet: FleetNow | null }): ReactElement {
  if (!fleet) return <Figure label={words.battery} value={words.socUnknown} testId="battery-power" />;
  const bar = { low: fleet.battery_low_kw, expected: fleet.battery_expected_kw, high: fleet.battery_high_kw, color: "--battery" as const };
  return (
    <EstimateFigure
      label={words.battery}
      hint={words.batteryHint}
      testId="battery-power"
      bar={bar}
      reportedKw={fleet.battery_kw}
      say={batteryPhrase}
      range={batteryRange}
    />
  );
}

function GridFigure({ fleet }: { fleet: FleetNow | null }): ReactElement {
  if (!fleet) return <Figure label={words.grid} value={words.socUnknown} testId="grid-power" />;
  const bar = { low: fleet.grid_low_kw, expected: fleet.grid_expected_kw, high: fleet.grid_high_kw, color: "--import" as const };
  return (
    <EstimateFigure
      label={words.grid}
      hint={words.gridHint}
      testId="grid-power"
      bar={bar}
      reportedKw={fleet.grid_kw}
      say={gridPhrase}
      range={gridRange}
    />
  );
}

function CoverageFigure({ fleet, twins }: { fleet: FleetNow | null; twins: TwinsNow | null }): ReactElement {
  if (!fleet) return <Figure label={words.coverage} value={words.socUnknown} testId="coverage" hint={words.coverageHint} />;
  const { coverage_kw_frac: byCapacity, coverage_count_frac: byCount } = fleet;
  return (
    <Figure label={words.coverage} value={byCapacity === null ? words.coverageNone : percent(byCapacity, 1)} testId="coverage" hint={words.coverageHint}>
      {byCount === null ? null : <div>{words.coverageCount(percent(byCount, 1))}</div>}
      <div>{words.coverageDetail(count(fleet.fresh), count(fleet.stale), count(fleet.unknown), count(fleet.suspect))}</div>
      <div>{fleet.oldest_age_s === null ? words.coverageAgeNone : words.coverageAge(duration(fleet.oldest_age_s))}</div>
      {twins ? <div data-testid="twins">{words.twins(count(twins.live_shards), count(twins.shards), count(twins.lag))}</div> : null}
    </Figure>
  );
}

/** What a figure of the fresh sites rests on: its coverage and the age of the oldest value. */
function RestsOn({ fleet }: { fleet: FleetNow }): ReactElement | null {
  if (fleet.coverage_kw_frac === null) return null;
  const share = percent(fleet.coverage_kw_frac, 1);
  return <div>{fleet.oldest_age_s === null ? own.coversNever(share) : own.covers(share, duration(fleet.oldest_age_s))}</div>;
}

function HeadroomFigure(props: { fleet: FleetNow | null; label: string; hint: string; testId: string; firmKw: number; allKw: number }): ReactElement {
  const { fleet, firmKw, allKw, ...figure } = props;
  if (!fleet) return <Figure {...figure} value={words.socUnknown} />;
  const [low, high] = [Math.min(firmKw, allKw), Math.max(firmKw, allKw)];
  return (
    <Figure {...figure} value={own.least(powerSize(low))}>
      <IntervalBar low={low} expected={low} high={high} color="--battery" />
      <div>{high - low < IDLE_KW ? words.exact : own.most(powerSize(high))}</div>
      <RestsOn fleet={fleet} />
    </Figure>
  );
}

function Figures({ state }: { state: State }): ReactElement {
  const { fleet } = state;
  return (
    <div className={classes["figures"]}>
      <BatteryFigure fleet={fleet} />
      <GridFigure fleet={fleet} />
      <HeadroomFigure fleet={fleet} label={own.give} hint={own.giveHint} testId="headroom-up" firmKw={fleet?.firm_discharge_kw ?? 0} allKw={fleet?.discharge_headroom_kw ?? 0} />
      <HeadroomFigure fleet={fleet} label={own.take} hint={own.takeHint} testId="headroom-down" firmKw={fleet?.firm_charge_kw ?? 0} allKw={fleet?.charge_headroom_kw ?? 0} />
      <Figure label={own.energy} hint={own.energyHint} value={fleet ? energySize(fleet.energy_kwh) : words.socUnknown} testId="energy">
        {fleet ? (
          <>
            <div>{own.energyOf(energySize(fleet.energy_capacity_kwh))}</div>
            <RestsOn fleet={fleet} />
          </>
        ) : null}
      </Figure>
      <Figure label={words.soc} value={fleet?.soc_frac == null ? words.socUnknown : percent(fleet.soc_frac)} testId="soc">
        {fleet?.soc_frac == null ? null : <Bar frac={fleet.soc_frac} />}
        {fleet ? <RestsOn fleet={fleet} /> : null}
      </Figure>
      <CoverageFigure fleet={fleet} twins={state.twins} />
    </div>
  );
}

function Attention({ state }: { state: State }): ReactElement | null {
  const bids = useLivePart("bids") ?? [];
  const health = useLivePart("health") ?? [];
  const entries = attention({ ...state, bids, health }, useNowMs() ?? state.now_ms);
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

function Weather({ state }: { state: State }): ReactElement | null {
  return <WeatherLines alerts={state.alerts} nowMs={useNowMs() ?? state.now_ms} zone={state.zone} />;
}

/** What the plant does now and for whom. */
function Doing({ state }: { state: State }): ReactElement {
  const { value: purpose } = useFeed<Purpose>("purpose/now");
  const now = useNowMs() ?? state.now_ms;
  const note = purposeNote(purpose, now);
  return (
    <>
      <p className={classes["who"]}>{composition(state.resources)}</p>
      <h1 className={classes["sentence"]} data-testid="sentence">
        {purposeSentence(purpose, state.resources, state.zone) ?? fleetStrings.purpose.waiting}
      </h1>
      {note === null ? null : (
        <p className={classes["note"]} data-testid="sentence-note">
          {note}
        </p>
      )}
    </>
  );
}

export function Overview(): ReactElement {
  const state = useLiveParts(...PARTS);
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
        <Doing state={state} />
      </ErrorBoundary>
      <ErrorBoundary>
        <Weather state={state} />
      </ErrorBoundary>
      <ErrorBoundary>
        <Figures state={state} />
      </ErrorBoundary>
    </section>
  );
}
