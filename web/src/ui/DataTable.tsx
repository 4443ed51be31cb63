/** One table for all panels: on a phone each row is a card, a long one scrolls inside a region that the keyboard reaches. */
import type { ReactElement, ReactNode } from "react";
import { strings } from "../strings";
import classes from "./ui.module.css";

export interface TableColumn {
  readonly label: string;
  readonly end?: boolean;
}

export interface TableRow {
  readonly key: string;
  readonly cells: readonly ReactNode[];
  readonly picked?: boolean;
}

export interface DataTableProps {
  readonly caption: string;
  readonly columns: readonly TableColumn[];
  readonly rows: readonly TableRow[];
  /** A long list: bounded height, its own scroll bar. */
  readonly long?: boolean;
  /** Narrow enough for a phone as it is. */
  readonly narrow?: boolean;
}

export function DataTable({ caption, columns, rows, long = false, narrow = false }: DataTableProps): ReactElement {
  const table = (
    <table className={`${classes["table"]} ${narrow ? "" : classes["cards"]}`} aria-label={caption}>
      <thead>
        <tr>
          {columns.map((column) => (
            <th key={column.label} scope="col" data-end={column.end ?? false}>
              {column.label}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.key} data-picked={row.picked ?? false}>
            {row.cells.map((cell, i) => (
              <td key={columns[i]?.label ?? i} data-label={columns[i]?.label} data-end={columns[i]?.end ?? false}>
                {cell}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
  if (!long) return table;
  return (
    <div className={classes["region"]} role="region" tabIndex={0} aria-label={strings.panel.tableRegion(caption)}>
      {table}
    </div>
  );
}

/** A second, quieter line within a cell. */
export function Sub({ children }: { children: ReactNode }): ReactElement {
  return <div className={classes["sub"]}>{children}</div>;
}

/** A cell that chooses its row. */
export function PickButton(props: { pressed: boolean; label?: string; onPick: () => void; children: ReactNode }): ReactElement {
  return (
    <button type="button" className={classes["pick"]} aria-pressed={props.pressed} aria-label={props.label} onClick={props.onPick}>
      {props.children}
    </button>
  );
}
