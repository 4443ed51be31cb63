"""Input contracts: what a series may say, and what becomes of what breaks it.

Data of third parties are judged interval by interval: one that cannot be true is set aside with a reason, and its
neighbours survive. A NaN is no breach: it says that a value is withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts, SeriesId

Breach: TypeAlias = Literal["width", "step", "phase", "infinite", "range", "resolution", "contradiction"]
"""Why an interval was set aside.

width: not as many values as the contract has columns; step: not as long as an interval of the series is;
phase: it does not start where one starts; infinite: a value is infinite; range: a value is out of range;
resolution: a value is no multiple of the tick; contradiction: another value is kept with the same revision and instant.
"""

_TICK_TOLERANCE: Final = 1e-6


class ValueColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One of the values of a series.

    Attributes:
        name: What it is called, with its unit: ``price_per_mwh``.
        low: The least that it may be; None for no limit.
        high: The most that it may be; None for no limit.
        tick_size: It is a multiple of this; None for any number.
    """

    name: str
    low: float | None = None
    high: float | None = None
    tick_size: float | None = None


class SeriesContract(msgspec.Struct, frozen=True, kw_only=True):
    """What a series is, and what it may say.

    Attributes:
        series_id: The series.
        unit: Of its values, for people: ``AUD/MWh``.
        columns: Its V values.
        step_ns: How long each interval is; None when they differ.
        phase_ns: Intervals start at whole steps after this instant.
        stale_after_ns: How old the newest knowledge may become before it is stale; None for never.

    Raises:
        InvalidInputError: when a name is empty or twice, a range is empty, or a length is not positive.
    """

    series_id: SeriesId
    unit: str
    columns: tuple[ValueColumn, ...]
    step_ns: int | None = None
    phase_ns: int = 0
    stale_after_ns: int | None = None

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not self.series_id:
            raise InvalidInputError(field="series_id", value="", fix="give it a name")
        if not names or len(set(names)) < len(names) or not all(names):
            raise InvalidInputError(
                field="columns", value=names, fix="give at least one, each a name of its own"
            )
        for column in self.columns:
            if column.low is not None and column.high is not None and not column.low <= column.high:
                raise InvalidInputError(
                    field=f"{column.name}.low", value=column.low, fix="put it below `high`"
                )
            if column.tick_size is not None and not column.tick_size > 0:
                raise InvalidInputError(
                    field=f"{column.name}.tick_size", value=column.tick_size, fix="give more than 0"
                )
        for field in ("step_ns", "stale_after_ns"):
            length_ns = getattr(self, field)
            if length_ns is not None and length_ns <= 0:
                raise InvalidInputError(field=field, value=length_ns, fix="give more than 0, or nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An interval that was set aside.

    Attributes:
        index: Its position among the facts that were said.
        start_ns: Where it starts.
        reason: Which rule it breaks.
        detail: The same for people.
        value: The values that were said of it.
    """

    index: int
    start_ns: int
    reason: Breach
    detail: str
    value: tuple[float, ...]


def check(facts: Facts, contract: SeriesContract | None) -> tuple[Facts | None, list[Quarantined]]:
    """Return the facts that keep the contract, None when none does, and those that break it.

    Args:
        facts: What was said.
        contract: What the series may say; None demands no more than finite values.
    """
    bad = violations(facts.start_ns, facts.end_ns, facts.value, contract)
    if not bad:
        return facts, []
    kept = np.ones(len(facts.start_ns), dtype=np.bool_)
    kept[[item.index for item in bad]] = False
    if not kept.any():
        return None, bad
    accepted = replace(
        facts, start_ns=facts.start_ns[kept], end_ns=facts.end_ns[kept], value=facts.value[kept]
    )
    return accepted, bad


def violations(
    start_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    contract: SeriesContract | None,
) -> list[Quarantined]:
    """Return the intervals that break a contract, in their order, each with the first rule that it breaks.

    Args:
        start_ns: N starts.
        end_ns: N ends.
        value: N x V values.
        contract: As for `check`.
    """
    found: dict[int, tuple[Breach, str]] = {}
    rules = _plain_rules(value) if contract is None else _rules(start_ns, end_ns, value, contract)
    for reason, broken, detail in rules:
        for index in np.flatnonzero(broken).tolist():
            found.setdefault(index, (reason, detail))
    return [
        Quarantined(
            index=index,
            start_ns=int(start_ns[index]),
            reason=reason,
            detail=detail,
            value=tuple(value[index].tolist()),
        )
        for index, (reason, detail) in sorted(found.items())
    ]


_Rule: TypeAlias = tuple[Breach, NDArray[np.bool_], str]


def _plain_rules(value: NDArray[np.float64]) -> Iterator[_Rule]:
    infinite = np.asarray(np.isinf(value).any(axis=1), dtype=np.bool_)
    yield "infinite", infinite, "a value is infinite"


def _rules(
    start_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    contract: SeriesContract,
) -> Iterator[_Rule]:
    width, said = len(contract.columns), value.shape[1]
    if width != said:
        yield "width", np.ones(len(value), dtype=np.bool_), f"{said} values where there are {width}"
        return
    if contract.step_ns is not None:
        step_ns = contract.step_ns
        yield "step", end_ns - start_ns != step_ns, f"it is not {step_ns / 1e9:g} s long"
        off = (start_ns - contract.phase_ns) % step_ns != 0
        yield "phase", off, f"it does not start at a whole {step_ns / 1e9:g} s"
    yield from _plain_rules(value)
    for column, values in zip(contract.columns, value.T, strict=True):
        if column.low is not None:
            yield "range", values < column.low, f"{column.name} is below {column.low:g}"
        if column.high is not None:
            yield "range", values > column.high, f"{column.name} is above {column.high:g}"
        if column.tick_size is not None:
            ticks = np.where(np.isfinite(values), values, 0.0) / column.tick_size
            off = np.abs(ticks - np.rint(ticks)) > _TICK_TOLERANCE
            yield "resolution", off, f"{column.name} is no multiple of {column.tick_size:g}"
