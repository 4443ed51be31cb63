/** The answer of a preview in figures, whether it is too old to act on, and the one act that follows from it. */
import type { ReactElement } from "react";
import { count } from "../../format/number";
import { batteryPhrase, batteryRange, energySize, IDLE_KW, powerSize } from "../../format/power";
import { Button } from "../../ui/Button";
import { Figure, Quantity, rangeSentence } from "../../ui/figures";
import { Instant } from "../../ui/Instant";
import { IntervalBar } from "../../ui/IntervalBar";
import { Panel } from "../../ui/Panel";
import { READY } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import classes from "./dispatch.module.css";
import type { Preview } from "./records";
import { strings } from "./strings";

const words = strings.preview;

export interface AnswerProps {
  readonly preview: Preview;
  /** Why it must not be acted on; empty while it may. */
  readonly old: readonly string[];
  readonly busy: boolean;
  readonly fault: string | null;
  readonly onAgain: () => void;
  readonly onLaunch: () => void;
  readonly onShowPart: () => void;
}

/** Says that a preview is old, why, and what to do; read out as soon as it is so. */
function Old({ why, onAgain }: { why: readonly string[]; onAgain: () => void }): ReactElement {
  return (
    <div role="status" data-testid="preview-old">
      {why.length === 0 ? null : (
        <div className={classes["old"]}>
          <h3>{words.old.title}</h3>
          {why.map((one) => (
            <p key={one}>{one}</p>
          ))}
          <p>{words.old.again}</p>
          <div className={ui["buttons"]}>
            <Button onClick={onAgain}>{strings.form.previewAgain}</Button>
          </div>
        </div>
      )}
    </div>
  );
}

function Figures({ preview: one, onShowPart }: { preview: Preview; onShowPart: () => void }): ReactElement {
  const rests = Math.abs(one.asked_kw) < IDLE_KW;
  return (
    <div className={classes["figures"]}>
      <Figure label={words.asked} value={<Quantity value={batteryPhrase(one.asked_kw)} />} testId="preview-asked">
        {rests ? null : one.shortfall_kw < IDLE_KW ? words.notShort : words.short(powerSize(one.shortfall_kw))}
      </Figure>
      <Figure label={words.atOnce} value={<Quantity value={batteryPhrase(one.expected_kw)} />} testId="preview-expected">
        <IntervalBar low={one.low_kw} expected={one.expected_kw} high={one.high_kw} color="--battery" />
        {rangeSentence({ lowKw: one.low_kw, highKw: one.high_kw, range: batteryRange })}
      </Figure>
      <Figure label={words.toEnd} value={<Quantity value={batteryPhrase(one.sustained_kw)} />} testId="preview-sustained">
        <IntervalBar low={one.sustained_low_kw} expected={one.sustained_kw} high={one.sustained_high_kw} color="--battery" />
        {rangeSentence({ lowKw: one.sustained_low_kw, highKw: one.sustained_high_kw, range: batteryRange })}
      </Figure>
      <Figure label={words.energy} value={<Quantity value={energySize(one.energy_kwh)} />}>
        {words.energyDetail}
      </Figure>
      <Figure label={words.takesPart} value={<Quantity value={words.takesPartOf(count(one.taking_part), count(one.sites))} />} testId="preview-part">
        <div>{words.counts(count(one.fresh), count(one.silent), count(one.halted))}</div>
        <Button onClick={onShowPart}>{words.showPart}</Button>
      </Figure>
    </div>
  );
}

export function PreviewAnswer({ preview, old, busy, fault, onAgain, onLaunch, onShowPart }: AnswerProps): ReactElement {
  return (
    <Panel title={words.title} hint={words.hint} testId="preview" state={READY}>
      {() => (
        <>
          <Old why={old} onAgain={onAgain} />
          <Figures preview={preview} onShowPart={onShowPart} />
          {preview.assumes.length === 0 ? null : (
            <div>
              <p className={classes["hint"]}>{words.assumes}</p>
              <ul className={classes["list"]}>
                {preview.assumes.map((one) => (
                  <li key={one}>{one}</li>
                ))}
              </ul>
            </div>
          )}
          {preview.needs_second && preview.second_above_kw !== null ? <p className={classes["said"]}>{words.second(powerSize(preview.second_above_kw))}</p> : null}
          <p role="alert" className={ui["fault"]} data-testid="launch-fault">
            {fault}
          </p>
          <div className={classes["head"]}>
            <span className={classes["hint"]}>
              {words.made} <Instant ms={preview.made_ms} show="clock" />
            </span>
            <Button kind="primary" busy={busy} disabled={old.length > 0} onClick={onLaunch} testId="launch">
              {preview.assumes.length === 0 ? null : (
            <div>
              <p className={classes["hint"]}>{words.assumes}</p>
              <ul className={classes["list"]}>
                {preview.assumes.map((one) => (
                  <li key={one}>{one}</li>
                ))}
              </ul>
            </div>
          )}
          {preview.needs_second ? words.propose : words.launch}
            </Button>
          </div>
        </>
      )}
    </Panel>
  );
}
