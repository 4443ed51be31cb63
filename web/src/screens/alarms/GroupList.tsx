/** The groups of alarms: the worst first, each with its cause, extent, age and consequence, and what to do about it. */
import { Fragment, useRef, useState, type KeyboardEvent, type ReactElement } from "react";
import { useAct } from "../../api/queries";
import { useMay } from "../../app/session";
import { count } from "../../format/number";
import { duration, dayHour } from "../../format/time";
import { Button } from "../../ui/Button";
import { Instant, useZone } from "../../ui/Instant";
import { faultWords } from "../../ui/panelState";
import { Severity } from "../../ui/Severity";
import { ActDialog, type Asked } from "./acts";
import classes from "./Alarms.module.css";
import { GroupInside } from "./GroupInside";
import { causeOf, extentOf, kindsOf, moneyOf, powerOf, type AlarmGroup } from "./groups";
import { strings } from "./strings";

const words = strings.groups;
const REFRESH = { refresh: ["/api/alarms"] };

interface Acting {
  readonly act: "acknowledge" | "shelve";
  readonly group: AlarmGroup;
  /** When the list was drawn that the reader acts on. */
  readonly asOfMs: number;
}

export interface GroupListProps {
  readonly groups: readonly AlarmGroup[];
  readonly asOfMs: number;
  /** The cause that is open. */
  readonly open: string | null;
  readonly onOpen: (cause: string | null) => void;
}

function State({ group }: { group: AlarmGroup }): ReactElement {
  const zone = useZone();
  return (
    <div>
      <div>{group.acknowledged ? words.acknowledged : words.open(count(group.open_count))}</div>
      {group.shelved_until_ms !== null ? <div className={classes["sub"]}>{strings.shelf.untilTime(dayHour(group.shelved_until_ms, zone))}</div> : null}
      {group.shelved_until_ms === null && group.shelved_count > 0 ? <div className={classes["sub"]}>{words.someShelved(count(group.shelved_count))}</div> : null}
    </div>
  );
}

function Consequence({ group }: { group: AlarmGroup }): ReactElement {
  const power = powerOf(group);
  const money = moneyOf(group);
  return (
    <>
      <div>
        <div className={classes["label"]}>{words.power}</div>
        <div>{power.value}</div>
        {power.sure === null ? null : <div className={classes["sub"]}>{power.sure}</div>}
      </div>
      <div>
        <div className={classes["label"]}>{words.money}</div>
        {money.length === 0 ? <div>{words.noAward}</div> : null}
        {money.map((one) => (
          <Fragment key={one.value}>
            <div>{one.value}</div>
            <div className={classes["sub"]}>{one.sure}</div>
          </Fragment>
        ))}
      </div>
    </>
  );
}

export function GroupList({ groups, asOfMs, open, onOpen }: GroupListProps): ReactElement {
  const mayAct = useMay("operate");
  const list = useRef<HTMLUListElement>(null);
  const [acting, setActing] = useState<Acting | null>(null);
  const [said, setSaid] = useState("");
  const acknowledge = useAct("post", "/api/alarms/groups/ack", REFRESH);
  const shelve = useAct("post", "/api/alarms/groups/shelve", REFRESH);
  const takeBack = useAct("post", "/api/alarms/groups/return", REFRESH);

  const begin = (act: Acting["act"], group: AlarmGroup): void => {
    const nothing = act === "acknowledge" ? group.acknowledged : group.shelved_until_ms !== null;
    if (mayAct && !nothing) setActing({ act, group, asOfMs });
  };
  const perform = async ({ act, group, asOfMs: asOf }: Acting, { note, minutes }: Asked): Promise<void> => {
    const about = { cause: group.cause, as_of_ms: asOf };
    const done = act === "acknowledge" ? await acknowledge.run({ body: { ...about, note } }) : await shelve.run({ body: { ...about, minutes, reason: note } });
    const refused = done.refused[0];
    setSaid(
      [
        strings.act.done(words.alarms(count(done.done))),
        done.left > 0 ? strings.act.left(words.alarms(count(done.left))) : "",
        refused ? strings.act.refused(words.alarms(count(done.refused.length)), refused.why) : "",
      ]
        .filter((one) => one !== "")
        .join(" "),
    );
  };
  const giveBack = (group: AlarmGroup): void => {
    takeBack.run({ body: { cause: group.cause } }).then(
      (done) => setSaid(strings.act.done(words.alarms(count(done.done)))),
      (error: unknown) => setSaid(faultWords(error)),
    );
  };
  const onKeyDown = (event: KeyboardEvent, group: AlarmGroup): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const heads = [...(list.current?.querySelectorAll<HTMLElement>("[data-cause]") ?? [])];
    const at = heads.findIndex((one) => one === event.target);
    const to: Record<string, number> = { ArrowDown: Math.min(at + 1, heads.length - 1), ArrowUp: Math.max(at - 1, 0), Home: 0, End: heads.length - 1 };
    const next = to[event.key];
    if (next !== undefined) heads[next]?.focus();
    else if (event.key === "a") begin("acknowledge", group);
    else if (event.key === "s") begin("shelve", group);
    else return;
    event.preventDefault();
  };

  return (
    <>
      <ul className={classes["list"]} ref={list}>
        {groups.map((group) => {
          const name = causeOf(group);
          const isOpen = open === group.cause;
          return (
            <li key={group.cause} data-testid="alarm-group">
              <div className={classes["card"]} data-open={isOpen}>
                <div>
                  <Severity value={group.severity} />
                </div>
                <div>
                  <button
                    type="button"
                    data-cause={group.cause}
                    className={classes["cause"]}
                    aria-expanded={isOpen}
                    aria-keyshortcuts="a s"
                    onClick={() => onOpen(isOpen ? null : group.cause)}
                    onKeyDown={(event) => onKeyDown(event, group)}
                  >
                    {name}
                  </button>
                  <div>{kindsOf(group)}</div>
                  {extentOf(group).map((one) => (
                    <div key={one} className={classes["sub"]}>
                      {one}
                    </div>
                  ))}
                </div>
                <div>
                  <div className={classes["label"]}>{words.age}</div>
                  <Instant ms={group.since_ms} />
                  <div className={classes["sub"]}>{words.oldest(duration(group.oldest_age_s))}</div>
                </div>
                <Consequence group={group} />
                <div className={classes["acts"]}>
                  <State group={group} />
                  {mayAct && !group.acknowledged ? (
                    <Button label={strings.act.acknowledgeNamed(name)} onClick={() => begin("acknowledge", group)}>
                      {strings.act.acknowledge}
                    </Button>
                  ) : null}
                  {mayAct && group.shelved_until_ms === null ? (
                    <Button label={strings.act.shelveNamed(name)} onClick={() => begin("shelve", group)}>
                      {strings.act.shelve}
                    </Button>
                  ) : null}
                  {mayAct && group.shelved_count > 0 ? (
                    <Button label={strings.act.takeBackNamed(name)} busy={takeBack.busy} onClick={() => giveBack(group)}>
                      {strings.act.takeBack}
                    </Button>
                  ) : null}
                </div>
              </div>
              {isOpen ? <GroupInside group={group} /> : null}
            </li>
          );
        })}
      </ul>
      <p role="status" className={classes["said"]}>
        {said}
      </p>
      {mayAct ? null : <p className={classes["sub"]}>{strings.act.mayNot}</p>}
      {acting ? (
        <ActDialog
          act={acting.act}
          howMany={words.alarms(count(acting.act === "acknowledge" ? acting.group.open_count : acting.group.count))}
          name={causeOf(acting.group)}
          onDo={(asked) => perform(acting, asked)}
          onClose={() => setActing(null)}
        />
      ) : null}
    </>
  );
}
