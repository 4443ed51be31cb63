/** Forecast quality: which forecasts are kept, and of the chosen one how good, how honest, and whether another is better. */
import type { ReactElement } from "react";
import { useApi } from "../../api/queries";
import { useSearch, useSetSearch } from "../../app/nav";
import { count } from "../../format/number";
import { useNowMs } from "../../live/now";
import { DataTable, PickButton, Sub } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { ContestsPanel } from "./Contests";
import { CoveragePanel, PitPanel } from "./Coverage";
import classes from "./forecast.module.css";
import { ScoresPanel, TotalPanel } from "./Scores";
import { strings } from "./strings";
import { modelName, seriesName, type Series } from "./words";

const ASK_MS = 120_000;
const DAY_MS = 86_400_000;
const AHEAD_DAYS = 3;
const USUAL = "31";
const LOOK_BACK_MS = 7 * DAY_MS;

export interface Chosen {
  readonly one: Series;
  readonly fromMs: number | null;
  readonly step: "day" | "week";
}

/** From when on, in whole days, so that the question stays the same all day; null leaves it to the plant. */
export function spanFrom(days: string, nowMs: number | null): { fromMs: number | null; toMs: number | null } {
  if (days === USUAL || nowMs === null) return { fromMs: null, toMs: null };
  const toMs = Math.floor(nowMs / DAY_MS) * DAY_MS + AHEAD_DAYS * DAY_MS;
  return { fromMs: toMs - Number(days) * DAY_MS, toMs };
}

function Since({ one }: { one: Series }): ReactElement {
  if (one.model_since_ms === null) return <>{strings.unknown}</>;
  const atTheEnd = one.latest_end_ms !== null && one.latest_end_ms - one.model_since_ms >= LOOK_BACK_MS;
  return (
    <>
      <Instant ms={one.model_since_ms} zone={one.zone} />
      {atTheEnd ? <Sub>{strings.choose.lookedBack}</Sub> : null}
    </>
  );
}

function SeriesTable({ series, chosen, onChoose }: { series: readonly Series[]; chosen: string; onChoose: (id: string) => void }): ReactElement {
  const words = strings.choose;
  return (
    <DataTable
      caption={words.title}
      columns={[{ label: words.series }, { label: words.by }, { label: words.since }, { label: words.kept, end: true }, { label: words.reaches }, { label: words.came }]}
      rows={series.map((one) => ({
        key: one.series_id,
        picked: one.series_id === chosen,
        cells: [
          <PickButton key="pick" pressed={one.series_id === chosen} label={words.show(seriesName(one))} onPick={() => onChoose(one.series_id)}>
            {seriesName(one)}
          </PickButton>,
          one.intervals === 0 ? (
            <div key="by">
              {words.nothing}
              <Sub>{one.none_because}</Sub>
            </div>
          ) : (
            modelName(one.model)
          ),
          one.intervals === 0 ? "" : <Since key="since" one={one} />,
          count(one.intervals),
          one.latest_end_ms === null ? "" : <Instant key="to" ms={one.latest_end_ms} zone={one.zone} />,
          one.outcome_end_ms === null ? words.nothing : <Instant key="came" ms={one.outcome_end_ms} zone={one.zone} />,
        ],
      }))}
    />
  );
}

export interface ForecastsProps {
  readonly search: Readonly<Record<string, string>>;
  readonly onSearch: (part: Record<string, string | undefined>) => void;
}

export function Forecasts({ search, onSearch }: ForecastsProps): ReactElement {
  const list = useApi("/api/forecast/series", {}, { everyMs: ASK_MS });
  const nowMs = useNowMs();
  const series = list.data?.series ?? [];
  const chosen = series.find((one) => one.series_id === search["series"]) ?? series.find((one) => one.intervals > 0) ?? series[0];
  const days = search["days"] ?? USUAL;
  const step = search["step"] === "week" ? "week" : "day";
  const span = spanFrom(days, nowMs);
  const asked = chosen ? { series: chosen.series_id, from_ms: span.fromMs, to_ms: span.toMs } : null;
  return (
    <>
      <Panel
        title={strings.choose.title}
        hint={strings.choose.hint}
        testId="forecast-series"
        state={stateOfQuery(list, (data) => (data.series.length === 0 ? strings.none : null))}
        onRetry={() => void list.refetch()}
        actions={
          <div className={classes["head"]}>
            <label>
              {strings.span.label}
              <select value={days} onChange={(event) => onSearch({ days: event.target.value })}>
                {Object.entries(strings.span.days).map(([id, label]) => (
                  <option key={id} value={id}>
                    {label}
                  </option>
                ))}
              </select>
            </label>
            <label>
              {strings.span.step}
              <select value={step} onChange={(event) => onSearch({ step: event.target.value })}>
                {Object.entries(strings.span.steps).map(([id, label]) => (
                  <option key={id} value={id}>
                    {label}
                  </option>
                ))}
              </select>
            </label>
          </div>
        }
      >
        {() => <SeriesTable series={series} chosen={chosen?.series_id ?? ""} onChoose={(id) => onSearch({ series: id })} />}
      </Panel>
      {chosen && asked && chosen.intervals > 0 ? (
        <>
          <TotalPanel one={chosen} asked={asked} step={step} />
          <ScoresPanel one={chosen} asked={asked} step={step} />
          <div className={layout["pair"]}>
            <CoveragePanel asked={asked} />
            <PitPanel asked={asked} />
          </div>
          <ContestsPanel one={chosen} asked={asked} />
        </>
      ) : null}
    </>
  );
}

export default function Screen(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  return (
    <div className={layout["screen"]}>
      <h1 className={layout["heading"]}>{strings.title}</h1>
      <Forecasts search={search} onSearch={setSearch} />
    </div>
  );
}
