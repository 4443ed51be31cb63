/** The form of a dispatch: every field with its label, its hint and, where something is wrong, what to do about it. */
import { useId, type FormEvent, type ReactElement, type ReactNode } from "react";
import { duration } from "../../format/time";
import { useZone } from "../../ui/Instant";
import { Button } from "../../ui/Button";
import { Panel } from "../../ui/Panel";
import ui from "../../ui/ui.module.css";
import classes from "./dispatch.module.css";
import { ACTS, powerPrograms, WAYS, type Act, type Faults, type Field, type Form, type Program, type Target, type Way } from "./form";
import { GroupField } from "./GroupField";
import { strings } from "./strings";

const words = strings.form;

export interface FormPanelProps {
  readonly form: Form;
  readonly onChange: (part: Partial<Form>) => void;
  readonly faults: Faults;
  readonly target: Target | null;
  readonly options: readonly { readonly id: string; readonly name: string }[];
  readonly programs: readonly Program[];
  readonly busy: boolean;
  /** What the plant says against it that belongs to no field. */
  readonly refused: string | null;
  readonly again: boolean;
  readonly onPreview: () => void;
}

interface LineProps {
  readonly id: string;
  readonly label: string;
  readonly fault: string | undefined;
  readonly hint?: string | undefined;
  readonly children: (given: { id: string; "aria-invalid": boolean; "aria-describedby": string }) => ReactNode;
}

function Line({ id, label, fault, hint, children }: LineProps): ReactElement {
  return (
    <div className={classes["field"]}>
      <label htmlFor={id} className={classes["label"]}>
        {label}
      </label>
      {children({ id, "aria-invalid": fault !== undefined, "aria-describedby": `${id}-hint ${id}-fault` })}
      <p id={`${id}-hint`} className={classes["hint"]}>
        {hint}
      </p>
      <p id={`${id}-fault`} className={ui["fault"]} data-fault>
        {fault}
      </p>
    </div>
  );
}

function Choice<T extends string>(props: { name: string; label: string; items: readonly T[]; say: Record<T, string>; value: T; onChange: (value: T) => void; without?: readonly T[] }): ReactElement {
  const { name, label, items, say, value, onChange, without = [] } = props;
  return (
    <fieldset className={classes["choice"]}>
      <legend className={classes["label"]}>{label}</legend>
      {items.map((one) => (
        <label key={one} className={classes["option"]}>
          <input type="radio" name={name} value={one} checked={value === one} disabled={without.includes(one)} onChange={() => onChange(one)} />
          {say[one]}
        </label>
      ))}
    </fieldset>
  );
}

export function FormPanel(props: FormPanelProps): ReactElement {
  const { form, onChange, faults, target, options, programs, busy, refused, again, onPreview } = props;
  const id = useId();
  const zone = useZone();
  const at = (field: Field): string => `${id}-${field}`;
  const send = (event: FormEvent): void => {
    event.preventDefault();
    if (!busy) onPreview();
  };
  const program = programs.find((one) => one.program_id === form.program);
  const notice = program ? (program.minimum_notice_s > 0 ? words.programNotice(duration(program.minimum_notice_s)) : words.programNoNotice) : undefined;
  return (
    <Panel title={words.what} hint={words.hint} testId="dispatch-form" state={{ kind: "ready" }}>
      {() => (
        <form onSubmit={send} className={classes["form"]} noValidate>
          <GroupField id={at("group")} value={form.group} onChange={(group) => onChange({ group })} options={options} target={target} fault={faults.group} />
          <Choice<Way> name={`${id}-way`} label={words.way} items={WAYS} say={words.ways} value={form.way} onChange={(way) => onChange({ way })} />
          <Choice<Act> name={`${id}-act`} label={words.act} items={ACTS} say={words.acts} value={form.act} onChange={(act) => onChange({ act })} without={form.way === "deliver" ? ["charge", "rest"] : []} />
          {form.act === "rest" ? null : (
            <Line id={at("power")} label={words.power} fault={faults.power}>
              {(given) => <input {...given} className={ui["input"]} inputMode="decimal" autoComplete="off" value={form.power} onChange={(event) => onChange({ power: event.target.value, powerGiven: true })} />}
            </Line>
          )}
          {form.way === "now" ? null : (
            <Line id={at("start")} label={words.start} fault={faults.start} hint={words.startHint(zone)}>
              {(given) => <input {...given} className={ui["input"]} type="datetime-local" value={form.start} onChange={(event) => onChange({ start: event.target.value })} />}
            </Line>
          )}
          <Line id={at("minutes")} label={words.minutes} fault={faults.minutes}>
            {(given) => <input {...given} className={ui["input"]} inputMode="numeric" autoComplete="off" value={form.minutes} onChange={(event) => onChange({ minutes: event.target.value })} />}
          </Line>
          <Line id={at("program")} label={words.program} fault={faults.program} hint={notice}>
            {(given) => (
              <select {...given} className={ui["input"]} value={form.program} onChange={(event) => onChange({ program: event.target.value })}>
                {powerPrograms(programs).map((one) => (
                  <option key={one.program_id} value={one.program_id}>
                    {one.name}
                  </option>
                ))}
              </select>
            )}
          </Line>
          {form.way === "ahead" ? (
            <label className={classes["option"]}>
              <input type="checkbox" checked={form.mayOptOut} onChange={(event) => onChange({ mayOptOut: event.target.checked })} />
              {words.mayOptOut}
            </label>
          ) : null}
          <Line id={at("reason")} label={words.reason} fault={faults.reason}>
            {(given) => <input {...given} className={ui["input"]} maxLength={500} value={form.reason} onChange={(event) => onChange({ reason: event.target.value })} />}
          </Line>
          <p role="alert" className={ui["fault"]} data-testid="preview-refused">
            {refused}
          </p>
          <div className={ui["buttons"]}>
            <Button type="submit" kind="primary" busy={busy} testId="preview-act">
              {again ? words.previewAgain : words.preview}
            </Button>
          </div>
        </form>
      )}
    </Panel>
  );
}
