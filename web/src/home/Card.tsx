/** A section of the home page: asking, refused, old, or there. A fault in one stays in one. */
import { useId, type ReactElement, type ReactNode } from "react";
import { ErrorBoundary } from "../ui/ErrorBoundary";
import { Button } from "../ui/Button";
import classes from "./Home.module.css";
import { strings } from "./strings";
import type { Read } from "./useRead";

export interface CardProps {
  readonly title: string;
  readonly hint?: string;
  readonly testId: string;
  readonly state?: "ready" | "loading" | "stale" | "error";
  readonly children: ReactNode;
}

export function Card({ title, hint, testId, state = "ready", children }: CardProps): ReactElement {
  const id = useId();
  return (
    <section className={classes["card"]} aria-labelledby={id} data-testid={testId} data-state={state}>
      <h2 id={id}>{title}</h2>
      {hint === undefined ? null : <p className={classes["dim"]}>{hint}</p>}
      <ErrorBoundary>{children}</ErrorBoundary>
    </section>
  );
}

/** A card that shows what was read. */
export function ReadCard<T>({ read, children, ...card }: Omit<CardProps, "children" | "state"> & { read: Read<T>; children: (value: T) => ReactNode }): ReactElement {
  const { value, fault, again } = read;
  if (value === null)
    return (
      <Card {...card} state={fault === null ? "loading" : "error"}>
        {fault === null ? (
          <p role="status">{strings.asking}</p>
        ) : (
          <>
            <p role="alert">{fault}</p>
            <div className={classes["acts"]}>
              <Button onClick={again}>{strings.again}</Button>
            </div>
          </>
        )}
      </Card>
    );
  return (
    <Card {...card} state={fault === null ? "ready" : "stale"}>
      {fault === null ? null : <p className={classes["note"]} role="status">{strings.oldPart(fault)}</p>}
      {children(value)}
    </Card>
  );
}
