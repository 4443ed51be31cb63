/** A new dispatch: say what, see what it would come to, launch it after one clear question, or propose it. */
import { useRef, useState, type ReactElement } from "react";
import { RefusedError } from "../../api/client";
import { useAct, useApi } from "../../api/queries";
import { links } from "../../app/links";
import { useGo, useSearch, useSetSearch } from "../../app/nav";
import { useMay } from "../../app/session";
import { count } from "../../format/number";
import { batteryPhrase } from "../../format/power";
import { useNowMs } from "../../live/now";
import { useLivePart } from "../../live/store";
import { Breadcrumb } from "../../ui/Breadcrumb";
import { useConfirm } from "../../ui/Confirm";
import { useZone } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { faultWords } from "../../ui/panelState";
import classes from "./dispatch.module.css";
import { askedOf, emptyForm, faultsOfForm, fieldOf, type Faults, type Form, type Target } from "./form";
import { FormPanel } from "./FormPanel";
import { useTarget } from "./GroupField";
import { PreviewAnswer } from "./PreviewAnswer";
import { CostPanel, FeedersPanel, LeftOutPanel, LimitsPanel, ReboundPanel, StepsPanel } from "./PreviewPanels";
import { PreviewSites } from "./PreviewSites";
import type { Asked, LeftOut, Preview } from "./records";
import { rangeWords, sentenceOf, whyOld } from "./said";
import { strings } from "./strings";
import { useFilled } from "./useFilled";

const words = strings.preview;
const REFRESH = { refresh: ["/api/dispatch", "/api/commands", "/api/events"] };
const NO_PROGRAMS: readonly never[] = [];

/** A preview with what was asked for it, and how its target was then. */
interface Made {
  readonly preview: Preview;
  readonly asked: Asked;
  readonly scope: string;
  readonly whole: boolean;
  readonly fresh: number | null;
  /** On a clock of this browser, in ms. */
  readonly atMs: number;
}

interface Shown {
  readonly reason: LeftOut["reason"];
  readonly name: string;
}

/** Sends what was previewed by the route that its kind has; returns the order's id. */
function useLaunch(): (made: Made) => Promise<string> {
  const setpoint = useAct("post", "/api/commands/setpoints", REFRESH);
  const event = useAct("post", "/api/commands/events", REFRESH);
  const call = useAct("post", "/api/events", REFRESH);
  return async ({ asked, preview }) => {
    const { token } = preview;
    if (asked.setpoint) return (await setpoint.run({ body: { ...asked.setpoint, preview: token } })).order_id;
    if (asked.event) return (await event.run({ body: { ...asked.event, preview: token } })).order_id;
    if (asked.call) return (await call.run({ body: { ...asked.call, preview: token } })).event_id;
    throw new Error("nothing is asked");
  };
}

function freshOf(target: Target | null, fleetFresh: number | null): number | null {
  if (target?.kind === "group") return target.group.fresh;
  return target?.kind === "fleet" ? fleetFresh : null;
}

export function NewDispatch({ group, onGroup }: { group: string; onGroup: (group: string) => void }): ReactElement {
  const [form, setForm] = useState<Form>(() => emptyForm(group));
  const [tried, setTried] = useState(false);
  const [refused, setRefused] = useState<{ faults: Faults; words: string | null; form: Form } | null>(null);
  const [made, setMade] = useState<Made | null>(null);
  const [shown, setShown] = useState<Shown | null>(null);
  const [busy, setBusy] = useState<"launch" | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const answer = useRef<HTMLDivElement>(null);
  const zone = useZone();
  const now = useNowMs();
  const go = useGo();
  const confirm = useConfirm();
  const nowMs = now ?? 0;
  const { target, options } = useTarget(form.group);
  const fleet = useLivePart("fleet");
  const programs = useApi("/api/programs", {}).data ?? NO_PROGRAMS;
  const preview = useAct("post", "/api/dispatch/preview");
  const propose = useAct("post", "/api/dispatch/proposals", REFRESH);
  const launch = useLaunch();

  const filled = useFilled(form, target, programs);
  const around = { nowMs, zone, programs, target: target ?? ({ kind: "none", fault: strings.form.fault.groupWaiting } as const) };
  const faults = faultsOfForm(filled, around);
  const sound = Object.keys(faults).length === 0;
  const asked = sound ? askedOf(filled, around) : null;
  const mine = refused !== null && refused.form === form ? refused : null;

  const change = (part: Partial<Form>): void => {
    if (part.group !== undefined) onGroup(part.group);
    const deliver = part.way === "deliver" ? { act: "discharge" as const } : {};
    // another way has another usual program and another usual start
    const follows = part.way === undefined ? {} : { program: "", start: "" };
    setForm((held) => ({ ...held, ...deliver, ...follows, ...part }));
  };

  const ask = async (): Promise<void> => {
    setTried(true);
    setFault(null);
    if (asked === null) {
      setMade(null);
      window.requestAnimationFrame(() => document.querySelector<HTMLElement>('[data-testid="dispatch-form"] [aria-invalid="true"]')?.focus());
      return;
    }
    const whole = target?.kind === "fleet";
    try {
      const found = await preview.run({ body: asked });
      setRefused(null);
      setMade({ preview: found, asked, whole, scope: target?.kind === "group" ? target.group.name : strings.form.wholeFleet.toLowerCase(), fresh: freshOf(target, fleet?.fresh ?? null), atMs: performance.now() });
      window.requestAnimationFrame(() => {
        answer.current?.focus({ preventScroll: true });
        answer.current?.scrollIntoView?.({ block: "start" });
      });
    } catch (error) {
      const field = error instanceof RefusedError ? fieldOf(error.field) : null;
      setRefused({ form, faults: field ? { [field]: faultWords(error) } : {}, words: field ? null : strings.form.refused(faultWords(error)) });
    }
  };

  const act = async (one: Made): Promise<void> => {
    const second = one.preview.needs_second;
    const sentence = sentenceOf(one.preview, one.scope, zone);
    const body = (
      <>
        <p>{second ? words.proposeBody(sentence) : words.launchBody(sentence)}</p>
        <p>{words.expected(batteryPhrase(one.preview.expected_kw), rangeWords(one.preview.low_kw, one.preview.high_kw))}</p>
      </>
    );
    const said = await confirm({
      title: second ? words.proposeTitle : words.launchTitle,
      body,
      act: second ? words.propose : words.launch,
      needReason: second && filled.reason.trim() === "",
      ...(one.whole ? { typeToConfirm: strings.form.wholeFleet } : {}),
    });
    if (said === null) return;
    setBusy("launch");
    setFault(null);
    try {
      if (second) {
        const proposal = await propose.run({ body: { ...one.asked, preview: one.preview.token, reason: filled.reason.trim() || said.reason } });
        go(links.dispatch(proposal.proposal_id, { proposal: "1" }));
      } else {
        go(links.dispatch(await launch(one)));
      }
    } catch (error) {
      setFault(second ? words.failedProposal(faultWords(error)) : words.failed(faultWords(error)));
      setBusy(null);
    }
  };

  const old = made === null ? [] : whyOld(made.preview, made.asked, { nowMs, ageS: (performance.now() - made.atMs) / 1_000, asked, freshThen: made.fresh, freshNow: freshOf(target, fleet?.fresh ?? null) });
  return (
    <div className={classes["new"]}>
      <FormPanel
        form={filled}
        onChange={change}
        faults={{ ...(tried ? faults : {}), ...(mine?.faults ?? {}) }}
        target={target}
        options={options}
        programs={programs}
        busy={preview.busy}
        refused={mine?.words ?? null}
        again={made !== null}
        onPreview={() => void ask()}
      />
      <div className={`${layout["column"]} ${classes["answer"]}`} ref={answer} tabIndex={-1} role="group" aria-label={words.whole}>
        {made === null ? (
          <Panel title={words.title} testId="preview" state={{ kind: "empty", words: words.waiting }}>
            {() => null}
          </Panel>
        ) : (
          <>
            <PreviewAnswer
              preview={made.preview}
              old={old}
              busy={busy === "launch"}
              fault={fault}
              onAgain={() => void ask()}
              onLaunch={() => void act(made)}
              onShowPart={() => setShown({ reason: "takes_part", name: words.sites.part(count(made.preview.taking_part)) })}
            />
            <div className={layout["pair"]}>
              <LeftOutPanel preview={made.preview} onShow={(one) => setShown({ reason: one.reason, name: words.out.line(count(one.sites), one.words) })} />
              <div className={layout["column"]}>
                <LimitsPanel preview={made.preview} />
                <CostPanel preview={made.preview} />
              </div>
            </div>
            <ReboundPanel preview={made.preview} />
            <FeedersPanel preview={made.preview} />
            <StepsPanel preview={made.preview} />
          </>
        )}
      </div>
      {made !== null && shown !== null ? <PreviewSites token={made.preview.token} {...shown} onClose={() => setShown(null)} /> : null}
    </div>
  );
}

export default function Screen(): ReactElement {
  const mayAct = useMay("operate");
  const search = useSearch();
  const setSearch = useSetSearch();
  const [group] = useState(search["group"] ?? "");
  return (
    <div className={layout["screen"]}>
      <Breadcrumb items={[{ label: strings.title, to: links.dispatches() }, { label: strings.form.title }]} />
      <h1 className={layout["heading"]}>{strings.form.title}</h1>
      {mayAct ? <NewDispatch group={group} onGroup={(text) => setSearch({ group: text || undefined })} /> : <p>{strings.form.mayNot}</p>}
    </div>
  );
}
