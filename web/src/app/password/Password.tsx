/** A new password for oneself: what is wrong is said at its field, and who is signed out by it before and after. */
import { useEffect, useId, useRef, useState, type FormEvent, type ReactElement } from "react";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import ui from "../../ui/ui.module.css";
import { useSession } from "../session";
import { FIELDS, faultsIn, faultsOfRefusal, type Faults, type Field, type Given } from "./check";
import classes from "./Password.module.css";
import { words } from "./strings";

const NOTHING: Given = { old: "", next: "", again: "" };
const COMPLETE: Readonly<Record<Field, string>> = { old: "current-password", next: "new-password", again: "new-password" };

function Done({ onClose }: { onClose: () => void }): ReactElement {
  const holder = useRef<HTMLDivElement>(null);
  // The button that was pushed is gone: the keyboard goes on at the way out.
  useEffect(() => holder.current?.querySelector("button")?.focus(), []);
  return (
    <div ref={holder} data-testid="password-changed">
      <p role="status">
        <strong>{words.done}</strong> {words.after}
      </p>
      <div className={classes["acts"]}>
        <Button kind="primary" onClick={onClose}>{words.close}</Button>
      </div>
    </div>
  );
}

export default function PasswordDialog({ onClose }: { onClose: () => void }): ReactElement {
  const { session, changePassword } = useSession();
  const id = useId();
  const form = useRef<HTMLFormElement>(null);
  const [given, setGiven] = useState<Given>(NOTHING);
  const [faults, setFaults] = useState<Faults>({});
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState(false);
  const name = useRef(session.name ?? "");

  // To the first field with which something is wrong, once the fields take input again.
  useEffect(() => {
    if (!busy) form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [faults, busy]);

  const send = (event: FormEvent): void => {
    event.preventDefault();
    const found = faultsIn(given);
    setFaults(found);
    if (busy || Object.keys(found).length > 0) return;
    setBusy(true);
    changePassword(given.old, given.next).then(
      () => setDone(true),
      (error: unknown) => {
        const refused = faultsOfRefusal(error);
        setBusy(false);
        setFaults(refused);
        if (refused.old !== undefined) setGiven((now) => ({ ...now, old: "" }));
      },
    );
  };

  const field = (one: Field): ReactElement => {
    const fault = faults[one];
    const about = [fault === undefined ? "" : `${id}-${one}-fault`, one === "next" ? `${id}-rule` : ""].filter((part) => part !== "");
    return (
      <div className={classes["field"]} key={one}>
        <label htmlFor={`${id}-${one}`}>{words[one]}</label>
        {one === "next" ? <p id={`${id}-rule`} className={classes["rule"]}>{words.rule}</p> : null}
        <input
          id={`${id}-${one}`}
          className={ui["input"]}
          type="password"
          value={given[one]}
          autoComplete={COMPLETE[one]}
          data-first={one === "old" ? true : undefined}
          aria-required
          aria-invalid={fault !== undefined}
          aria-describedby={about.length > 0 ? about.join(" ") : undefined}
          onChange={(event) => {
            const value = event.target.value;
            setGiven((now) => ({ ...now, [one]: value }));
          }}
        />
        {fault === undefined ? null : <p id={`${id}-${one}-fault`} role="alert" className={classes["fault"]}>{fault}</p>}
      </div>
    );
  };

  return (
    <Dialog title={words.title} onClose={onClose}>
      {done ? (
        <Done onClose={onClose} />
      ) : (
        <form ref={form} className={classes["form"]} onSubmit={send} noValidate data-testid="password-form">
          <p className={classes["before"]}>{words.before}</p>
          {/* for the browser's own store of passwords */}
          <input type="text" hidden readOnly autoComplete="username" value={name.current} />
          {FIELDS.map(field)}
          {faults.all === undefined ? null : <p role="alert" className={classes["fault"]}>{faults.all}</p>}
          <div className={classes["acts"]}>
            <Button onClick={onClose}>{words.cancel}</Button>
            <Button kind="primary" type="submit" busy={busy}>{words.act}</Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
