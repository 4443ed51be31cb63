/** What a person does to alarms: takes note of them, puts them aside for a while, takes them back. */
import { useId, useState, type FormEvent, type ReactElement } from "react";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { faultWords } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import { strings } from "./strings";

const words = strings.act;
const MINUTES = [15, 30, 60, 240, 480, 1440] as const;

export interface Asked {
  readonly note: string;
  readonly minutes: number;
}

export interface ActDialogProps {
  readonly act: "acknowledge" | "shelve";
  readonly howMany: string;
  readonly name: string;
  /** Does it; what is thrown is told, and the dialog stays. */
  readonly onDo: (asked: Asked) => Promise<void>;
  readonly onClose: () => void;
}

/** Asks for the note, or for how long and why. */
export function ActDialog({ act, howMany, name, onDo, onClose }: ActDialogProps): ReactElement {
  const id = useId();
  const [note, setNote] = useState("");
  const [minutes, setMinutes] = useState(30);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const shelving = act === "shelve";
  const send = (event: FormEvent): void => {
    event.preventDefault();
    if (busy || (shelving && note.trim() === "")) return;
    setBusy(true);
    setFault("");
    onDo({ note: note.trim(), minutes }).then(onClose, (error: unknown) => {
      setBusy(false);
      setFault(faultWords(error));
    });
  };
  return (
    <Dialog title={shelving ? words.shelveTitle(howMany, name) : words.acknowledgeTitle(howMany, name)} onClose={onClose}>
      <form onSubmit={send} className={ui["stack"]}>
        <p className={ui["line"]}>{shelving ? words.shelveBody : words.acknowledgeBody}</p>
        {shelving ? (
          <label className={ui["field"]} htmlFor={`${id}-minutes`}>
            {words.minutes}
            <select id={`${id}-minutes`} className={ui["input"]} value={minutes} onChange={(event) => setMinutes(Number(event.target.value))}>
              {MINUTES.map((one) => (
                <option key={one} value={one}>
                  {words.minuteWords[one]}
                </option>
              ))}
            </select>
          </label>
        ) : null}
        <label className={ui["field"]} htmlFor={`${id}-note`}>
          {shelving ? words.reason : words.note}
          <textarea id={`${id}-note`} data-first className={ui["input"]} rows={2} maxLength={500} required={shelving} value={note} onChange={(event) => setNote(event.target.value)} />
        </label>
        <p role="alert" className={ui["fault"]}>
          {fault}
        </p>
        <div className={ui["buttons"]}>
          <Button onClick={onClose}>{words.cancel}</Button>
          <Button type="submit" kind="primary" busy={busy} disabled={shelving && note.trim() === ""}>
            {shelving ? words.shelve : words.acknowledge}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
