/** Where the reader is and how to go elsewhere. Addresses live behind `#`, so a link is a plain link. */
import { useNavigate, useParams, useRouterState } from "@tanstack/react-router";
import { useCallback, type ReactElement, type ReactNode } from "react";

type Search = Readonly<Record<string, string>>;

/** Search parameters as text, whatever they look like. */
export function parseSearch(text: string): Search {
  return Object.fromEntries(new URLSearchParams(text.replace(/^\?/, "")));
}

/** The reverse; what is empty is left out. */
export function searchText(search: Record<string, unknown>): string {
  const given = Object.entries(search).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text === "" ? "" : `?${text}`;
}

/** A parameter of the address, empty when the address has none of that name. */
export function useParam(name: string): string {
  const params = useParams({ strict: false }) as Record<string, string | undefined>;
  return params[name] ?? "";
}

/** What follows `?` in the address. */
export function useSearch(): Search {
  return useRouterState({ select: (state) => state.location.search as Search });
}

/** The address without what follows `?`. */
export function usePath(): string {
  return useRouterState({ select: (state) => state.location.pathname });
}

/** Change parts of the search; undefined takes one away. The history gets no new entry. */
export function useSetSearch(): (part: Record<string, string | undefined>) => void {
  const navigate = useNavigate();
  return useCallback(
    (part) => void navigate({ to: ".", search: ((held: Search) => ({ ...held, ...part })) as never, replace: true, resetScroll: false }),
    [navigate],
  );
}

/** Go to an address of `links`. */
export function useGo(): (to: string) => void {
  return useCallback((to: string) => {
    window.location.hash = to;
  }, []);
}

export interface ScreenLinkProps {
  readonly to: string;
  readonly className?: string | undefined;
  readonly label?: string;
  readonly current?: boolean;
  readonly testId?: string;
  readonly children: ReactNode;
}

/** A link to a screen. */
export function ScreenLink({ to, className, label, current, testId, children }: ScreenLinkProps): ReactElement {
  return (
    <a href={`#${to}`} className={className} aria-label={label} aria-current={current ? "page" : undefined} data-testid={testId}>
      {children}
    </a>
  );
}
