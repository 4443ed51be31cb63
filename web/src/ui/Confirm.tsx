/** Asks once, clearly, before something that cannot be taken back: what, to whom, what follows. */
import { createContext, useCallback, useContext, useId, useMemo, useState, type FormEvent, type ReactElement, type ReactNode } from "react";
import { strings } from "../strings";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import classes from "./ui.module.css";

const words = strings.ask;

export interface Question {
  readonly title: string;
  readonly body: ReactNode;
  /** What the button says: the act itself, such as "Abort the event". */
  readonly act: string;
  readonly danger?: boolean;
  readonly needReason?: boolean;
  /** To be typed before the button works; for what reaches the whole fleet. */
  readonly typeToConfirm?: string;
}

export interface Confirmed {
  readonly reason: string;
}

type Ask = (question: Question) => Promise<Confirmed | null>;

const Context = createContext<Ask | null>(null);

/** Returns how to ask; the answer is null when the reader thinks better of it. */
export function useConfirm(): Ask {
  const ask = useContext(Context);
  if (!ask) throw new Error("no ConfirmProvider around");
  return ask;
}

interface Open {
  readonly question: Question;
  readonly answer: (confirmed: Confirmed | null) => void;
}

function QuestionForm({ question, answer }: Open): ReactElement {
  const id = useId();
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const { typeToConfirm: wanted, needReason = false } = question;
  const ready = (!needReason || reason.trim() !== "") && (wanted === undefined || typed.trim() === wanted);
  const send = (event: FormEvent): void => {
    event.preventDefault();
    if (ready) answer({ reason: reason.trim() });
  };
  return (
    <form onSubmit={send} className={classes["stack"]}>
      <div>{question.body}</div>
      {needReason ? (
        <label className={classes["field"]} htmlFor={`${id}-reason`}>
          {words.reason}
          <textarea id={`${id}-reason`} className={classes["input"]} rows={2} maxLength={500} required value={reason} onChange={(event) => setReason(event.target.value)} />
        </label>
      ) : null}
      {wanted !== undefined ? (
        <label className={classes["field"]} htmlFor={`${id}-typed`}>
          {words.type(wanted)}
          <input id={`${id}-typed`} className={classes["input"]} value={typed} autoComplete="off" onChange={(event) => setTyped(event.target.value)} />
        </label>
      ) : null}
      <div className={classes["buttons"]}>
        <Button onClick={() => answer(null)}>{words.no}</Button>
        <Button type="submit" kind={question.danger ? "danger" : "primary"} disabled={!ready}>
          {question.act}
        </Button>
      </div>
    </form>
  );
}

export function ConfirmProvider({ children }: { children: ReactNode }): ReactElement {
  const [open, setOpen] = useState<Open | null>(null);
  const ask = useCallback<Ask>(
    (question) =>
      new Promise((done) => {
        setOpen((held) => {
          held?.answer(null); // a second question withdraws the first
          return {
            question,
            answer: (confirmed) => {
              setOpen(null);
              done(confirmed);
            },
          };
        });
      }),
    [],
  );
  const shown = useMemo(() => children, [children]);
  return (
    <Context.Provider value={ask}>
      {shown}
      {open ? (
        <Dialog title={open.question.title} onClose={() => open.answer(null)}>
          <QuestionForm {...open} />
        </Dialog>
      ) : null}
    </Context.Provider>
  );
}
