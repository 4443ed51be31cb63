/** The sites, on the map or as a table, by the same filter, which stands in the address. */
import { lazy, Suspense, useEffect, useRef, useState, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { patiently } from "../../app/patiently";
import { useSearch, useSetSearch } from "../../app/nav";
import { strings as shared } from "../../strings";
import { Button } from "../../ui/Button";
import { ErrorBoundary } from "../../ui/ErrorBoundary";
import { Panel } from "../../ui/Panel";
import { LOADING } from "../../ui/panelState";
import { useFirstFigures } from "./useFirstFigures";
import { ALARMS, GRADES, ORDERS, filterOf, isNarrowed, type SiteFilter, type View } from "./siteFilter";
import classes from "./Sites.module.css";
import { strings } from "./strings";

const words = strings.sites;
const TYPING_MS = 300;
// The map brings land and its projection along, the table its rows: each comes when it is looked at.
const SitesMap = lazy(() => patiently(() => import("./SitesMap")));
const SitesTable = lazy(() => patiently(() => import("./SitesTable")));

type Change = (part: Record<string, string | undefined>) => void;

function Find({ text, onChange }: { text: string; onChange: Change }): ReactElement {
  const [typed, setTyped] = useState(text);
  const told = useRef(text);
  useEffect(() => {
    // The address was changed by something else.
    if (text !== told.current) setTyped((told.current = text));
  }, [text]);
  useEffect(() => {
    if (typed === told.current) return;
    const wait = window.setTimeout(() => {
      told.current = typed;
      onChange({ text: typed });
    }, TYPING_MS);
    return () => window.clearTimeout(wait);
  }, [typed, onChange]);
  return (
    <input type="search" data-search className={classes["field"]} aria-label={words.find} placeholder={words.find} maxLength={200} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} />
  );
}

function Choice<T extends string>(props: { label: string; value: T; options: readonly (readonly [T, string])[]; onChoose: (value: string) => void }): ReactElement {
  return (
    <label>
      {props.label}
      <select className={classes["field"]} value={props.value} onChange={(event) => props.onChoose(event.currentTarget.value)}>
        {props.options.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

const orNothing = (value: string, nothing: string): string | undefined => (value === nothing ? undefined : value);

function Filters({ filter, onChange }: { filter: SiteFilter; onChange: Change }): ReactElement {
  const programs = useApi("/api/programs", {}).data ?? [];
  // What the address asks for is shown, also when the plant has no such program or has not named them yet.
  const named = programs.map((one) => [one.program_id, one.name] as const);
  const asked = filter.program === "" || programs.some((one) => one.program_id === filter.program) ? [] : [[filter.program, filter.program] as const];
  return (
    <>
      <Find text={filter.text} onChange={onChange} />
      <Choice label={words.grade} value={filter.grade} options={GRADES.map((one) => [one, words.grades[one]] as const)} onChoose={(value) => onChange({ grade: orNothing(value, "any") })} />
      <Choice label={words.type} value={filter.type} options={[["", words.anyType], ...Object.entries(words.types)]} onChoose={(value) => onChange({ type: orNothing(value, "") })} />
      <Choice
        label={words.alarm}
        value={filter.alarm}
        options={[["", words.anyAlarm] as const, ...ALARMS.map((one) => [one, words.alarmFrom[one]] as const)]}
        onChoose={(value) => onChange({ alarm: orNothing(value, "") })}
      />
      <Choice label={words.program} value={filter.program} options={[["", words.anyProgram] as const, ...named, ...asked]} onChoose={(value) => onChange({ program: orNothing(value, "") })} />
      {filter.view === "table" ? (
        <Choice label={words.order} value={filter.order} options={ORDERS.map((one) => [one, words.orders[one]] as const)} onChoose={(value) => onChange({ order: orNothing(value, "registry") })} />
      ) : null}
      {filter.group === "" ? null : <span>{words.inGroup(filter.group)}</span>}
      {isNarrowed(filter) ? <Button onClick={() => onChange({ text: undefined, group: undefined, grade: undefined, type: undefined, alarm: undefined, program: undefined })}>{words.clear}</Button> : null}
    </>
  );
}

export function SitesView({ filter, onChange }: { filter: SiteFilter; onChange: Change }): ReactElement {
  const ready = useFirstFigures();
  const waiting = (
    <Panel title={words.title} state={LOADING}>
      {() => shared.loading}
    </Panel>
  );
  const show = (view: View): void => onChange({ view: view === "map" ? undefined : view });
  return (
    <div className={classes["sites"]}>
      <div className={classes["bar"]} role="search" aria-label={words.filters}>
        <Filters filter={filter} onChange={onChange} />
        <div className={classes["views"]} role="group" aria-label={words.views}>
          <Button pressed={filter.view === "map"} onClick={() => show("map")}>
            {words.map}
          </Button>
          <Button pressed={filter.view === "table"} onClick={() => show("table")}>
            {words.table}
          </Button>
        </div>
      </div>
      <ErrorBoundary>
        <Suspense fallback={waiting}>{filter.view === "table" ? <SitesTable filter={filter} /> : ready ? <SitesMap filter={filter} /> : waiting}</Suspense>
      </ErrorBoundary>
    </div>
  );
}

export function Sites(): ReactElement {
  return <SitesView filter={filterOf(useSearch())} onChange={useSetSearch()} />;
}
