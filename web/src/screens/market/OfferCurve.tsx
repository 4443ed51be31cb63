/** The prices of one interval as one curve: power to the right is sold, to the left bought; price upward. */
import type { ReactElement } from "react";
import { powerSize } from "../../format/power";
import classes from "./market.module.css";
import { strings } from "./strings";
import { piecesOf, priceFor, type OfferInterval, type OfferOf } from "./words";

const WIDTH = 360;
const HEIGHT = 170;
const PAD = { left: 4, right: 4, top: 8, bottom: 8 };

export interface OfferCurveProps {
  readonly one: OfferInterval;
  readonly kind: OfferOf["kind"];
  readonly currency: string;
  readonly title: string;
  /** The price that is being read out. */
  readonly told: string | null;
}

export function OfferCurve({ one, kind, currency, title, told }: OfferCurveProps): ReactElement | null {
  const pieces = piecesOf(one);
  if (pieces.length === 0) return null;
  const prices = pieces.flatMap((piece) => [piece.fromPrice, piece.toPrice]);
  const powers = pieces.flatMap((piece) => [piece.fromMw, piece.toMw]);
  const [lowPrice, highPrice] = [Math.min(...prices), Math.max(...prices)];
  const [left, right] = [Math.min(0, ...powers), Math.max(0, ...powers)];
  const x = (mw: number): number => PAD.left + ((mw - left) / (right - left || 1)) * (WIDTH - PAD.left - PAD.right);
  const y = (value: number): number => HEIGHT - PAD.bottom - (highPrice === lowPrice ? 0.5 : (value - lowPrice) / (highPrice - lowPrice)) * (HEIGHT - PAD.top - PAD.bottom);
  const zero = x(0);
  const edge = (mw: number, way: "sell" | "buy"): string => `${strings.offers.ways[way]} ${powerSize(mw * 1000)}`;
  return (
    <div className={classes["curveBox"]}>
      <div className={classes["note"]}>{priceFor(kind, highPrice, currency)}</div>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} className={classes["curve"]} role="img" aria-label={title}>
        <line className={classes["axis"]} x1={PAD.left} x2={WIDTH - PAD.right} y1={HEIGHT - PAD.bottom} y2={HEIGHT - PAD.bottom} />
        <line className={classes["axis"]} x1={zero} x2={zero} y1={PAD.top} y2={HEIGHT - PAD.bottom} />
        {pieces.map((piece) => (
          <line
            key={piece.key}
            className={classes["piece"]}
            data-way={(piece.fromMw + piece.toMw) / 2 < 0 ? "buy" : "sell"}
            data-told={piece.key === told}
            x1={x(piece.fromMw)}
            x2={x(piece.toMw)}
            y1={y(piece.fromPrice)}
            y2={y(piece.toPrice)}
          />
        ))}
      </svg>
      <div className={classes["ends"]}>
        <span>{left < 0 ? edge(left, "buy") : null}</span>
        <span>{lowPrice === highPrice ? null : strings.offers.lowest(priceFor(kind, lowPrice, currency))}</span>
        <span>{right <= 0 ? null : kind === "capacity" ? `${strings.offers.ways.hold} ${powerSize(right * 1000)}` : edge(right, "sell")}</span>
      </div>
    </div>
  );
}
