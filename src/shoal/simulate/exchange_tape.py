"""What a simulated market publishes: prices, when they come out, and their corrections.

A tape is columns of a product's intervals. Which of them are corrected, by how much and how much later is drawn from
the seed, so that the same tape is corrected alike in every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S
from shoal.market.exchange import PublishedPrice
from shoal.simulate import draws

_WHETHER: Final = 0
_BY: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """How prices and awards are corrected after they came out.

    Attributes:
        share_frac: Of the intervals.
        spread_frac: A correction is at most this share of the price, either way.
        after_s: How long after the first publication, in the market's time.
        award_share_frac: Of what is awarded, interval by interval, whatever becomes of the price.
        award_spread_frac: A correction takes away at most this share of the power.
        award_after_s: How long after the award, in the market's time.
        seed: The same seed corrects the same intervals.
    """

    share_frac: float = 0.0
    spread_frac: float = 0.1
    after_s: float = 1_800.0
    award_share_frac: float = 0.0
    award_spread_frac: float = 0.5
    award_after_s: float = 600.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tape:
    """The prices of one product and settlement point, N intervals in order.

    Attributes:
        product: The product, or the market's key of the imbalance price.
        settlement_point: Where.
        start_ns: N starts.
        end_ns: N ends.
        price_per_mwh: N prices as first published.
        published_ns: N instants at which they come out.
    """

    product: str
    settlement_point: str
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    price_per_mwh: NDArray[np.float64]
    published_ns: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = {len(self.start_ns), len(self.end_ns), len(self.price_per_mwh), len(self.published_ns)}
        if len(lengths) != 1:
            raise InvalidInputError(field="tape", value=sorted(lengths), fix="give columns of one length")
        if len(self.start_ns) and bool((np.diff(self.start_ns) <= 0).any()):
            raise InvalidInputError(field="tape.start_ns", value=self.product, fix="put intervals in order")


class Publisher:
    """Prices as they stand at any instant.

    Args:
        tapes: What is published.
        corrections: How it is corrected.
    """

    def __init__(self, tapes: list[Tape], corrections: Corrections) -> None:
        self._tapes = {(tape.product, tape.settlement_point): tape for tape in tapes}
        self._corrections = corrections
        self._corrected: dict[tuple[str, str], tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
        for key, tape in self._tapes.items():
            self._corrected[key] = _corrected(tape, corrections)

    def points(self, product: str) -> tuple[str, ...]:
        """Return where a product has prices."""
        return tuple(point for of, point in self._tapes if of == product)

    def products(self, settlement_point: str) -> tuple[str, ...]:
        """Return what has prices at a settlement point."""
        return tuple(product for product, point in self._tapes if point == settlement_point)

    def published(
        self, product: str, settlement_point: str, *, from_ns: int, to_ns: int, since_ns: int, now_ns: int
    ) -> list[PublishedPrice]:
        """Return the prices of intervals that start in ``[from_ns, to_ns)`` which came out in ``[since_ns, now_ns]``."""
        tape = self._tapes.get((product, settlement_point))
        if tape is None and not self.points(product):
            return []  # nobody trades it here
        if tape is None:
            raise InvalidInputError(
                field="settlement_point",
                value=settlement_point,
                fix=f"{product} has prices at {self.points(product)}",
            )
        price, corrected_ns = self._corrected[product, settlement_point]
        first, last = np.searchsorted(tape.start_ns, [from_ns, to_ns])
        found: list[PublishedPrice] = []
        for row in range(int(first), int(last)):
            for revision, value, at_ns in (
                (0, float(tape.price_per_mwh[row]), int(tape.published_ns[row])),
                (1, float(price[row]), int(corrected_ns[row])),
            ):
                if at_ns and since_ns <= at_ns <= now_ns:
                    found.append(
                        PublishedPrice(
                            product=product,
                            settlement_point=settlement_point,
                            start_ns=int(tape.start_ns[row]),
                            end_ns=int(tape.end_ns[row]),
                            price_per_mwh=value,
                            published_ns=at_ns,
                            revision=revision,
                        )
                    )
        return found

    def first_ns(self, product: str, settlement_point: str, start_ns: int) -> int | None:
        """Return when the price of an interval came out first; None without one."""
        tape = self._tapes.get((product, settlement_point))
        row = 0 if tape is None else int(np.searchsorted(tape.start_ns, start_ns))
        if tape is None or row == len(tape.start_ns) or int(tape.start_ns[row]) != start_ns:
            return None
        return int(tape.published_ns[row])

    def award_left_frac(self, resource_id: str, product: str, starts_ns: list[int]) -> list[float]:
        """Return the share of an award that its correction leaves in each interval; 1 where there is none."""
        rules = self._corrections
        if rules.award_share_frac <= 0:
            return [1.0] * len(starts_ns)
        names = [f"{resource_id}/{product}/{start}" for start in starts_ns]
        key = draws.keys(names, rules.seed, "award corrections")
        left = 1.0 - draws.uniform(key, _BY) * rules.award_spread_frac
        corrected = draws.uniform(key, _WHETHER) < rules.award_share_frac
        found: list[float] = np.where(corrected, left, 1.0).tolist()
        return found

    @property
    def award_after_ns(self) -> int:
        """How long after an award its correction comes."""
        return int(self._corrections.award_after_s * NS_PER_S)

    def at(
        self, product: str, settlement_point: str, *, from_ns: int, to_ns: int, now_ns: int
    ) -> dict[int, float]:
        """Return the price in force at an instant by the start of each interval that is published."""
        tape = self._tapes.get((product, settlement_point))
        if tape is None:
            return {}
        price, corrected_ns = self._corrected[product, settlement_point]
        first, last = np.searchsorted(tape.start_ns, [from_ns, to_ns])
        rows = np.arange(int(first), int(last))
        rows = rows[tape.published_ns[rows] <= now_ns]
        over = (corrected_ns[rows] != 0) & (corrected_ns[rows] <= now_ns)
        value = np.where(over, price[rows], tape.price_per_mwh[rows])
        return dict(zip(tape.start_ns[rows].tolist(), value.tolist(), strict=True))


def _corrected(tape: Tape, rules: Corrections) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return corrected prices and when they come out; 0 where there is no correction."""
    names = [f"{tape.product}/{tape.settlement_point}/{start}" for start in tape.start_ns.tolist()]
    key = draws.keys(names, rules.seed, "price corrections")
    whether = draws.uniform(key, _WHETHER) < rules.share_frac
    by = (2.0 * draws.uniform(key, _BY) - 1.0) * rules.spread_frac
    price = np.round(tape.price_per_mwh * (1.0 + by), 2)
    changed = whether & (price != tape.price_per_mwh)
    return price, np.where(changed, tape.published_ns + int(rules.after_s * NS_PER_S), 0)
