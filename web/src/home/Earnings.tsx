/** What the home earned in a month, from settled days alone: a sum, a bar for each day, and the same as a table. */
import { useId, type ReactElement } from "react";
import type { Schema } from "../api/client";
import { exactSize } from "../format/money";
import { deliveryDay } from "../format/time";
import { ReadCard } from "./Card";
import classes from "./Home.module.css";
import { strings } from "./strings";
import type { Read } from "./useRead";

const words = strings.earnings;

type Money = Schema["HomeMoney"];
const WIDTH = 320;
const HEIGHT = 120;

/** An exact amount in words; a negative one is paid. */
export function earned(text: string, currency: string): string {
  const value = Number(text);
  const said = exactSize(Math.round(value * 100), currency);
  return value < 0 && Math.round(value * 100) !== 0 ? words.owed(said) : said;
}

export interface Bar {
  readonly date: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly owed: boolean;
}

/** A bar for each day of the month that is settled, around a line of nothing; and where that line is. */
export function barsOf(money: Money, month: string): { bars: Bar[]; zeroY: number } {
  const days = new Date(Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5, 7)), 0)).getUTCDate();
  const values = money.days.map((day) => Number(day.amount));
  const most = Math.max(0, ...values);
  const least = Math.min(0, ...values);
  const span = most - least || 1;
  const zeroY = (HEIGHT * most) / span;
  const step = WIDTH / days;
  const bars = money.days.map((day, at) => {
    const value = values[at] ?? 0;
    const height = Math.max((Math.abs(value) / span) * HEIGHT, 1);
    return { date: day.date, x: (Number(day.date.slice(8, 10)) - 1) * step + step * 0.15, y: value < 0 ? zeroY : zeroY - height, width: step * 0.7, height, owed: value < 0 };
  });
  return { bars, zeroY };
}

function Chart({ money, month }: { money: Money; month: string }): ReactElement {
  const { bars, zeroY } = barsOf(money, month);
  return (
    <svg className={classes["bars"]} viewBox={`0 0 ${WIDTH} ${HEIGHT + 2}`} role="img" aria-label={words.chart(month)}>
      {bars.map((bar) => (
        <rect key={bar.date} x={bar.x} y={bar.y} width={bar.width} height={bar.height} data-owed={bar.owed}>
          <title>{deliveryDay(bar.date)}</title>
        </rect>
      ))}
      <line x1={0} x2={WIDTH} y1={zeroY + 0.5} y2={zeroY + 0.5} />
    </svg>
  );
}

function Table({ money }: { money: Money }): ReactElement {
  return (
    <details className={classes["more"]}>
      <summary>{words.table}</summary>
      <table className={classes["table"]}>
        <caption className={classes["hidden"]}>{words.title}</caption>
        <thead>
          <tr>
            <th scope="col">{words.columns.day}</th>
            <th scope="col">{words.columns.version}</th>
            <th scope="col" className={classes["end"]}>{words.columns.amount}</th>
          </tr>
        </thead>
        <tbody>
          {money.days.map((day) => (
            <tr key={`${day.date} ${day.version} ${day.settled_ms}`}>
              <td>{deliveryDay(day.date)}</td>
              <td>{words.version(day.version)}</td>
              <td className={classes["end"]}>{earned(day.amount, money.currency)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

export interface EarningsProps {
  readonly read: Read<Schema["HomeEarnings"]>;
  readonly onMonth: (month: string) => void;
}

export function Earnings({ read, onMonth }: EarningsProps): ReactElement {
  const id = useId();
  return (
    <ReadCard title={words.title} testId="home-earnings" read={read}>
      {(earnings) => {
        const months = [...new Set([earnings.month, ...earnings.months])].sort().reverse();
        return (
          <>
            {months.length > 1 ? (
              <p>
                <label htmlFor={id}>{words.month}</label>{" "}
                <select id={id} className={classes["select"]} value={earnings.month} onChange={(event) => onMonth(event.target.value)}>
                  {months.map((month) => (
                    <option key={month} value={month}>{month}</option>
                  ))}
                </select>
              </p>
            ) : null}
            {earnings.money.length === 0 ? <p>{earnings.months.length === 0 ? words.noneEver : words.none}</p> : null}
            {earnings.money.map((money) => (
              <div key={money.currency}>
                <p className={classes["figure"]}>{words.total(earned(money.total, money.currency), money.days.length)}</p>
                <p className={classes["dim"]}>{words.exact}</p>
                <Chart money={money} month={earnings.month} />
                <Table money={money} />
              </div>
            ))}
            {earnings.through === null ? null : <p className={classes["dim"]}>{words.through(deliveryDay(earnings.through))}</p>}
          </>
        );
      }}
    </ReadCard>
  );
}
