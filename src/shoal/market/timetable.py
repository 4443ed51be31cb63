"""When a market trades: delivery days and intervals, gates, and the prices and quantities that it takes; all from its rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import Interval
from shoal.market.calendar import day_bounds_ns, day_intervals, day_of, ends_by_start, local_ns
from shoal.market.contract import Gate, GateRule, MarketRules, Product

_TOLERANCE_STEPS: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """The part of a market that follows from its rules and a date alone."""

    rules: MarketRules

    # ── calendar ────────────────────────────────────────────────────────────────────────────────────────────

    def products(self, day: date | None = None) -> tuple[Product, ...]:
        """Return the products, or those that are traded on a delivery day."""
        if day is None:
            return self.rules.products
        return tuple(product for product in self.rules.products if is_active(product, day))

    def product(self, product_id: str) -> Product:
        """Return a product by its id.

        Raises:
            UnknownIdError: when the market has none of that name.
        """
        for product in self.rules.products:
            if product.product_id == product_id:
                return product
        raise UnknownIdError("product", product_id)

    def interval_ns(self, product_id: str, day: date) -> int:
        """Return the length of a product's intervals on a delivery day."""
        lengths = self.product(product_id).lengths
        valid = [length for length in lengths if length.effective_from <= day]
        return (valid[-1] if valid else lengths[0]).interval_ns

    def bounds_ns(self, product_id: str, day: date) -> NDArray[np.int64]:
        """Return the boundaries of a delivery day's B intervals: B + 1 instants."""
        return day_bounds_ns(self.rules.zone, self.rules.day_start, day, self.interval_ns(product_id, day))

    def delivery_intervals(self, product_id: str, day: date) -> tuple[Interval, ...]:
        """Return the intervals of a delivery day, in order."""
        return day_intervals(self.rules.zone, self.rules.day_start, day, self.interval_ns(product_id, day))

    def delivery_date(self, t_ns: int) -> date:
        """Return the market's day in which an instant lies."""
        return day_of(self.rules.zone, self.rules.day_start, t_ns)

    def interval_at(self, product_id: str, t_ns: int) -> Interval:
        """Return the interval in which an instant lies."""
        bounds_ns = self.bounds_ns(product_id, self.delivery_date(t_ns))
        index = int(np.searchsorted(bounds_ns, t_ns, side="right"))
        return Interval(start_ns=int(bounds_ns[index - 1]), end_ns=int(bounds_ns[index]))

    def label_ns(self, interval: Interval) -> int:
        """Return the instant by which the market's own files name an interval."""
        return interval.start_ns if self.rules.label == "start" else interval.end_ns

    def labelled(self, product_id: str, label_ns: int) -> Interval:
        """Return the interval that the market's own files name by an instant."""
        return self.interval_at(product_id, label_ns if self.rules.label == "start" else label_ns - 1)

    def ends(self, product_id: str, day: date) -> Mapping[int, int]:
        """Return the end of each interval of a delivery day by its start, in order."""
        return ends_by_start(self.rules.zone, self.rules.day_start, day, self.interval_ns(product_id, day))

    # ── gates ───────────────────────────────────────────────────────────────────────────────────────────────

    def gates(self, product_id: str, day: date) -> tuple[Gate, ...]:
        """Return every instant at which bids for the day close, in order."""
        return tuple(
            gate for rule in self.product(product_id).gates for gate in self._gates(product_id, rule, day)
        )

    def _gates(self, product_id: str, rule: GateRule, day: date) -> tuple[Gate, ...]:
        if rule.kind != "interval":
            bounds_ns = self.bounds_ns(product_id, day)
            whole = Interval(start_ns=int(bounds_ns[0]), end_ns=int(bounds_ns[-1]))
            return (self._day_gate(product_id, rule, day, whole),)
        return _interval_gates(
            product_id,
            rule.lead_ns,
            self.rules.zone,
            self.rules.day_start,
            day,
            self.interval_ns(product_id, day),
        )

    def _day_gate(self, product_id: str, rule: GateRule, day: date, covers: Interval) -> Gate:
        before = day - timedelta(days=1)
        return Gate(
            kind=rule.kind,
            product_id=product_id,
            covers=covers,
            closes_ns=self.day_gate_ns(rule, day),
            publishes_ns=None
            if rule.publication is None
            else local_ns(self.rules.zone, before, rule.publication),
        )

    def day_gate_ns(self, rule: GateRule, day: date) -> int:
        """Return the instant of a gate that a whole day shares.

        Raises:
            InvalidInputError: when the rule has no local time.
        """
        if rule.at is None:
            raise InvalidInputError(field="gates.at", value=None, fix=f"give {rule.kind} gates a local time")
        return local_ns(self.rules.zone, day - timedelta(days=1), rule.at)

    def closes_ns(self, product_id: str, interval: Interval) -> int:
        """Return the instant at which the last bid for one interval is due."""
        rule = self.product(product_id).gates[-1]
        if rule.kind == "interval":
            return interval.start_ns - rule.lead_ns
        return self.day_gate_ns(rule, self.delivery_date(interval.start_ns))

    def next_gate(self, product_id: str, now_ns: int) -> Gate:
        """Return the first gate strictly after now."""
        found: list[Gate] = []
        today = self.delivery_date(now_ns)
        for rule in self.product(product_id).gates:
            for day in (today + timedelta(days=number) for number in range(3)):
                bounds_ns = self.bounds_ns(product_id, day)
                if rule.kind == "interval":
                    index = int(np.searchsorted(bounds_ns[:-1] - rule.lead_ns, now_ns, side="right"))
                    if index == len(bounds_ns) - 1:
                        continue
                    covers = Interval(start_ns=int(bounds_ns[index]), end_ns=int(bounds_ns[index + 1]))
                    closes_ns = covers.start_ns - rule.lead_ns
                    found.append(
                        Gate(kind="interval", product_id=product_id, covers=covers, closes_ns=closes_ns)
                    )
                    break
                if self.day_gate_ns(rule, day) > now_ns:
                    whole = Interval(start_ns=int(bounds_ns[0]), end_ns=int(bounds_ns[-1]))
                    found.append(self._day_gate(product_id, rule, day, whole))
                    break
        return min(found, key=lambda gate: gate.closes_ns)

    # ── prices and quantities ───────────────────────────────────────────────────────────────────────────────

    def price_limits(self, product_id: str, day: date) -> tuple[float, float]:
        """Return the floor and the cap in force.

        Raises:
            InvalidInputError: when the day lies before the first that is known.
        """
        limits = self.product(product_id).limits
        valid = [each for each in limits if each.effective_from <= day]
        if not valid:
            first = limits[0].effective_from.isoformat()
            fix = f"price limits of {self.rules.market_id} are known from {first} on"
            raise InvalidInputError(field="day", value=day.isoformat(), fix=fix)
        return valid[-1].floor_per_mwh, valid[-1].cap_per_mwh

    def round_quantity_mw(self, product_id: str, quantity_mw: float) -> float:
        """Return the quantity rounded down to the step, 0 when below the minimum.

        Raises:
            InvalidInputError: when it is negative or not finite.
        """
        if not (math.isfinite(quantity_mw) and quantity_mw >= 0):
            raise InvalidInputError(field="quantity_mw", value=quantity_mw, fix="give a number from 0 up")
        product = self.product(product_id)
        steps = math.floor(quantity_mw / product.quantity_step_mw + _TOLERANCE_STEPS)
        rounded_mw = round(steps * product.quantity_step_mw, 9)
        return rounded_mw if rounded_mw >= product.quantity_minimum_mw else 0.0

    def clip_price(
        self, product_id: str, price_per_mwh: float, *, day: date, side: Literal["buy", "sell"]
    ) -> float:
        """Return the nearest price that the market takes, never worse for the participant but for floor and cap.

        Raises:
            InvalidInputError: when the price is not a number, or see `price_limits`.
        """
        if math.isnan(price_per_mwh):
            raise InvalidInputError(field="price_per_mwh", value=price_per_mwh, fix="give a number")
        floor_per_mwh, cap_per_mwh = self.price_limits(product_id, day)
        tick_per_mwh = self.product(product_id).price_tick_per_mwh
        held = min(max(price_per_mwh, floor_per_mwh), cap_per_mwh) / tick_per_mwh
        whole = math.floor(held + _TOLERANCE_STEPS) if side == "buy" else math.ceil(held - _TOLERANCE_STEPS)
        return round(whole * tick_per_mwh, 9)


def is_active(product: Product, day: date) -> bool:
    """Whether a product is traded on a delivery day."""
    return product.first_day <= day and (product.last_day is None or day <= product.last_day)


@lru_cache(maxsize=128)
def _interval_gates(
    product_id: str, lead_ns: int, zone: str, day_start: time, day: date, interval_ns: int
) -> tuple[Gate, ...]:
    """Return the gate of each interval; kept, since whoever watches gates asks for the same days again and again."""
    return tuple(
        Gate(
            kind="interval",
            product_id=product_id,
            covers=interval,
            closes_ns=interval.start_ns - lead_ns,
        )
        for interval in day_intervals(zone, day_start, day, interval_ns)
    )
