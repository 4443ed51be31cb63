"""Past decisions made again, from exactly what was known then, and compared byte for byte with what was recorded.

A decision is a pure function of its situation and of the facts as of its instant, so the same bytes have to come out,
whatever was learned since. Whatever differs is named: the series and the day or interval, the field of the decision, the
offers of the bid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.climb import InPlace
from shoal.bidding.cycle.decision import STANDING, GateStrategy, standing_decision, strategy
from shoal.bidding.cycle.known import (
    Known,
    Question,
    Series,
    Situation,
    canonical,
    days_of,
    part_digest,
    series_of,
)
from shoal.bidding.cycle.ports import FactReader
from shoal.bidding.cycle.workflow import known_of
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, iso
from shoal.store.cycles import Cycles, DecisionRecord, MarketBidRecord
from shoal.store.facts_window import Window

Verdict: TypeAlias = Literal["same", "different", "refused"]

MOST_DIFFERENCES: Final = 50
"""So many are named; the first ones say what happened."""
_DAY_NS: Final = 24 * NS_PER_HOUR
_NO_BUDGET_S: Final = float("inf")


class FactArchive(FactReader, Protocol):
    """The store of facts for who asks what was ever said, too."""

    def window(
        self, series_ids: list[SeriesId], from_ns: int, to_ns: int, *, up_to_record: int | None = None
    ) -> Window:
        """Return a span with all that was ever said of it."""
        ...


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was.

    Attributes:
        what: ``facts``, ``decision``, or the ``bid`` that was made of it.
        where: A series with its day or interval, or the path of a field.
        recorded: What it was.
        replayed: What it is now.
    """

    what: Literal["facts", "decision", "bid"]
    where: str
    recorded: str
    replayed: str


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a replay.

    Attributes:
        decision_id: Which decision.
        resource_id: Whose.
        gate_key: For which gate.
        as_of_ns: The instant of the decision.
        strategy: Who decided.
        strategy_version: In which version.
        rung: The rung that held.
        verdict: ``same``, ``different``, or ``refused`` when it cannot be decided again here.
        differences: What differs, at most `MOST_DIFFERENCES`.
        reason: Why it was refused.
    """

    decision_id: str
    resource_id: str
    gate_key: str
    as_of_ns: int
    strategy: str
    strategy_version: str
    rung: str
    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    reason: str = ""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What came of replaying a span: how many, and every one that is not the same."""

    decisions: int
    same: int
    different: int
    refused: int
    not_the_same: tuple[Replayed, ...]


def replay(cycles: Cycles, facts: FactArchive, name: str) -> Replayed:
    """Decide again what was decided for a bid, and compare.

    Args:
        cycles: Where decisions are kept.
        facts: The store of facts.
        name: The idempotency key of a bid, or the id of a decision.

    Raises:
        UnknownIdError: there is neither a bid nor a decision of that name.
        InvalidInputError: a person made the bid, so nothing was decided.
        UnavailableError: the database cannot be reached.
    """
    bid = cycles.bid(name)
    try:
        record = cycles.decision(name if bid is None else bid.decision_id)
    except UnknownIdError:
        if bid is None or not bid.author:
            raise
        fix = f"{bid.author} made it by hand; replay what the machine decided"
        raise InvalidInputError(field="bid", value=name, fix=fix) from None
    if bid is None:
        bid = cycles.bid(record.decision_id)
    return replay_decision(record, facts, bid=bid)


def replay_all(
    cycles: Cycles,
    facts: FactArchive,
    *,
    from_ns: int,
    to_ns: int,
    resource_id: str | None = None,
    shadow: bool | None = None,
) -> Audit:
    """Replay every decision for gates that close in ``[from_ns, to_ns)``.

    Args:
        cycles: Where decisions are kept.
        facts: The store of facts.
        from_ns: Where the span begins.
        to_ns: Where it ends.
        resource_id: Only of this resource; None for all.
        shadow: Only those of shadows, or none of them; None for both.
    """
    count: Counter[str] = Counter()
    others: list[Replayed] = []
    for one in replay_each(
        cycles, facts, from_ns=from_ns, to_ns=to_ns, resource_id=resource_id, shadow=shadow
    ):
        count[one.verdict] += 1
        if one.verdict != "same":
            others.append(one)
    return Audit(
        decisions=count.total(),
        same=count["same"],
        different=count["different"],
        refused=count["refused"],
        not_the_same=tuple(others),
    )


def replay_each(
    cycles: Cycles,
    facts: FactArchive,
    *,
    from_ns: int,
    to_ns: int,
    resource_id: str | None = None,
    shadow: bool | None = None,
) -> Iterator[Replayed]:
    """Yield what comes of each, as `replay_all` counts them, by gate."""
    for name in cycles.decision_ids(resource_id, from_ns=from_ns, to_ns=to_ns, shadow=shadow):
        yield replay_decision(cycles.decision(name), facts, bid=cycles.bid(name))


def replay_decision(
    record: DecisionRecord, facts: FactArchive, *, bid: MarketBidRecord | None = None
) -> Replayed:
    """Decide again what is recorded, and compare; with the bid that was made of it, if there is one."""
    replayed = Replayed(
        decision_id=record.decision_id,
        resource_id=record.resource_id,
        gate_key=record.gate_key,
        as_of_ns=record.as_of_ns,
        strategy=record.strategy,
        strategy_version=record.strategy_version,
        rung=record.rung,
        verdict="same",
    )
    refusal = _refusal(record)
    if refusal:
        return msgspec.structs.replace(replayed, verdict="refused", reason=refusal)
    about = msgspec.json.decode(record.situation, type=Situation)
    found = list(_situation_differences(record, about))
    known = _known(facts, about, record)
    if known.digest() != record.known_digest:
        found += _fact_differences(record, known, facts) or [_digests(record, known)]
    found += _decision_differences(record, about, known)
    if bid is not None:
        found += _bid_differences(record, bid)
    if not found:
        return replayed
    return msgspec.structs.replace(replayed, verdict="different", differences=tuple(found[:MOST_DIFFERENCES]))


def _refusal(record: DecisionRecord) -> str:
    """Say why a decision cannot be made again here; empty when it can."""
    if record.rung == STANDING:
        return ""  # the lowest rung is no strategy's own
    try:
        chosen = strategy(record.strategy)
    except UnknownIdError:
        return f"there is no strategy {record.strategy!r} here"
    if chosen.version != record.strategy_version:
        return (
            f"{record.strategy} was at version {record.strategy_version} and is at {chosen.version} here; "
            "replay with the release that made the decision"
        )
    return ""


def _known(facts: FactReader, about: Situation, record: DecisionRecord) -> Known:
    """Return the facts that were asked for, as of the same instant and up to the same record."""
    asked = tuple(msgspec.json.decode(record.questions, type=list[Question]))
    as_recorded = GateStrategy(
        name=record.strategy,
        version=record.strategy_version,
        about="",
        questions=lambda _about: asked,
        rungs=(),
    )
    return known_of(facts, about, as_recorded)


def _situation_differences(record: DecisionRecord, about: Situation) -> Iterator[Difference]:
    """Yield what the columns of a record and its situation do not say alike."""
    said = {
        "resource_id": about.resource_id,
        "as_of_ns": about.as_of_ns,
        "closes_ns": about.gate.closes_ns,
        "strategy": about.strategy,
        "strategy_version": about.strategy_version,
    }
    for name, value in said.items():
        if getattr(record, name) != value:
            yield Difference(
                what="decision", where=name, recorded=str(getattr(record, name)), replayed=str(value)
            )


def _decision_differences(record: DecisionRecord, about: Situation, known: Known) -> list[Difference]:
    """Decide again on the rung that held; return every field that came out otherwise."""
    try:
        if record.rung == STANDING:
            made = standing_decision(about).content()
        else:
            made = InPlace().decide(known, record.rung, budget_s=_NO_BUDGET_S).content()
    except Exception as error:  # noqa: BLE001 - whatever a rung raises is what it came to
        return [_other(f"rung {record.rung}", "ok", f"{type(error).__name__}: {error}")]
    recorded = record.decision.encode()
    if made == recorded:
        return []
    found = [
        _other(where, was, now)
        for where, was, now in compared(msgspec.json.decode(recorded), msgspec.json.decode(made))
    ]
    return found or [_other("bytes", f"{len(recorded)}", f"{len(made)}, of the same content")]


def _other(where: str, recorded: str, replayed: str) -> Difference:
    return Difference(what="decision", where=where, recorded=recorded, replayed=replayed)


def _bid_differences(record: DecisionRecord, bid: MarketBidRecord) -> list[Difference]:
    """Return in what a bid offers something else than was decided."""
    if bid.decision_id != record.decision_id:
        return []
    decided = msgspec.json.decode(record.decision).get("offers", [])
    sent = msgspec.json.decode(canonical(bid.bid.offers))
    return [
        Difference(what="bid", where=f"offers{where}", recorded=was, replayed=now)
        for where, was, now in compared(decided, sent)
    ]


# ── what differs ────────────────────────────────────────────────────────────────────────────────────────────


def compared(recorded: Any, replayed: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path, old and new value of everything in which two JSON values differ; lists of intervals go by their starts."""
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        for name in sorted({*recorded, *replayed}):
            where = f"{path}.{name}" if path else name
            yield from compared(recorded.get(name), replayed.get(name), where)
    elif isinstance(recorded, list) and isinstance(replayed, list):
        old, new = _labelled(recorded), _labelled(replayed)
        for label in dict.fromkeys([*old, *new]):
            yield from compared(old.get(label), new.get(label), f"{path}[{label}]")
    elif type(recorded) is not type(replayed) or recorded != replayed:
        yield path, _shown(recorded), _shown(replayed)


def _labelled(items: list[Any]) -> dict[str, Any]:
    """Return items by what a person would call them, by their position where that is not one of a kind."""
    labels = [_label(item, position) for position, item in enumerate(items)]
    if len(set(labels)) != len(labels):
        labels = [str(position) for position in range(len(items))]
    return dict(zip(labels, items, strict=True))


def _label(item: Any, position: int) -> str:
    if isinstance(item, dict) and isinstance(item.get("start_ns"), int):
        return " ".join(
            [iso(item["start_ns"]), *(str(item[key]) for key in ("side", "product") if key in item)]
        )
    if isinstance(item, dict) and "product" in item:
        return " ".join(str(item[key]) for key in ("product", "side", "shape") if key in item)
    return str(position)


def _shown(value: Any) -> str:
    text = "nothing" if value is None else canonical(value).decode()
    return text if len(text) <= 120 else f"{text[:117]}..."


def _digests(record: DecisionRecord, known: Known) -> Difference:
    return Difference(
        what="facts",
        where=", ".join(sorted(known.facts)) or "the situation",
        recorded=record.known_digest,
        replayed=known.digest(),
    )


def _fact_differences(record: DecisionRecord, known: Known, facts: FactArchive) -> list[Difference]:
    """Return the days of series in which other facts are found now, down to the interval where one alone explains it."""
    if not record.known_parts:
        return []
    kept = msgspec.json.decode(record.known_parts, type=dict[str, dict[str, str]])
    found: list[Difference] = []
    now = known.parts()
    for name in sorted({*kept, *now}):
        was, has = kept.get(name, {}), now.get(name, {})
        for day in sorted({*was, *has}):
            if was.get(day) != has.get(day):
                found.append(_day_difference(SeriesId(name), day, was.get(day), has.get(day), known, facts))
    return found


def _day_difference(
    series_id: SeriesId, day: str, was: str | None, has: str | None, known: Known, facts: FactArchive
) -> Difference:
    count_was, count_has = (int(one.split()[0]) if one else 0 for one in (was, has))
    where, told = f"{series_id} on {day}", f"{count_has} intervals"
    series = known.facts.get(series_id)
    rows = None if series is None else days_of(series).get(day)
    if was is not None and series is not None and rows is not None:
        one_day = _taken(series, rows)
        cause = (
            _one_more(one_day, was) if count_has > count_was else _one_other(one_day, was, series_id, facts)
        )
        if cause is not None:
            where, told = f"{series_id} at {iso(cause[0])}", cause[1]
    if count_has < count_was:
        told += f"{_gaps(series, rows)}"
    elif told == f"{count_has} intervals" and count_has == count_was:
        told += " with other values"
    return Difference(what="facts", where=where, recorded=f"{count_was} intervals", replayed=told)


def _taken(series: Series, rows: slice | NDArray[np.int64]) -> Series:
    return Series(
        start_ns=series.start_ns[rows],
        end_ns=series.end_ns[rows],
        value=series.value[rows],
        known_ns=series.known_ns[rows],
        revision=series.revision[rows],
    )


def _one_more(day: Series, was: str) -> tuple[int, str] | None:
    """Return the interval without which a day is as it was."""
    for row in range(len(day.start_ns)):
        rest = np.delete(np.arange(len(day.start_ns)), row)
        if part_digest(day, rest) == was:
            return int(day.start_ns[row]), f"{_said(day, row)}, which was not known then"
    return None


def _one_other(day: Series, was: str, series_id: SeriesId, facts: FactArchive) -> tuple[int, str] | None:
    """Return the interval that makes a day as it was when something else that was said of it is put there."""
    begin_ns = int(day.start_ns[0]) // _DAY_NS * _DAY_NS
    said = series_of(facts.window([series_id], begin_ns, begin_ns + _DAY_NS).facts[series_id])
    for row in range(len(said.start_ns)):
        at = int(np.searchsorted(day.start_ns, said.start_ns[row]))
        if at == len(day.start_ns) or day.start_ns[at] != said.start_ns[row]:
            continue
        columns = {name: getattr(day, name).copy() for name in Series.__slots__}
        for name, column in columns.items():
            column[at] = getattr(said, name)[row]
        if part_digest(Series(**columns), slice(None)) == was:
            return int(day.start_ns[at]), f"{_said(day, at)}; it was {_said(said, row)}"
    return None


def _said(series: Series, row: int) -> str:
    values = ", ".join(f"{one:g}" for one in series.value[row].tolist())
    return f"{values} (revision {int(series.revision[row])}, known {iso(int(series.known_ns[row]))})"


def _gaps(series: Series | None, rows: slice | None) -> str:
    """Say between which intervals of a day there is nothing."""
    if series is None or rows is None:
        return ""
    start_ns, end_ns = series.start_ns[rows], series.end_ns[rows]
    gaps = np.flatnonzero(start_ns[1:] > end_ns[:-1])
    if not len(gaps):
        return f", from {iso(int(start_ns[0]))} to {iso(int(end_ns[-1]))}"
    return f", none from {iso(int(end_ns[gaps[0]]))} to {iso(int(start_ns[gaps[0] + 1]))}"
