/** How honest a forecast is: nominal against observed coverage, and where in its range outcomes fell. */
import type { ReactElement } from "react";
import { useApi } from "../../api/queries";
import { count, percent } from "../../format/number";
import { DataTable } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { stateOfQuery, type PanelState } from "../../ui/panelState";
import { ASK_MS, type Asked } from "./asked";
import classes from "./forecast.module.css";
import { strings } from "./strings";
import { daysWords, partWords, type Coverage } from "./words";

const SIZE = 220;
const ROOM = 6;
const TICKS = [0, 0.25, 0.5, 0.75, 1];

function useCoverage(asked: Asked) {
  return useApi("/api/forecast/coverage", { query: { ...asked } }, { everyMs: ASK_MS, keep: true });
}

function emptyWords(coverage: Coverage): string | null {
  if (coverage.n === 0) return strings.coverage.waiting;
  return coverage.points.length === 0 ? strings.coverage.none : null;
}

function Plot({ coverage }: { coverage: Coverage }): ReactElement {
  const words = strings.coverage;
  const x = (share: number): number => ROOM + share * SIZE;
  const y = (share: number): number => ROOM + (1 - share) * SIZE;
  const box = SIZE + 2 * ROOM;
  const said = coverage.points.map((one) => words.said(percent(one.nominal), percent(one.observed))).join("; ");
  return (
    <div className={classes["plot"]}>
      <span className={classes["observed"]}>{words.observed}</span>
      <ul className={classes["up"]} aria-hidden>
        {[...TICKS].reverse().map((share) => (
          <li key={share}>{percent(share)}</li>
        ))}
      </ul>
      <svg viewBox={`0 0 ${box} ${box}`} role="img" aria-label={words.drawing(said)} data-testid="coverage-plot">
        <rect className={classes["frame"]} x={ROOM} y={ROOM} width={SIZE} height={SIZE} />
        <line className={classes["ideal"]} x1={x(0)} y1={y(0)} x2={x(1)} y2={y(1)} />
        <polyline className={classes["join"]} points={coverage.points.map((one) => `${x(one.nominal)},${y(one.observed)}`).join(" ")} />
        {coverage.points.map((one) => (
          <g key={one.nominal}>
            {one.low === null || one.high === null ? null : <line className={classes["doubt"]} x1={x(one.nominal)} x2={x(one.nominal)} y1={y(one.low)} y2={y(one.high)} />}
            <circle className={classes["seen"]} cx={x(one.nominal)} cy={y(one.observed)} r={5} />
          </g>
        ))}
      </svg>
      <ul className={classes["along"]} aria-hidden>
        {TICKS.map((share) => (
          <li key={share}>{percent(share)}</li>
        ))}
      </ul>
      <span className={classes["nominal"]}>{words.nominal}</span>
    </div>
  );
}

function CoverageTable({ coverage }: { coverage: Coverage }): ReactElement {
  const words = strings.coverage;
  return (
    <DataTable
      caption={words.points}
      columns={[{ label: words.points }, { label: words.nominal, end: true }, { label: words.observed, end: true }, { label: words.range, end: true }]}
      rows={coverage.points.map((one) => ({
        key: String(one.nominal),
        cells: [
          words.quantile(percent(one.nominal)),
          percent(one.nominal),
          percent(one.observed),
          one.low === null || one.high === null ? words.few : words.between(percent(one.low), percent(one.high)),
        ],
      }))}
    />
  );
}

export function CoveragePanel({ asked }: { asked: Asked }): ReactElement {
  const query = useCoverage(asked);
  const words = strings.coverage;
  const coverage = query.data;
  const state: PanelState = stateOfQuery(query, emptyWords);
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="forecast-coverage"
      state={state}
      onRetry={() => void query.refetch()}
      table={() => (coverage ? <CoverageTable coverage={coverage} /> : null)}
    >
      {() =>
        coverage ? (
          <>
            <Plot coverage={coverage} />
            <p className={classes["note"]}>
              {words.from(count(coverage.n), daysWords(coverage.days))}
            </p>
          </>
        ) : null
      }
    </Panel>
  );
}

function Parts({ coverage }: { coverage: Coverage }): ReactElement {
  const most = Math.max(...coverage.pit.map((one) => Math.max(one.observed, one.expected)), 0.01);
  return (
    <ul className={classes["parts"]} data-testid="pit-parts">
      {coverage.pit.map((one) => (
        <li key={one.from_frac}>
          <span>{partWords(one.from_frac, one.to_frac)}</span>
          <span className={classes["track"]} aria-hidden>
            <span className={classes["bar"]} style={{ width: `${(one.observed / most) * 100}%` }} />
            <span className={classes["goal"]} style={{ left: `${Math.min((one.expected / most) * 100, 99)}%` }} />
          </span>
          <span className={classes["sum"]}>
            {percent(one.observed)}, {strings.total.should(percent(one.expected))}
          </span>
        </li>
      ))}
    </ul>
  );
}

export function PitPanel({ asked }: { asked: Asked }): ReactElement {
  const query = useCoverage(asked);
  const words = strings.pit;
  const coverage = query.data;
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="forecast-pit"
      state={stateOfQuery(query, emptyWords)}
      onRetry={() => void query.refetch()}
      table={() =>
        coverage ? (
          <DataTable
            caption={words.title}
            columns={[{ label: words.part }, { label: words.expected, end: true }, { label: words.observed, end: true }, { label: words.n, end: true }]}
            rows={coverage.pit.map((one) => ({
              key: String(one.from_frac),
              cells: [partWords(one.from_frac, one.to_frac), percent(one.expected), percent(one.observed), count(one.n)],
            }))}
          />
        ) : null
      }
    >
      {() => (coverage ? <Parts coverage={coverage} /> : null)}
    </Panel>
  );
}
