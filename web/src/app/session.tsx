/** Who reads the page and what the reader may. A session that ends is begun again over the screen, which stays as it is. */
import { createContext, useCallback, useContext, useEffect, useMemo, useRef, useState, type ReactElement, type ReactNode } from "react";
import { api, onSessionOver } from "../api/client";
import type { Right, Session } from "../api/types";
import { hurryLive, onLiveSessionOver, useLive } from "../live/store";
import { strings } from "../strings";
import { Dialog } from "../ui/Dialog";
import { SignInForm } from "./SignIn";

export interface SessionView {
  readonly session: Session;
  /** Sign in; rejects with the reason in words. */
  readonly signIn: (name: string, password: string) => Promise<void>;
  readonly signOut: () => Promise<void>;
  /** Give oneself a new password; rejects with the plant's refusal. */
  readonly changePassword: (old: string, next: string) => Promise<void>;
}

const Context = createContext<SessionView | null>(null);

/** How long before the end the page offers to sign in again. */
export const WARN_BEFORE_MS = 10 * 60_000;

/** Who reads the page. */
export function useSession(): SessionView {
  const view = useContext(Context);
  if (!view) throw new Error("no session around");
  return view;
}

/** Whether the reader may do what takes a right; the API refuses anyway. */
export function useMay(right: Right): boolean {
  return useContext(Context)?.session.rights.includes(right) ?? false;
}

/** Whether nobody is signed in where people sign in. */
export function mustSignIn(session: Session): boolean {
  return session.mode === null && session.sign_in;
}

/** For tests and for parts of the page that are shown alone: a reader who may this. */
export function SessionOf({ session, children }: { session: Session; children: ReactNode }): ReactElement {
  const view = useMemo<SessionView>(() => ({ session, signIn: () => Promise.resolve(), signOut: () => Promise.resolve(), changePassword: () => Promise.resolve() }), [session]);
  return <Context.Provider value={view}>{children}</Context.Provider>;
}

/** Milliseconds until the session ends by the server's clock, however wrong the browser's is; null for never. */
function leftOf(session: Session): number | null {
  return session.until_ms === null ? null : session.until_ms - session.now_ms;
}

export function SessionProvider({ children }: { children: ReactNode }): ReactElement {
  const [session, setSession] = useState<Session | null>(null);
  const [over, setOver] = useState(false);
  const [failed, setFailed] = useState(0);
  const waiting = useRef<((signedIn: boolean) => void)[]>([]);
  const known = useRef<Session | null>(null);
  known.current = session;

  const refresh = useCallback(async () => {
    const before = known.current;
    try {
      const found = await api.get("/api/session", {});
      if (known.current !== before) return false; // asked as somebody that the reader is no more
      if (known.current && !mustSignIn(known.current) && mustSignIn(found)) setOver(true);
      else setSession(found);
      setFailed(0);
      return !mustSignIn(found);
    } catch {
      setFailed((count) => count + 1);
      return false;
    }
  }, []);

  // The first answer is waited for; while the plant is away it is asked again.
  useEffect(() => {
    if (session && failed === 0) return;
    const id = window.setTimeout(() => void refresh(), failed === 0 ? 0 : Math.min(1000 * 2 ** failed, 15_000));
    return () => window.clearTimeout(id);
  }, [session, failed, refresh]);

  // A socket that is refused says no reason: ask who we are.
  const link = useLive((view) => view.link);
  useEffect(() => {
    if (link === "reconnecting" && known.current) void refresh();
  }, [link, refresh]);

  useEffect(() => {
    onSessionOver(() => {
      if (!known.current?.sign_in) return Promise.resolve(false);
      setOver(true);
      return new Promise<boolean>((done) => waiting.current.push(done));
    });
    // The socket may be of a session that ended when this reader began another one: ask before saying so.
    onLiveSessionOver(() => void refresh().then((stays) => (stays ? hurryLive() : undefined)));
    return () => {
      onSessionOver(null);
      onLiveSessionOver(null);
    };
  }, [refresh]);

  const left = session ? leftOf(session) : null;
  useEffect(() => {
    if (left === null) return;
    const id = window.setTimeout(() => setOver(true), Math.min(Math.max(left, 0), 2 ** 31 - 1));
    return () => window.clearTimeout(id);
  }, [left, session]);

  const begun = useCallback((fresh: Session) => {
    known.current = fresh;
    setSession(fresh);
    setOver(false);
    hurryLive();
    for (const done of waiting.current.splice(0)) done(true);
  }, []);

  const signIn = useCallback(
    async (name: string, password: string) => begun(await api.post("/api/session", { body: { name, password } })),
    [begun],
  );

  const changePassword = useCallback(
    async (old: string, next: string) => begun(await api.post("/api/session/password", { body: { old, new: next } })),
    [begun],
  );

  const signOut = useCallback(async () => {
    setSession(await api.delete("/api/session", {}));
    // Nothing that was shown to somebody stays for the next one.
    window.location.reload();
  }, []);

  const view = useMemo(() => (session ? { session, signIn, signOut, changePassword } : null), [session, signIn, signOut, changePassword]);
  if (!view) return <p role="status">{failed > 0 ? strings.session.away : strings.loading}</p>;
  return (
    <Context.Provider value={view}>
      {mustSignIn(view.session) ? <SignInForm onSignIn={signIn} /> : children}
      {over && !mustSignIn(view.session) ? (
        <Dialog title={strings.session.over} onClose={() => void signOut()} closeLabel={strings.session.leave}>
          <SignInForm inDialog name={view.session.name ?? ""} onSignIn={signIn} />
        </Dialog>
      ) : null}
    </Context.Provider>
  );
}
