/** The form of a bid by hand; each objection stands at its field and is read out with it. */
import { useId, type ReactElement, type ReactNode } from "react";
import { price } from "../../format/money";
import { intervalWords } from "../../format/time";
import { Button } from "../../ui/Button";
import { needsExpectation, openStarts, shapeOf, type Faults, type Form, type FormRow, type Place, type RuleProduct, type Rules, type Side, type Way } from "./manual";
import classes from "./market.module.css";
import { strings } from "./strings";
import { megawatts, priceFor } from "./words";

const words = strings.manual;
const WAYS: readonly Way[] = ["charge", "discharge"];

interface FieldProps {
  readonly label: string;
  readonly place: Place;
  readonly faults: Faults;
  readonly wide?: boolean;
  readonly children: (attributes: { id: string; "aria-invalid": boolean; "aria-describedby": string | undefined }) => ReactNode;
}

function Field({ label, place, faults, wide = false, children }: FieldProps): ReactElement {
  const id = useId();
  const said = faults.get(place) ?? [];
  const wrong = said.length > 0;
  return (
    <div className={`${classes["field"]} ${wide ? classes["wide"] : ""}`}>
      <label htmlFor={id}>{label}</label>
      {children({ id, "aria-invalid": wrong, "aria-describedby": wrong ? `${id}-fault` : undefined })}
      {wrong ? (
        <p id={`${id}-fault`} className={classes["fault"]} data-place={place}>
          {said.join(" ")}
        </p>
      ) : null}
    </div>
  );
}

export interface ManualFormProps {
  readonly rules: Rules;
  readonly products: readonly RuleProduct[];
  readonly product: RuleProduct;
  readonly form: Form;
  readonly faults: Faults;
  readonly onChange: (part: Partial<Form>) => void;
  readonly onStanding: () => void;
}

function Intervals({ rules, product, form, faults, onChange }: ManualFormProps): ReactElement {
  const starts = openStarts(product);
  const options = starts.map((start) => (
    <option key={start} value={start}>
      {intervalWords(start, product.end_ms[product.start_ms.indexOf(start)] ?? start, rules.zone)}
    </option>
  ));
  return (
    <>
      <Field label={words.from} place="first" faults={faults}>
        {(given) => (
          <select {...given} value={form.firstMs} onChange={(event) => onChange({ firstMs: Number(event.target.value) })}>
            {options}
          </select>
        )}
      </Field>
      <Field label={words.to} place="form" faults={new Map()}>
        {(given) => (
          <select {...given} value={form.lastMs} onChange={(event) => onChange({ lastMs: Number(event.target.value) })}>
            {options.slice(Math.max(starts.indexOf(form.firstMs), 0))}
          </select>
        )}
      </Field>
    </>
  );
}

function PriceRow({ at, row, input, onRow }: { at: number; row: FormRow; input: ManualFormProps; onRow: (row: FormRow | null) => void }): ReactElement {
  const { product, faults, form } = input;
  const bands = shapeOf(product) === "bands";
  const service = product.kind === "capacity";
  return (
    <div className={classes["row"]} role="group" aria-label={words.row(String(at + 1))}>
      {bands || service ? null : (
        <Field label={words.side} place="form" faults={new Map()}>
          {(given) => (
            <select {...given} value={row.side} onChange={(event) => onRow({ ...row, side: event.target.value as Side })}>
              <option value="buy">{words.sides.buy}</option>
              <option value="sell">{words.sides.sell}</option>
            </select>
          )}
        </Field>
      )}
      <Field label={words.quantity} place={`row-${at}-mw`} faults={faults}>
        {(given) => <input {...given} inputMode="decimal" autoComplete="off" value={row.mw} onChange={(event) => onRow({ ...row, mw: event.target.value })} />}
      </Field>
      <Field label={service ? words.capacityPrice : words.price} place={`row-${at}-price`} faults={faults}>
        {(given) => <input {...given} inputMode="decimal" autoComplete="off" value={row.price} onChange={(event) => onRow({ ...row, price: event.target.value })} />}
      </Field>
      {bands || form.rows.length < 2 ? null : (
        <div className={classes["rowEnd"]}>
          <Button label={words.remove(String(at + 1))} onClick={() => onRow(null)}>
            {words.removeShort}
          </Button>
        </div>
      )}
    </div>
  );
}

function Rows(input: ManualFormProps): ReactElement {
  const { rules, product, form, onChange, onStanding } = input;
  const shape = shapeOf(product);
  const put = (at: number) => (row: FormRow | null): void => onChange({ rows: form.rows.flatMap((one, i) => (i !== at ? [one] : row === null ? [] : [row])) });
  const allowed = words.allow(priceFor(product.kind, product.floor_per_mwh, rules.currency), priceFor(product.kind, product.cap_per_mwh, rules.currency), price(product.price_tick_per_mwh, rules.currency));
  return (
    <fieldset className={classes["rows"]}>
      <legend>{words.rows}</legend>
      {shape === "bands" ? (
        <Field label={words.bandSide} place="form" faults={new Map()}>
          {(given) => (
            <select {...given} value={form.bandSide} onChange={(event) => onChange({ bandSide: event.target.value === "load" ? "load" : "gen" })}>
              <option value="gen">{words.bandSides.gen}</option>
              <option value="load">{words.bandSides.load}</option>
            </select>
          )}
        </Field>
      ) : null}
      {form.rows.map((row, i) => (
        <PriceRow key={i} at={i} row={row} input={input} onRow={put(i)} />
      ))}
      <p className={classes["note"]}>
        {allowed} {words.allowMw(megawatts(product.quantity_minimum_mw), megawatts(product.quantity_step_mw))}
      </p>
      <div className={classes["buttons"]}>
        {shape === "bands" || form.rows.length >= product.points ? null : <Button onClick={() => onChange({ rows: [...form.rows, { side: "sell", mw: "", price: "" }] })}>{words.add}</Button>}
        <Button onClick={onStanding}>{words.standing}</Button>
      </div>
    </fieldset>
  );
}

function Way({ label, value, onPick }: { label: string; value: Way; onPick: (way: Way) => void }): ReactElement {
  return (
    <Field label={label} place="form" faults={new Map()}>
      {(given) => (
        <select {...given} value={value} onChange={(event) => onPick(event.target.value === "charge" ? "charge" : "discharge")}>
          {WAYS.map((one) => (
            <option key={one} value={one}>
              {words.directions[one]}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function ManualForm(input: ManualFormProps): ReactElement {
  const { rules, products, product, form, faults, onChange } = input;
  const shape = shapeOf(product);
  const above = faults.get("form") ?? [];
  return (
    <form className={classes["said"]} onSubmit={(event) => event.preventDefault()} aria-label={words.title}>
      {above.map((one) => (
        <p key={one} className={classes["fault"]} role="alert">
          {one}
        </p>
      ))}
      <div className={classes["pickers"]}>
        <Field label={words.product} place="form" faults={new Map()}>
          {(given) => (
            <select {...given} value={product.product_id} onChange={(event) => onChange({ productId: event.target.value })}>
              {products.map((one) => (
                <option key={one.product_id} value={one.product_id}>
                  {one.name}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Intervals {...input} />
      </div>
      {shape === null ? <p className={classes["note"]}>{words.blocksOnly}</p> : null}
      {shape === "load_target" ? (
        <div className={classes["pickers"]}>
          <Way label={words.direction} value={form.loadWay} onPick={(loadWay) => onChange({ loadWay })} />
          <Field label={words.quantity} place="load" faults={faults}>
            {(given) => <input {...given} inputMode="decimal" autoComplete="off" value={form.loadMw} onChange={(event) => onChange({ loadMw: event.target.value })} />}
          </Field>
        </div>
      ) : shape === null ? null : (
        <Rows {...input} />
      )}
      {rules.charge_limit_mw === null || rules.discharge_limit_mw === null ? null : <p className={classes["note"]}>{words.canDo(megawatts(rules.charge_limit_mw), megawatts(rules.discharge_limit_mw))}</p>}
      {needsExpectation(product, form) ? (
        <fieldset className={classes["rows"]}>
          <legend>{words.expect}</legend>
          <p className={classes["note"]}>{words.expectHint}</p>
          <div className={classes["row"]}>
            <Way label={words.direction} value={form.expectWay} onPick={(expectWay) => onChange({ expectWay })} />
            <Field label={words.expectMw} place="expect" faults={faults}>
              {(given) => <input {...given} inputMode="decimal" autoComplete="off" value={form.expectMw} onChange={(event) => onChange({ expectMw: event.target.value })} />}
            </Field>
          </div>
        </fieldset>
      ) : null}
      <div className={classes["pickers"]}>
        {rules.reason_categories.length === 0 ? null : (
          <Field label={words.category} place="category" faults={faults}>
            {(given) => (
              <select {...given} value={form.category} onChange={(event) => onChange({ category: event.target.value })}>
                {rules.reason_categories.map((one) => (
                  <option key={one} value={one}>
                    {words.categories[one] ?? one}
                  </option>
                ))}
              </select>
            )}
          </Field>
        )}
        <Field label={words.reason} place="reason" faults={faults} wide>
          {(given) => <input {...given} maxLength={120} autoComplete="off" value={form.reason} onChange={(event) => onChange({ reason: event.target.value })} />}
        </Field>
      </div>
    </form>
  );
}
