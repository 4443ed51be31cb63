/** How good a forecast was: in all, and day by day or week by week beside the naive one and challengers. */
import { useMemo, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import type { Nullable } from "../../api/types";
import { asSteps, POINTS_PER_STEP } from "../../charts/shape";
import { TimeChart, type ChartSeries } from "../../charts/TimeChart";
import { priceTick } from "../../format/money";
import { count, fixed, percent } from "../../format/number";
import { dayHour, dayMonth } from "../../format/time";
import { DataTable } from "../../ui/DataTable";
import { Figure } from "../../ui/figures";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import type { Token } from "../../ui/tokens";
import { ASK_MS, type Asked } from "./asked";
import classes from "./forecast.module.css";
import { strings } from "./strings";
import { biasWords, daysWords, inUnit, modelName, skillWords, sureWords, type Scores, type Series } from "./words";

interface Props {
  readonly one: Series;
  readonly asked: Asked;
  readonly step: "day" | "week";
}

const CHALLENGERS: readonly Token[] = ["--import", "--plan", "--load"];

function useScores({ asked, step }: Props) {
  return useApi("/api/forecast/scores", { query: { ...asked, step } }, { everyMs: ASK_MS, keep: true });
}

/** Why there is nothing to show, and when there will be; null when there is. */
export function waitingWords(scores: Scores): string | null {
  if (scores.t_ms.length > 0) return null;
  if (scores.issued === 0 || scores.first_open_ms === null) return strings.scores.noWords;
  return strings.scores.waiting(count(scores.issued), dayHour(scores.first_open_ms, scores.zone));
}

export function TotalPanel(props: Props): ReactElement {
  const query = useScores(props);
  const words = strings.total;
  const scores = query.data;
  const total = scores?.totals[0];
  return (
    <Panel title={words.title} hint={words.hint} testId="forecast-total" state={stateOfQuery(query, waitingWords)} onRetry={() => void query.refetch()}>
      {() =>
        scores && total ? (
          <>
            <div className={classes["figures"]}>
              <Figure label={words.error} hint={words.errorHint} value={total.mae === null ? strings.unknown : inUnit(total.mae, scores)} testId="forecast-mae">
                {sureWords(total, scores)}
              </Figure>
              <Figure label={words.naive} hint={words.naiveHint} value={total.naive_mae === null ? strings.unknown : inUnit(total.naive_mae, scores)}>
                {skillWords(total.skill_frac)}
                {total.naive_n > 0 && total.naive_n < total.n ? <div>{words.onSame(count(total.naive_n))}</div> : null}
              </Figure>
              <Figure label={words.bias} hint={words.biasHint} value={biasWords(total.bias, scores)}>
                {daysWords(total.days)}
              </Figure>
              <Figure label={words.inside} hint={words.insideHint} value={total.inside_frac === null ? words.noRange : percent(total.inside_frac)}>
                {total.inside_frac === null ? null : words.should(percent(0.9))}
              </Figure>
              <Figure label={words.scored} value={words.scoredOf(count(total.n), count(scores.issued))}>
                {words.exact}
              </Figure>
            </div>
            {scores.first_open_ms === null ? null : <p className={classes["note"]}>{words.open(dayHour(scores.first_open_ms, scores.zone))}</p>}
          </>
        ) : null
      }
    </Panel>
  );
}

function ScoresChart({ scores, one }: { scores: Scores; one: Series }): ReactElement {
  const words = strings.scores;
  const { t, series } = useMemo(() => {
    const told: { key: string; label: string; color: Token; dashed: boolean; values: readonly Nullable[] }[] = [
      { key: "forecast", label: words.forecast, color: "--forecast", dashed: false, values: scores.champion.mae },
      { key: "naive", label: words.naive, color: "--ink-dim", dashed: true, values: scores.naive_mae },
      ...scores.challengers.map((other, i) => ({
        key: `challenger ${other.name}`,
        label: words.challenger(other.name),
        color: CHALLENGERS[i % CHALLENGERS.length] ?? "--import",
        dashed: true,
        values: other.mae,
      })),
    ];
    const shaped = asSteps(scores.t_ms, scores.t_end_ms, told.map((one) => ({ kind: "step", values: one.values })));
    const made = told.map(
      (said, c): ChartSeries => ({
        key: said.key,
        label: said.label,
        kind: "line",
        color: said.color,
        dashed: said.dashed,
        values: shaped.columns[c] ?? [],
        read: (index) => {
          const value = said.values[Math.floor(index / POINTS_PER_STEP)];
          return value == null ? strings.unknown : inUnit(value, scores);
        },
      }),
    );
    return { t: shaped.t, series: made };
  }, [scores, words]);
  return (
    <TimeChart
      key={`${one.series_id} ${scores.step} ${series.length}`}
      title={words.title}
      testId="forecast-scores-chart"
      t={t}
      series={series}
      zone={scores.zone}
      tick={(value) => (scores.currency === "" ? fixed(value, 0) : priceTick(value, scores.currency))}
      readTime={(index) => dayMonth(scores.t_ms[Math.floor(index / POINTS_PER_STEP)] ?? 0, scores.zone)}
      restIndex={Math.max(t.length - POINTS_PER_STEP + 1, 0)}
      stride={POINTS_PER_STEP}
    />
  );
}

function ScoresTable({ scores }: { scores: Scores }): ReactElement {
  const words = strings.scores;
  const said = (value: number | null | undefined): string => (value == null ? strings.unknown : inUnit(value, scores));
  return (
    <DataTable
      long
      caption={words.caption}
      columns={[
        { label: words.day },
        { label: words.n, end: true },
        { label: words.mae, end: true },
        { label: words.naiveMae, end: true },
        ...scores.challengers.map((one) => ({ label: words.challenger(one.name), end: true })),
        { label: words.crps, end: true },
        { label: words.bias },
        { label: words.inside, end: true },
      ]}
      rows={scores.t_ms
        .map((t, i) => ({
          key: String(t),
          cells: [
            <Instant key="at" ms={t} zone={scores.zone} show="day" />,
            count(scores.champion.n[i] ?? 0),
            said(scores.champion.mae[i]),
            said(scores.naive_mae[i]),
            ...scores.challengers.map((one) => said(one.mae[i])),
            said(scores.champion.crps[i]),
            biasWords(scores.champion.bias[i] ?? null, scores),
            scores.champion.inside_frac[i] == null ? strings.unknown : percent(scores.champion.inside_frac[i] ?? 0),
          ],
        }))
        .reverse()}
    />
  );
}

export function ScoresPanel(props: Props): ReactElement {
  const query = useScores(props);
  const words = strings.scores;
  const scores = query.data;
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="forecast-scores"
      state={stateOfQuery(query, waitingWords)}
      onRetry={() => void query.refetch()}
      table={() =>
        scores ? (
          <>
            <ScoresTable scores={scores} />
            <p className={classes["note"]}>{words.crpsHint}</p>
          </>
        ) : null
      }
    >
      {() =>
        scores ? (
          <>
            <ScoresChart scores={scores} one={props.one} />
            <p className={classes["note"]}>
              {modelName(scores.champion.name)}. {scores.challengers.length === 0 ? words.alone : null}
            </p>
          </>
        ) : null
      }
    </Panel>
  );
}
