/** Asking for one answer, again every while; an old answer stays in view and says that it is old. */
import { useCallback, useEffect, useRef, useState } from "react";
import { RefusedError, UnreachedError } from "../api/client";
import { strings } from "./strings";

export interface Read<T> {
  readonly value: T | null;
  /** Why the newest question was not answered, in words; null when it was. */
  readonly fault: string | null;
  readonly again: () => void;
  /** Put what an act answered in place of what was read. */
  readonly put: (value: T) => void;
}

/** What went wrong, for people. */
export function faultWords(error: unknown): string {
  if (error instanceof UnreachedError) return strings.away;
  if (error instanceof RefusedError) return error.fix === null || error.status >= 500 ? error.message : strings.and(`${error.message}.`, error.fix);
  return error instanceof Error ? error.message : String(error);
}

/** Ask now, whenever `key` changes, and every `everyMs`. What was shown of another key is dropped. */
export function useRead<T>(key: string, load: (signal: AbortSignal) => Promise<T>, everyMs: number): Read<T> {
  const [held, setHeld] = useState<{ key: string; value: T | null; fault: string | null }>({ key, value: null, fault: null });
  const [asked, setAsked] = useState(0);
  const loading = useRef(load);
  loading.current = load;
  useEffect(() => {
    const gone = new AbortController();
    let timer = 0;
    const ask = (): void => {
      loading.current(gone.signal).then(
        (value) => {
          if (gone.signal.aborted) return;
          setHeld({ key, value, fault: null });
          timer = window.setTimeout(ask, everyMs);
        },
        (error: unknown) => {
          if (gone.signal.aborted) return;
          setHeld((before) => ({ key, value: before.key === key ? before.value : null, fault: faultWords(error) }));
          timer = window.setTimeout(ask, everyMs);
        },
      );
    };
    ask();
    return () => {
      gone.abort();
      window.clearTimeout(timer);
    };
  }, [key, everyMs, asked]);
  const again = useCallback(() => setAsked((count) => count + 1), []);
  const put = useCallback((value: T) => setHeld({ key, value, fault: null }), [key]);
  const mine = held.key === key;
  return { value: mine ? held.value : null, fault: mine ? held.fault : null, again, put };
}
