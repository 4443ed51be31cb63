/** Who forecasts better: verdicts with the probability that it is chance; what there is none of says so. */
import type { ReactElement } from "react";
import { useApi } from "../../api/queries";
import { count, fixed } from "../../format/number";
import { deliveryDay } from "../../format/time";
import { DataTable, Sub } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { ASK_MS, type Asked } from "./asked";
import classes from "./forecast.module.css";
import { strings } from "./strings";
import { modelName, pWords, type Contest, type Series } from "./words";

const words = strings.contests;

function Since({ one, zone }: { one: Contest; zone: string }): ReactElement {
  if (one.since_ms !== null) return <Instant ms={one.since_ms} zone={zone} />;
  return <>{one.from_date === null ? strings.unknown : deliveryDay(one.from_date)}</>;
}

export function ContestsPanel({ one, asked }: { one: Series; asked: Asked }): ReactElement {
  const query = useApi("/api/forecast/contests", { query: { ...asked } }, { everyMs: ASK_MS, keep: true });
  const found = query.data;
  return (
    <Panel title={words.title} hint={words.hint} testId="forecast-contests" state={stateOfQuery(query)} onRetry={() => void query.refetch()}>
      {() =>
        found ? (
          <>
            {found.contests.length === 0 ? (
              <p className={classes["note"]}>{words.empty}</p>
            ) : (
              <DataTable
                caption={words.title}
                columns={[
                  { label: words.kind },
                  { label: words.champion },
                  { label: words.challenger },
                  { label: words.since },
                  { label: words.days, end: true },
                  { label: words.loss, end: true },
                  { label: words.p, end: true },
                  { label: words.verdict },
                ]}
                rows={found.contests.map((contest) => ({
                  key: `${contest.kind} ${contest.series_id} ${contest.challenger}`,
                  cells: [
                    words.kinds[contest.kind] ?? contest.kind,
                    modelName(contest.champion),
                    modelName(contest.challenger),
                    <Since key="since" one={contest} zone={one.zone} />,
                    count(contest.days),
                    contest.champion_loss === null || contest.challenger_loss === null
                      ? strings.unknown
                      : words.lossOf(fixed(contest.champion_loss, 3), fixed(contest.challenger_loss, 3)),
                    pWords(contest.p_value),
                    <div key="verdict">
                      <Pill tone={contest.verdict === "promote" ? "live" : "calm"}>{words.verdicts[contest.verdict] ?? contest.verdict}</Pill>
                      <Sub>{contest.why}</Sub>
                    </div>,
                  ],
                }))}
              />
            )}
            <p className={classes["note"]}>
              {[found.trained === 0 ? words.noneTrained : null, found.shadows === 0 ? words.noShadow : null, words.rule(count(found.least_days), fixed(found.alpha_frac, 2))]
                .filter((said) => said !== null)
                .join(" ")}
            </p>
          </>
        ) : null
      }
    </Panel>
  );
}
