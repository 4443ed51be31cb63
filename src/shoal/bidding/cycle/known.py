"""What a decision is made from: a situation, and the facts that were known when it was made.

A decision is a pure function of `Known`. The situation is kept with every bid; the facts are kept once, in the store
of facts, and asked for again as of the same instant. The digest says whether what comes back is the same to the last
bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, Interval, iso
from shoal.market.awards import AwardedQuantity
from shoal.market.bids import MarketBid
from shoal.market.contract import Gate
from shoal.optimise.storage import Storage

_COLUMNS: Final = ("start_ns", "end_ns", "value", "known_ns", "revision")
_DAY_NS: Final = 24 * NS_PER_HOUR


class GateRef(msgspec.Struct, frozen=True, kw_only=True):
    """A gate by name: which market and product, what it covers, when it closes."""

    market_id: str
    product_id: str
    kind: str
    delivery_date: str
    covers_start_ns: int
    covers_end_ns: int
    closes_ns: int

    @property
    def key(self) -> str:
        """A name that is a function of the gate alone; it can be part of an idempotency key."""
        return f"{self.market_id}-{self.product_id}-{self.kind}-{self.covers_start_ns}-{self.covers_end_ns}"

    @property
    def covers(self) -> Interval:
        """What is bid for."""
        return Interval(start_ns=self.covers_start_ns, end_ns=self.covers_end_ns)

    def __str__(self) -> str:
        return f"{self.market_id} {self.product_id} from {iso(self.covers_start_ns)}, closing {iso(self.closes_ns)}"


def gate_ref(market_id: str, delivery_date: str, gate: Gate) -> GateRef:
    """Return the reference of a market's gate."""
    return GateRef(
        market_id=market_id,
        product_id=gate.product_id,
        kind=gate.kind,
        delivery_date=delivery_date,
        covers_start_ns=gate.covers.start_ns,
        covers_end_ns=gate.covers.end_ns,
        closes_ns=gate.closes_ns,
    )


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the store of facts: the intervals of a series that start in ``[from_ns, to_ns)``."""

    series_id: SeriesId
    from_ns: int
    to_ns: int


class FixedPower(msgspec.Struct, frozen=True, kw_only=True):
    """Power that is decided elsewhere (a manual bid, another programme): the plan is made around it.

    Attributes:
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        power_kw: At the terminals, charging positive.
        reason: Who or what decided it.
    """

    start_ns: int
    end_ns: int
    power_kw: float
    reason: str


class Withheld(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a resource that is not offered, for one reason.

    Attributes:
        reason: A stable code, e.g. ``opted_out``, ``storm``, ``parameter_drift``.
        sites: At how many sites.
        power_kw: Discharging power, or capacity of the service that `said` names.
        energy_kwh: Usable stored energy when full.
        said: For people.
    """

    reason: str
    sites: int
    power_kw: float
    energy_kwh: float
    said: str


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """What is not offered of a resource.

    Attributes:
        withheld: By reason; a site counts at the first of its own.
        withheld_frac: Share of its usable energy that is left out of its storage.
        service_limit_kw: The most that may be offered of services, by product; of others what the storage backs.
    """

    withheld: tuple[Withheld, ...] = ()
    withheld_frac: float = 0.0
    service_limit_kw: dict[str, float] = {}


class DayBudget(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be discharged in a day of UTC, whoever was promised it: so that every owner's cycle budget is kept.

    Attributes:
        start_ns: Where the day begins.
        end_ns: Where it ends, exclusive.
        discharge_kwh: At the terminals, from the instant of the decision on.
    """

    start_ns: int
    end_ns: int
    discharge_kwh: float


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision depends on beside facts.

    Attributes:
        resource_id: Whose bid it is.
        settlement_point: Where it is priced.
        gate: Which gate.
        as_of_ns: The instant of the decision; no fact known later is seen.
        record_no: The last record of the store of facts then; what was recorded later is not seen, even if it was known before.
        storage: The resource as it stands at `as_of_ns`, silent capacity taken out.
        silent_frac: The share of its energy capacity that does not report, left out of `storage`.
        standing: The whole bid that stands in the market for the delivery day, None when none does.
        commitments: What was awarded and is not delivered yet.
        fixed: Power decided elsewhere.
        strategy: The strategy's name.
        strategy_version: Its version; a replay with another one is refused.
        settings: What the strategy was set to.
        offered: What is not offered of the resource and why; unset, so that it is in no digest, when all of it is.
        budgets: How much may be discharged in each day; unset where nothing limits it, or `storage` is so small that it holds.
    """

    resource_id: str
    settlement_point: str
    gate: GateRef
    as_of_ns: int
    record_no: int
    storage: Storage
    silent_frac: float = 0.0
    standing: MarketBid | None = None
    commitments: tuple[AwardedQuantity, ...] = ()
    fixed: tuple[FixedPower, ...] = ()
    strategy: str
    strategy_version: str
    settings: dict[str, float] = {}
    offered: Offered | msgspec.UnsetType = msgspec.UNSET
    budgets: tuple[DayBudget, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def day_budgets(self) -> tuple[DayBudget, ...]:
        """How much may be discharged in each day; none when unset."""
        return () if self.budgets is msgspec.UNSET else self.budgets

    @property
    def less(self) -> Offered:
        """What is not offered; nothing when unset."""
        return Offered() if self.offered is msgspec.UNSET else self.offered


class Slice(Protocol):
    """What the store of facts answers for one series."""

    @property
    def start_ns(self) -> NDArray[np.int64]: ...
    @property
    def end_ns(self) -> NDArray[np.int64]: ...
    @property
    def value(self) -> NDArray[np.float64]: ...
    @property
    def known_ns(self) -> NDArray[np.int64]: ...
    @property
    def revision(self) -> NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """The facts of one series as known: N intervals, ascending, and N x V values."""

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    known_ns: NDArray[np.int64]
    revision: NDArray[np.int64]


def series_of(found: Slice) -> Series:
    """Return an answer of the store as plain contiguous columns, which travel between processes.

    An empty one has one column, however wide the series is: how wide it would become was not known before its first fact.
    """
    value = found.value if len(found.start_ns) else np.empty((0, 1))
    return Series(
        start_ns=np.ascontiguousarray(found.start_ns, dtype=np.int64),
        end_ns=np.ascontiguousarray(found.end_ns, dtype=np.int64),
        value=np.ascontiguousarray(value, dtype=np.float64),
        known_ns=np.ascontiguousarray(found.known_ns, dtype=np.int64),
        revision=np.ascontiguousarray(found.revision, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A situation with the facts for it."""

    situation: Situation
    facts: Mapping[SeriesId, Series]

    def digest(self) -> str:
        """Return the SHA-256 of everything in it, in hexadecimal: equal for equal bits and for nothing else."""
        found = hashlib.sha256(canonical(self.situation))
        for series_id in sorted(self.facts):
            series = self.facts[series_id]
            found.update(f"\0{series_id}\0{series.value.shape}".encode())
            for name in _COLUMNS:
                found.update(np.ascontiguousarray(getattr(series, name)).tobytes())
        return found.hexdigest()

    def parts(self) -> dict[str, dict[str, str]]:
        """Return, by series and UTC day, how many intervals are known and a short digest of them: ``288 1f3a...``.

        They say nothing that the digest does not; they name the place when a replay finds something else.
        """
        return {
            str(series_id): {day: part_digest(series, rows) for day, rows in days_of(series).items()}
            for series_id, series in sorted(self.facts.items())
        }


def days_of(series: Series) -> dict[str, slice]:
    """Return the rows of each UTC day in which an interval starts, by its date."""
    day_no, first = np.unique(series.start_ns // _DAY_NS, return_index=True)
    ends = [*first.tolist(), len(series.start_ns)][1:]
    return {
        iso(day * _DAY_NS)[:10]: slice(start, end)
        for day, start, end in zip(day_no.tolist(), first.tolist(), ends, strict=True)
    }


def part_digest(series: Series, rows: slice | NDArray[np.int64]) -> str:
    """Return the count of some rows and the first 16 hexadecimal digits of their SHA-256."""
    found = hashlib.sha256()
    for name in _COLUMNS:
        found.update(np.ascontiguousarray(getattr(series, name)[rows]).tobytes())
    return f"{len(series.start_ns[rows])} {found.hexdigest()[:16]}"


def canonical(content: object) -> bytes:
    """Return the one JSON of a value: equal values give equal bytes, whatever the order of their dictionaries."""
    return msgspec.json.encode(content, order="sorted")
