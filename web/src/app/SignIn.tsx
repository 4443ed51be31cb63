/** The form to sign in: alone on the page, or over a screen whose session has ended. */
import { useId, useState, type FormEvent, type ReactElement } from "react";
import { strings } from "../strings";
import { Button } from "../ui/Button";
import ui from "../ui/ui.module.css";
import classes from "./SignIn.module.css";

const words = strings.session;

export interface SignInFormProps {
  readonly onSignIn: (name: string, password: string) => Promise<void>;
  readonly inDialog?: boolean;
  readonly name?: string;
}

export function SignInForm({ onSignIn, inDialog = false, name: known = "" }: SignInFormProps): ReactElement {
  const id = useId();
  const [name, setName] = useState(known);
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<string | null>(null);

  const send = (event: FormEvent): void => {
    event.preventDefault();
    setBusy(true);
    setFault(null);
    onSignIn(name, password).then(
      () => setBusy(false),
      (error: unknown) => {
        setBusy(false);
        setPassword("");
        setFault(error instanceof Error ? error.message : String(error));
      },
    );
  };

  const form = (
    <form className={classes["form"]} onSubmit={send}>
      <label htmlFor={`${id}-name`}>{words.name}</label>
      <input
        id={`${id}-name`}
        className={ui["input"]}
        value={name}
        autoComplete="username"
        autoCapitalize="none"
        spellCheck={false}
        autoFocus={known === ""}
        data-first={known === "" ? true : undefined}
        required
        onChange={(event) => setName(event.target.value)}
      />
      <label htmlFor={`${id}-password`}>{words.password}</label>
      <input
        id={`${id}-password`}
        className={ui["input"]}
        type="password"
        value={password}
        autoComplete="current-password"
        autoFocus={known !== ""}
        data-first={known === "" ? undefined : true}
        required
        aria-describedby={`${id}-fault`}
        onChange={(event) => setPassword(event.target.value)}
      />
      <p id={`${id}-fault`} role="alert" className={classes["fault"]}>
        {fault}
      </p>
      <Button kind="primary" type="submit" busy={busy}>
        {words.signIn}
      </Button>
    </form>
  );
  if (inDialog) return form;
  return (
    <main className={classes["page"]}>
      <div className={classes["card"]}>
        <h1>{words.title}</h1>
        <p>{strings.tagline}</p>
        {form}
      </div>
    </main>
  );
}
