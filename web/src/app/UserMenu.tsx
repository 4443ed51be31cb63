/** Who reads the page, light or dark, the keys, a new password, and signing out: a disclosure, not a menu, so that everything in it is plain. */
import { lazy, Suspense, useEffect, useRef, useState, type ReactElement } from "react";
import { strings } from "../strings";
import { Button } from "../ui/Button";
import { useSession } from "./session";
import { chooseTheme, useThemeChoice, type ThemeChoice } from "./theme";
import classes from "./UserMenu.module.css";

const words = strings.session;
const PasswordDialog = lazy(() => import("./password/Password"));
const CHOICES: readonly ThemeChoice[] = ["system", "light", "dark"];

export function UserMenu({ onKeys }: { onKeys: () => void }): ReactElement {
  const { session, signOut } = useSession();
  const [open, setOpen] = useState(false);
  const [changing, setChanging] = useState(false);
  const choice = useThemeChoice();
  const holder = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const onPointer = (event: PointerEvent): void => {
      if (!holder.current?.contains(event.target as Node)) setOpen(false);
    };
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== "Escape") return;
      setOpen(false);
      holder.current?.querySelector("button")?.focus();
    };
    window.addEventListener("pointerdown", onPointer);
    window.addEventListener("keydown", onKey);
    return () => {
      window.removeEventListener("pointerdown", onPointer);
      window.removeEventListener("keydown", onKey);
    };
  }, [open]);
  const name = session.name ?? words.nobody;
  return (
    <div ref={holder} className={classes["holder"]}>
      <button type="button" className={classes["button"]} aria-expanded={open} onClick={() => setOpen(!open)} data-testid="user-menu">
        {name}
      </button>
      {open ? (
        <div className={classes["panel"]}>
          <p className={classes["roles"]}>{session.mode === "user" ? words.roles(session.roles.map((role) => words.roleWords[role] ?? role)) : words.modeWords[session.mode ?? "open"]}</p>
          <fieldset className={classes["theme"]}>
            <legend>{words.look}</legend>
            {CHOICES.map((one) => (
              <label key={one}>
                <input type="radio" name="theme" checked={choice === one} onChange={() => chooseTheme(one)} /> {words.lookWords[one]}
              </label>
            ))}
          </fieldset>
          <Button
            onClick={() => {
              setOpen(false);
              onKeys();
            }}
          >
            {strings.keys.title}
          </Button>
          {session.mode === "user" ? (
            <>
              <Button
                onClick={() => {
                  // where the keyboard is to be when the dialog is closed
                  holder.current?.querySelector("button")?.focus();
                  setOpen(false);
                  setChanging(true);
                }}
              >
                {words.changePassword}
              </Button>
              <Button onClick={() => void signOut()}>{words.signOut}</Button>
            </>
          ) : null}
        </div>
      ) : null}
      {changing ? (
        <Suspense fallback={null}>
          <PasswordDialog onClose={() => setChanging(false)} />
        </Suspense>
      ) : null}
    </div>
  );
}
