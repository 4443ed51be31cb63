/** A table of ten thousand rows: only those in view are drawn; sorted by its heads, walked by the keyboard. */
import { createSortedRowModel, rowSortingFeature, tableFeatures, useTable, type ColumnDef, type SortingState } from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactElement, type ReactNode } from "react";
import { count } from "../format/number";
import { strings } from "../strings";
import classes from "./BigTable.module.css";

export interface BigColumn<Row> {
  readonly id: string;
  readonly label: string;
  readonly cell: (row: Row) => ReactNode;
  /** What it is sorted by; left out, it cannot be. Null comes last, either way. */
  readonly sort?: (row: Row) => number | string | null;
  readonly end?: boolean;
  /** In CSS, such as `12ch` or `2fr`. */
  readonly width?: string;
}

export interface BigSort {
  readonly id: string;
  readonly descending: boolean;
}

export interface BigTableProps<Row> {
  readonly caption: string;
  readonly columns: readonly BigColumn<Row>[];
  readonly rows: readonly Row[];
  readonly rowKey: (row: Row) => string;
  /** Enter and a click open a row. */
  readonly onOpen?: (row: Row) => void;
  /** The order, where the caller keeps it (in the address, or because the plant sorts). */
  readonly sort?: BigSort | null;
  readonly onSort?: (sort: BigSort | null) => void;
  /** The rows are in order already. */
  readonly sorted?: boolean;
  readonly height?: number;
  readonly selected?: string | null;
  readonly testId?: string;
}

const ROW_PX = 34;
const features = tableFeatures({ rowSortingFeature, sortedRowModel: createSortedRowModel() });

/** Compares values of a column; null is never before a value. */
export function compared(a: number | string | null, b: number | string | null): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

/** The order after a click on a head: up, down, none. */
export function sortAfter(held: BigSort | null, id: string): BigSort | null {
  if (held?.id !== id) return { id, descending: false };
  return held.descending ? null : { id, descending: true };
}

export function BigTable<Row extends object>(props: BigTableProps<Row>): ReactElement {
  const { caption, columns, rows, rowKey, onOpen, height = 520, selected = null } = props;
  const [own, setOwn] = useState<BigSort | null>(null);
  const sort = props.sort === undefined ? own : props.sort;
  const setSort = props.onSort ?? setOwn;
  const sorting = useMemo<SortingState>(() => (sort && !props.sorted ? [{ id: sort.id, desc: sort.descending }] : []), [sort, props.sorted]);
  const definitions = useMemo(
    () =>
      columns.map((one): ColumnDef<typeof features, Row, unknown> => {
        const by = one.sort ?? (() => null);
        return {
          id: one.id,
          accessorFn: by,
          // The table turns the order of its own accord; null has to stay last.
          sortFn: (a, b) => {
            const [left, right] = [by(a.original), by(b.original)];
            const order = compared(left, right);
            return (left === null || right === null) && sort?.descending ? -order : order;
          },
        };
      }),
    [columns, sort?.descending],
  );
  const table = useTable({ features, columns: definitions, data: rows as Row[], state: { sorting }, getRowId: rowKey });
  const ordered = table.getRowModel().rows;

  const scroller = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState(0);
  const at = Math.min(active, Math.max(ordered.length - 1, 0));
  const virtual = useVirtualizer({
    count: ordered.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 8,
    initialRect: { width: 800, height },
  });
  const wantsFocus = useRef(false);
  const go = useCallback(
    (to: number) => {
      const next = Math.min(Math.max(to, 0), ordered.length - 1);
      setActive(next);
      wantsFocus.current = true;
      virtual.scrollToIndex(next);
    },
    [ordered.length, virtual],
  );
  useEffect(() => {
    if (!wantsFocus.current) return;
    const row = scroller.current?.querySelector<HTMLElement>(`[data-index="${at}"]`);
    if (!row) return;
    wantsFocus.current = false;
    row.focus();
  });

  const page = Math.max(Math.floor(height / ROW_PX) - 2, 1);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (!(event.target instanceof HTMLElement) || event.target.getAttribute("role") !== "row") return;
    const step: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: ordered.length - 1 };
    const to = step[event.key];
    const row = ordered[at];
    if (to !== undefined) {
      event.preventDefault();
      go(to);
    } else if (event.key === "Enter" && row && onOpen) {
      event.preventDefault();
      onOpen(row.original);
    }
  };

  const template = columns.map((one) => (one.width?.endsWith("fr") ? `minmax(0, ${one.width})` : (one.width ?? "minmax(0, 1fr)"))).join(" ");
  return (
    <div className={classes["holder"]} data-testid={props.testId}>
      <div
        ref={scroller}
        role="table"
        aria-label={caption}
        aria-rowcount={ordered.length + 1}
        className={classes["scroller"]}
        style={{ maxHeight: height }}
        onKeyDown={onKeyDown}
      >
        <div role="rowgroup" className={classes["heads"]}>
          <div role="row" aria-rowindex={1} className={classes["row"]} style={{ gridTemplateColumns: template }}>
            {columns.map((one) => {
              const mine = sort?.id === one.id ? sort : null;
              return (
                <div key={one.id} role="columnheader" data-end={one.end} aria-sort={mine ? (mine.descending ? "descending" : "ascending") : one.sort ? "none" : undefined}>
                  {one.sort ? (
                    <button type="button" className={classes["sort"]} onClick={() => setSort(sortAfter(sort, one.id))}>
                      {one.label}
                      <span aria-hidden>{mine ? (mine.descending ? " ▼" : " ▲") : ""}</span>
                    </button>
                  ) : (
                    one.label
                  )}
                </div>
              );
            })}
          </div>
        </div>
        <div role="rowgroup" className={classes["body"]} style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((item) => {
            const row = ordered[item.index];
            if (!row) return null;
            return (
              <div
                key={row.id}
                role="row"
                data-index={item.index}
                aria-rowindex={item.index + 2}
                aria-selected={selected === row.id}
                tabIndex={item.index === at ? 0 : -1}
                className={classes["row"]}
                data-open={onOpen !== undefined}
                style={{ gridTemplateColumns: template, transform: `translateY(${item.start}px)`, height: ROW_PX }}
                onFocus={() => setActive(item.index)}
                onClick={onOpen ? () => onOpen(row.original) : undefined}
              >
                {columns.map((one) => (
                  <div key={one.id} role="cell" data-end={one.end}>
                    {one.cell(row.original)}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
      </div>
      <p className={classes["foot"]} role="status">
        {strings.panel.rows(count(ordered.length))}
      </p>
    </div>
  );
}
