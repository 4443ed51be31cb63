/** Names a group: what is typed is looked for among the plant's groups, and what is found is told below the field. */
import { useDeferredValue, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { count } from "../../format/number";
import { powerSize } from "../../format/power";
import { useWatched } from "../../live/store";
import ui from "../../ui/ui.module.css";
import classes from "./dispatch.module.css";
import { targetOf, type Target } from "./form";
import { strings } from "./strings";

const words = strings.form;
const MOST = 50;
const NOBODY: readonly string[] = [];

/** The group that a text means, with its newest figures; null while the plant is asked. */
export function useTarget(text: string): { readonly target: Target | null; readonly options: readonly { id: string; name: string }[] } {
  const wanted = useDeferredValue(text.trim());
  const query = useApi("/api/groups", { query: { text: wanted, limit: MOST } }, { keep: true });
  const settled = !query.isPlaceholderData && wanted === text.trim();
  const target = targetOf(text, query.data?.groups);
  const ids = target.kind === "group" ? [target.group.group_id] : NOBODY;
  const watched = useWatched(ids);
  const options = (query.data?.groups ?? []).map((one) => ({ id: one.group_id, name: one.name }));
  if (target.kind === "group") return { target: { kind: "group", group: watched.get(target.group.group_id) ?? target.group }, options };
  if (target.kind === "none" && text.trim() !== "" && (!settled || query.isPending)) return { target: null, options };
  return { target, options };
}

export interface GroupFieldProps {
  readonly id: string;
  readonly value: string;
  readonly onChange: (text: string) => void;
  readonly options: readonly { readonly id: string; readonly name: string }[];
  readonly target: Target | null;
  readonly fault: string | undefined;
}

export function GroupField({ id, value, onChange, options, target, fault }: GroupFieldProps): ReactElement {
  const group = target?.kind === "group" ? target.group : null;
  return (
    <div className={classes["field"]}>
      <label htmlFor={id} className={classes["label"]}>
        {words.group}
      </label>
      <input
        id={id}
        className={ui["input"]}
        list={`${id}-list`}
        value={value}
        data-search
        autoComplete="off"
        spellCheck={false}
        required
        aria-invalid={fault !== undefined}
        aria-describedby={`${id}-hint ${id}-fault`}
        onChange={(event) => onChange(event.target.value)}
      />
      <datalist id={`${id}-list`}>
        {options.map((one) => (
          <option key={one.id} value={one.id} label={one.name} />
        ))}
        <option value={words.wholeFleet} />
      </datalist>
      <p id={`${id}-hint`} className={classes["hint"]} data-testid="group-found">
        {group
          ? `${group.name}: ${words.groupFound(count(group.sites), count(group.fresh), powerSize(group.firm_discharge_kw), powerSize(group.firm_charge_kw))}`
          : words.groupHint}
      </p>
      <p id={`${id}-fault`} className={ui["fault"]}>
        {fault}
      </p>
    </div>
  );
}
