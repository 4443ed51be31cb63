/** What a preview says beyond its figures: who stays out and why, limits, cost, what comes back, feeder by feeder. */
import type { ReactElement } from "react";
import { ChartTable } from "../../charts/ChartPanel";
import { TimeChart, type TimeChartProps } from "../../charts/TimeChart";
import { count } from "../../format/number";
import { batteryPhrase, energySize, outward, powerSize, powerTick } from "../../format/power";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { Button } from "../../ui/Button";
import { DataTable, Sub } from "../../ui/DataTable";
import { Interval, useZone } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { READY, type PanelState } from "../../ui/panelState";
import classes from "./dispatch.module.css";
import type { LeftOut, Preview } from "./records";
import { askedWords, costRange, costWords, rangeWords } from "./said";
import { strings } from "./strings";

const words = strings.preview;
const NAMES_SHOWN = 3;

const orEmpty = (some: boolean, text: string): PanelState => (some ? READY : { kind: "empty", words: text });

export function LeftOutPanel({ preview, onShow }: { preview: Preview; onShow: (one: LeftOut) => void }): ReactElement {
  const out = preview.left_out;
  return (
    <Panel title={words.out.title} hint={words.out.hint} testId="preview-out" state={orEmpty(out.length > 0, words.out.empty)}>
      {() => (
        <DataTable
          caption={words.out.title}
          columns={[{ label: words.out.reason }, { label: words.out.act, end: true }]}
          rows={out.map((one) => ({
            key: one.reason,
            cells: [
              <div key="reason">
                {words.out.line(count(one.sites), one.words)}
                {one.sample.length > 0 ? <Sub>{words.out.some(one.sample.slice(0, NAMES_SHOWN).join(", "))}</Sub> : null}
              </div>,
              <span key="show" className={classes["once"]}>
                <Button label={words.out.showNamed(words.out.line(count(one.sites), one.words))} onClick={() => onShow(one)}>
                  {words.out.show}
                </Button>
              </span>,
            ],
          }))}
        />
      )}
    </Panel>
  );
}

export function LimitsPanel({ preview }: { preview: Preview }): ReactElement {
  const { binding, losses } = preview;
  return (
    <Panel title={words.limits.title} hint={words.limits.hint} testId="preview-limits" state={orEmpty(binding.length + losses.length > 0, words.limits.empty)}>
      {() => (
        <>
          {binding.length === 0 ? null : (
            <DataTable
              caption={words.limits.title}
              columns={[{ label: words.limits.limit }, { label: words.limits.sites, end: true }, { label: words.limits.power, end: true }]}
              rows={binding.map((one) => ({ key: one.limit, cells: [one.limit, count(one.sites), powerSize(one.power_kw)] }))}
            />
          )}
          {losses.length === 0 ? null : (
            <DataTable caption={words.limits.loss} columns={[{ label: words.limits.loss }, { label: words.limits.what }]} rows={losses.map((one, i) => ({ key: `${one.claim} ${i}`, cells: [one.claim, one.words] }))} />
          )}
        </>
      )}
    </Panel>
  );
}

export function CostPanel({ preview }: { preview: Preview }): ReactElement {
  const { cost } = preview;
  const text = cost.amount;
  return (
    <Panel title={words.cost.title} hint={words.cost.hint} testId="preview-cost" state={READY}>
      {() => (
        <>
          {text === null ? (
            <p className={classes["said"]}>{words.cost.unknown}</p>
          ) : (
            <p className={classes["said"]}>
              <strong>{costWords(text, cost.currency)}</strong>
              {", "}
              {cost.low_amount === null || cost.high_amount === null || cost.low_amount === cost.high_amount
                ? words.cost.certain
                : costRange(cost.low_amount, cost.high_amount, cost.currency)}
              {cost.per_mwh === null ? null : `; ${words.cost.per(costWords(cost.per_mwh, cost.currency))}`}
            </p>
          )}
          {cost.parts.length === 0 ? null : (
            <DataTable narrow caption={words.cost.title} columns={[{ label: words.cost.part }, { label: words.cost.sum, end: true }]} rows={cost.parts.map((one) => ({ key: one.name, cells: [one.words, costWords(one.amount, cost.currency)] }))} />
          )}
          {cost.missing.length === 0 ? null : (
            <div>
              <p className={classes["hint"]}>{words.cost.missing}</p>
              <ul className={classes["list"]}>
                {cost.missing.map((one) => (
                  <li key={one}>{one}</li>
                ))}
              </ul>
            </div>
          )}
        </>
      )}
    </Panel>
  );
}

export function ReboundPanel({ preview }: { preview: Preview }): ReactElement {
  const zone = useZone();
  const { rebound } = preview;
  const some = rebound.t_ms.length > 1 && rebound.energy_kwh > 0;
  const peak = rebound.kw.indexOf(Math.max(...rebound.kw));
  const chart: TimeChartProps = {
    title: words.rebound.title,
    testId: "rebound-chart",
    t: rebound.t_ms,
    series: [{ key: "most", label: words.rebound.line, color: "--battery", kind: "area", values: rebound.kw.map(outward), read: (i) => batteryPhrase(rebound.kw[i] ?? 0) }],
    marks: [{ atMs: preview.end_ms, label: words.rebound.end }],
    zone,
    tick: powerTick,
    height: 180,
    restIndex: Math.max(peak, 0),
  };
  return (
    <Panel title={words.rebound.title} hint={words.rebound.hint} testId="preview-rebound" state={orEmpty(some, words.rebound.empty)} table={() => <ChartTable chart={chart} />}>
      {() => (
        <>
          <p className={classes["said"]}>
            {words.rebound.peak(powerSize(rebound.peak_kw), energySize(rebound.energy_kwh))}
            {rebound.steepest_kw_per_min > 0 ? `; ${words.rebound.steep(powerSize(rebound.steepest_kw_per_min))}` : ""}
            {": "}
            <Interval startMs={rebound.from_ms} endMs={rebound.until_ms} />
          </p>
          <TimeChart {...chart} />
        </>
      )}
    </Panel>
  );
}

export function FeedersPanel({ preview }: { preview: Preview }): ReactElement {
  const told = words.feeders;
  return (
    <Panel title={told.title} hint={told.hint} testId="preview-feeders" state={orEmpty(preview.by_feeder.length > 0, told.empty)}>
      {() => (
        <DataTable
          long={preview.by_feeder.length > 12}
          caption={told.title}
          columns={[{ label: told.feeder }, { label: told.part, end: true }, { label: told.asked }, { label: told.would }, { label: told.range }, { label: told.limit }]}
          rows={preview.by_feeder.map((one) => ({
            key: one.group_id,
            cells: [
              one.group_id === "" ? (
                told.noGroup
              ) : (
                <ScreenLink key="feeder" to={links.node(one.group_id)}>
                  {one.name}
                </ScreenLink>
              ),
              words.takesPartOf(count(one.taking_part), count(one.sites)),
              batteryPhrase(one.asked_kw),
              batteryPhrase(one.expected_kw),
              rangeWords(one.low_kw, one.high_kw),
              one.limit_kw === null ? told.noLimit : told.limitOf(powerSize(one.limit_kw), one.limit_group),
            ],
          }))}
        />
      )}
    </Panel>
  );
}

export function StepsPanel({ preview }: { preview: Preview }): ReactElement | null {
  const told = words.steps;
  if (preview.steps.length === 0) return null;
  return (
    <Panel title={told.title} hint={told.hint} testId="preview-steps" state={READY}>
      {() => (
        <DataTable
          caption={told.title}
          columns={[{ label: told.stretch }, { label: told.kind }, { label: told.when }, { label: told.sites, end: true }, { label: told.all }]}
          rows={preview.steps.map((one, i) => ({
            key: `${one.stretch} ${one.start_ms} ${i}`,
            cells: [one.stretch, one.kind, <Interval key="when" startMs={one.start_ms} endMs={one.end_ms} />, count(one.sites), askedWords(one.all_kw)],
          }))}
        />
      )}
    </Panel>
  );
}
