/** The way down to what is shown; the last place is where the reader is. */
import type { ReactElement } from "react";
import { ScreenLink } from "../app/nav";
import { strings } from "../strings";
import classes from "./ui.module.css";

export function Breadcrumb({ items }: { items: readonly { readonly label: string; readonly to?: string }[] }): ReactElement {
  return (
    <nav aria-label={strings.nav.path}>
      <ol className={classes["crumbs"]}>
        {items.map((one, i) => (
          <li key={`${i} ${one.label}`} aria-current={i === items.length - 1 ? "location" : undefined}>
            {one.to === undefined || i === items.length - 1 ? one.label : <ScreenLink to={one.to}>{one.label}</ScreenLink>}
          </li>
        ))}
      </ol>
    </nav>
  );
}
