"""What a day-ahead market is, as data, and what follows from it: calendar, validation, clearing.

One auction a day: bids for a local delivery day are taken until the gate on the day before and answered at
the publication. A participant is a price taker: its orders are compared with the published price and do not
move it. Whatever is compared (prices, quantities) is first counted in whole ticks and steps, so that a tie is
a tie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval, iso, local_day, to_datetime, to_ns
from shoal.domain.outcome import Accepted, Outcome, Rejected
from shoal.market.types import Award, AwardedInterval, Bid, Order, Side

_TOLERANCE_STEPS = 1e-6
_W_PER_MW = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLimits:
    """The lowest and highest price that an order may name, for delivery days from `effective_from` on."""

    effective_from: date
    floor_per_mwh: float
    cap_per_mwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAheadMarket:
    """A day-ahead auction.

    Attributes:
        market_id: Its name in bids, e.g. ``ercot-da``.
        name: Its name for people.
        zone: The zone of its calendar; a delivery day is a local day of 23, 24 or 25 hours.
        currency: ISO 4217 code of every price.
        gate: Local time on the day before delivery; a bid that arrives at this instant is too late.
        publication: Local time on the day before delivery when prices and awards come out.
        interval_ns: Length of a delivery interval.
        quantity_minimum_mw: The smallest order.
        quantity_step_mw: Every quantity is a whole multiple of it.
        price_tick_per_mwh: Every price is a whole multiple of it.
        price_limits_from: Floors and caps by delivery day, the earliest first.
        max_orders_per_side: Orders that one bid may hold for one interval and side.
        deviation_charge_permille: Charge on energy not delivered as awarded, in thousandths of the price.
    """

    market_id: str
    name: str
    zone: ZoneInfo
    currency: str
    gate: time
    publication: time
    interval_ns: int
    quantity_minimum_mw: float
    quantity_step_mw: float
    price_tick_per_mwh: float
    price_limits_from: tuple[PriceLimits, ...]
    max_orders_per_side: int
    deviation_charge_permille: int

    # ── calendar ────────────────────────────────────────────────────────────────────────────────────────────

    def delivery_intervals(self, delivery_date: date) -> tuple[Interval, ...]:
        """Return the intervals of a local delivery day, in order: 23, 24 or 25 when they are hours."""
        return tuple(local_day(delivery_date, self.zone).split(self.interval_ns))

    def gate_ns(self, delivery_date: date) -> int:
        """Return the instant from which bids for the day are refused."""
        return self._day_before_ns(delivery_date, self.gate)

    def publication_ns(self, delivery_date: date) -> int:
        """Return the instant at which the day's prices and awards are published."""
        return self._day_before_ns(delivery_date, self.publication)

    def next_gate(self, now_ns: int) -> tuple[date, int]:
        """Return the delivery day and the instant of the first gate strictly after now."""
        day = to_datetime(now_ns, self.zone).date()
        while self.gate_ns(day) <= now_ns:
            day += timedelta(days=1)
        return day, self.gate_ns(day)

    def _day_before_ns(self, delivery_date: date, at: time) -> int:
        return to_ns(datetime.combine(delivery_date - timedelta(days=1), at, tzinfo=self.zone))

    # ── prices and quantities ───────────────────────────────────────────────────────────────────────────────

    def price_limits(self, delivery_date: date) -> tuple[float, float]:
        """Return the floor and the cap in force on a delivery day, per MWh.

        Raises:
            InvalidInputError: when the day lies before the first known limits.
        """
        valid = [limits for limits in self.price_limits_from if limits.effective_from <= delivery_date]
        if not valid:
            first = self.price_limits_from[0].effective_from
            raise InvalidInputError(
                field="delivery_date",
                value=delivery_date.isoformat(),
                fix=f"price limits of {self.market_id} are known from {first.isoformat()} on",
            )
        return valid[-1].floor_per_mwh, valid[-1].cap_per_mwh

    def clip_price(self, price_per_mwh: float, *, delivery_date: date, side: Side) -> float:
        """Return the nearest limit price that the market takes.

        It is held within floor and cap, then a buy is rounded down to the tick and a sell up, which is never
        worse for the participant. A sell asked above the cap comes back as the cap, where it may clear, and a
        buy asked below the floor likewise: leave such an order out when that is unwanted.

        Raises:
            InvalidInputError: when the price is not a number, or see `price_limits`.
        """
        if math.isnan(price_per_mwh):
            raise InvalidInputError(field="limit_price_per_mwh", value=price_per_mwh, fix="give a number")
        floor_per_mwh, cap_per_mwh = self.price_limits(delivery_date)
        held = min(max(price_per_mwh, floor_per_mwh), cap_per_mwh)
        ticks = held / self.price_tick_per_mwh
        whole = math.floor(ticks + _TOLERANCE_STEPS) if side == "buy" else math.ceil(ticks - _TOLERANCE_STEPS)
        return round(whole * self.price_tick_per_mwh, 9)

    def round_quantity_mw(self, quantity_mw: float) -> float:
        """Return the quantity rounded down to the step, 0 when that is below the minimum.

        Raises:
            InvalidInputError: when it is negative or not finite.
        """
        if not (math.isfinite(quantity_mw) and quantity_mw >= 0):
            raise InvalidInputError(
                field="quantity_mw",
                value=quantity_mw,
                fix="give a number from 0 up; the side gives the direction",
            )
        steps = math.floor(quantity_mw / self.quantity_step_mw + _TOLERANCE_STEPS)
        rounded_mw = round(steps * self.quantity_step_mw, 9)
        return rounded_mw if rounded_mw >= self.quantity_minimum_mw else 0.0

    def _price_ticks(self, price_per_mwh: float) -> int:
        return round(price_per_mwh / self.price_tick_per_mwh)

    # ── validation ──────────────────────────────────────────────────────────────────────────────────────────

    def validate(self, bid: Bid, *, received_ns: int) -> Outcome:
        """Return whether the market takes the bid; a bid without orders is taken and stands for no energy.

        Returns:
            `Accepted`, or `Rejected` for the first thing wrong, with reason ``market_unknown``,
            ``delivery_date``, ``revision``, ``gate_closed``, ``interval_unknown``, ``side_unknown``,
            ``quantity_minimum``, ``quantity_step``, ``price_tick``, ``price_limit``, ``duplicate_interval``
            (more orders for one interval and side than allowed) or ``side_conflict`` (a buy and a sell that
            could both clear).
        """
        if bid.market_id != self.market_id:
            return _rejected("market_unknown", "market_id", bid.market_id, f"use {self.market_id!r}")
        day = _parsed_date(bid.delivery_date)
        if day is None:
            return _rejected("delivery_date", "delivery_date", bid.delivery_date, "give a date as YYYY-MM-DD")
        if day < self.price_limits_from[0].effective_from:
            first = self.price_limits_from[0].effective_from.isoformat()
            return _rejected(
                "delivery_date", "delivery_date", bid.delivery_date, f"give a day from {first} on"
            )
        if bid.revision < 1:
            return _rejected("revision", "revision", bid.revision, "count revisions from 1")
        gate_ns = self.gate_ns(day)
        if received_ns >= gate_ns:
            return _rejected(
                "gate_closed", "received_ns", iso(received_ns), f"bid before the gate at {iso(gate_ns)}"
            )
        intervals = set(self.delivery_intervals(day))
        for position, order in enumerate(bid.orders):
            refused = self._order_refused(order, position, day, intervals)
            if refused is not None:
                return refused
        return self._together(bid)

    def _order_refused(
        self, order: Order, position: int, day: date, intervals: set[Interval]
    ) -> Rejected | None:
        """Return what is wrong with one order by itself."""
        at = f"orders[{position}]"
        if (
            order.end_ns <= order.start_ns
            or Interval(start_ns=order.start_ns, end_ns=order.end_ns) not in intervals
        ):
            value = f"{order.start_ns}..{order.end_ns}"
            return _rejected(
                "interval_unknown",
                f"{at}.start_ns",
                value,
                f"use one of the {len(intervals)} intervals of {day}",
            )
        if order.side not in ("buy", "sell"):
            return _rejected("side_unknown", f"{at}.side", order.side, "use 'buy' or 'sell'")
        quantity_mw = order.quantity_mw
        if not (math.isfinite(quantity_mw) and quantity_mw >= self.quantity_minimum_mw - 1e-12):
            fix = f"give at least {self.quantity_minimum_mw} MW, or leave the order out"
            return _rejected("quantity_minimum", f"{at}.quantity_mw", quantity_mw, fix)
        if not _is_multiple(quantity_mw, self.quantity_step_mw):
            fix = f"give a multiple of {self.quantity_step_mw} MW"
            return _rejected("quantity_step", f"{at}.quantity_mw", quantity_mw, fix)
        price_per_mwh = order.limit_price_per_mwh
        floor_per_mwh, cap_per_mwh = self.price_limits(day)
        if not floor_per_mwh <= price_per_mwh <= cap_per_mwh:
            fix = f"stay within {floor_per_mwh} to {cap_per_mwh} {self.currency}/MWh"
            return _rejected("price_limit", f"{at}.limit_price_per_mwh", price_per_mwh, fix)
        if not _is_multiple(price_per_mwh, self.price_tick_per_mwh):
            fix = f"give a multiple of {self.price_tick_per_mwh} {self.currency}/MWh"
            return _rejected("price_tick", f"{at}.limit_price_per_mwh", price_per_mwh, fix)
        return None

    def _together(self, bid: Bid) -> Outcome:
        """Return what the orders of each interval say together."""
        buys: dict[int, list[int]] = {}
        sells: dict[int, list[int]] = {}
        for position, order in enumerate(bid.orders):
            limits = (buys if order.side == "buy" else sells).setdefault(order.start_ns, [])
            limits.append(self._price_ticks(order.limit_price_per_mwh))
            if len(limits) > self.max_orders_per_side:
                fix = f"give at most {self.max_orders_per_side} {order.side} order(s) an interval"
                return _rejected(
                    "duplicate_interval", f"orders[{position}].start_ns", iso(order.start_ns), fix
                )
        for start_ns in sorted(buys.keys() & sells.keys()):
            if max(buys[start_ns]) >= min(sells[start_ns]):
                fix = "keep every buy limit of an interval below its sell limits, or drop one side"
                return _rejected("side_conflict", "orders", iso(start_ns), fix)
        return Accepted()

    # ── clearing ────────────────────────────────────────────────────────────────────────────────────────────

    def clear(
        self,
        bid: Bid,
        price_per_mwh: Mapping[int, float],
        *,
        bid_id: str,
        published_ns: int,
        version: int = 1,
    ) -> Award:
        """Return the award of a valid bid at the published prices; both limits are inclusive.

        Args:
            bid: A bid that `validate` accepted.
            price_per_mwh: The clearing price by the start of each interval of the day; rounded to the tick.
            bid_id: The market's name for the bid.
            published_ns: When the award is published.
            version: Grows when the market corrects an award.

        Raises:
            InvalidInputError: when a price of the day is missing or not finite, or the bid has a wrong date
                or an order outside the day.
        """
        day = _parsed_date(bid.delivery_date)
        if day is None:
            raise InvalidInputError(
                field="delivery_date", value=bid.delivery_date, fix="give a date as YYYY-MM-DD"
            )
        orders: dict[int, list[Order]] = {interval.start_ns: [] for interval in self.delivery_intervals(day)}
        for order in bid.orders:
            if order.start_ns not in orders:
                raise InvalidInputError(
                    field="orders.start_ns",
                    value=iso(order.start_ns),
                    fix="clear only bids that were validated",
                )
            orders[order.start_ns].append(order)
        return Award(
            resource_id=bid.resource_id,
            market_id=bid.market_id,
            settlement_point=bid.settlement_point,
            delivery_date=bid.delivery_date,
            bid_id=bid_id,
            version=version,
            published_ns=published_ns,
            intervals=tuple(
                self._awarded(interval, orders[interval.start_ns], price_per_mwh.get(interval.start_ns))
                for interval in self.delivery_intervals(day)
            ),
        )

    def _awarded(
        self, interval: Interval, orders: list[Order], price_per_mwh: float | None
    ) -> AwardedInterval:
        """Return one interval of the award: the sum of the orders that the price reaches."""
        if price_per_mwh is None or not math.isfinite(price_per_mwh):
            raise InvalidInputError(
                field=f"price_per_mwh[{iso(interval.start_ns)}]",
                value=price_per_mwh,
                fix="give a finite price for every interval of the day",
            )
        price_ticks = self._price_ticks(price_per_mwh)
        energy_wh = 0
        for order in orders:
            limit_ticks = self._price_ticks(order.limit_price_per_mwh)
            order_wh = (
                round(order.quantity_mw * _W_PER_MW) * (interval.end_ns - interval.start_ns) // NS_PER_HOUR
            )
            if order.side == "buy" and price_ticks <= limit_ticks:
                energy_wh += order_wh
            elif order.side == "sell" and price_ticks >= limit_ticks:
                energy_wh -= order_wh
        return AwardedInterval(
            start_ns=interval.start_ns,
            end_ns=interval.end_ns,
            energy_wh=energy_wh,
            price_per_mwh=round(price_ticks * self.price_tick_per_mwh, 9),
        )


def _parsed_date(text: str) -> date | None:
    """Return the date written ``YYYY-MM-DD``, None for anything else."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None


def _is_multiple(value: float, step: float) -> bool:
    """Whether the value is a whole number of steps, but for the rounding of binary fractions."""
    steps = value / step
    return abs(steps - round(steps)) <= _TOLERANCE_STEPS


def _rejected(reason: str, field: str, value: object, fix: str) -> Rejected:
    return Rejected(reason=reason, detail=f"{field}: {value!r} cannot be used; {fix}")
