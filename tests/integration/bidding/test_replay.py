"""Replays: bit for bit the same whatever was learned since, and when something differs it is named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from shoal.bidding.cycle.decision import STANDING, Decision, strategy
from shoal.bidding.cycle.known import Known, Situation, series_of
from shoal.bidding.cycle.replay import compared, replay, replay_all, replay_decision
from shoal.bidding.cycle.workflow import content_digest, known_of
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.market.bids import MarketBid, Offer, Orders
from shoal.store.cycles import DecisionRecord
from shoal.store.facts import FactStore
from shoal.store.facts_records import FactBatch, Slice
from shoal.store.facts_window import Window
from tests.integration.bidding.decided import (
    DAY_NS,
    RESOURCE,
    WORLDS,
    Stored,
    World,
    decide_and_record,
    open_stored,
    stands_after,
)

MARKOV, DAY_AHEAD = WORLDS
EVER_NS = 2**62


def said_again(world: World, known_ns: int, *, shift: float, revision: int = 0) -> FactBatch:
    """Return other values for every interval of the world, said at one instant."""
    prices = world.prices()
    count = len(prices.start_ns)
    return FactBatch(
        series_id=prices.series_id,
        source="somebody else",
        known_ns=np.full(count, known_ns),
        revision=np.full(count, revision),
        start_ns=prices.start_ns,
        end_ns=prices.end_ns,
        value=prices.value + shift,
    )


def learn_more(stored: Stored, world: World) -> None:
    """Record late facts, corrections, and facts that were known long before but are recorded only now."""
    first_ns, last_ns = (world.as_of_ns(gate) for gate in (world.gates[0], world.gates[-1]))
    kept = stored.facts.last_record()
    for known_ns, shift, revision in (
        (last_ns + NS_PER_S, 25.0, 0),  # late
        (last_ns + NS_PER_HOUR, -40.0, 1),  # a correction
        (first_ns - 1, 60.0, 0),  # dated back to before the decisions
        (first_ns - DAY_NS, 90.0, 7),  # a correction, dated back
        (first_ns, 33.0, 9),  # dated to the very instant of one
    ):
        stored.facts.load(said_again(world, known_ns, shift=shift, revision=revision))
    assert stored.facts.last_record() == kept + 5
    stored.facts.compact()


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.strategy)
def test_decisions_replay_bit_for_bit_whatever_was_learned_since(world: World, tmp_path: Path) -> None:
    stored = open_stored(tmp_path)
    prices = world.prices()
    standing: MarketBid | None = None
    for gate in world.gates:
        as_of_ns = world.as_of_ns(gate)
        stored.facts.load(taken(prices, prices.known_ns <= as_of_ns))
        about = world.situation(gate, stored.facts, standing)
        _, climbed = decide_and_record(stored, about)
        standing = stands_after(about, climbed.decision)
    first = world.gates[0]
    about = msgspec.structs.replace(
        about, gate=first, as_of_ns=world.as_of_ns(first), record_no=stored.facts.last_record(), standing=None
    )
    for left_out in range(1, len(strategy(world.strategy).rungs) + 1):
        decide_and_record(stored, about, left_out=left_out)
    decide_and_record(stored, about, away=True)
    decide_and_record(stored, msgspec.structs.replace(about, standing=standing), left_out=9, away=True)
    before = replay_all(stored.cycles, stored.facts, from_ns=0, to_ns=EVER_NS)
    assert before.same == before.decisions == len(world.gates) + len(strategy(world.strategy).rungs) + 2
    rungs = {stored.cycles.decision(one).rung for one in stored.cycles.decision_ids(from_ns=0, to_ns=EVER_NS)}
    assert {"fresh", "simple", "idle", STANDING} <= rungs

    learn_more(stored, world)
    changed = known_of(
        stored.facts, msgspec.structs.replace(about, record_no=2**40), strategy(about.strategy)
    )
    assert changed.digest() != known_of(stored.facts, about, strategy(about.strategy)).digest()
    after = replay_all(stored.cycles, stored.facts, from_ns=0, to_ns=EVER_NS)
    assert after.same == after.decisions == before.decisions, after.not_the_same


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.strategy)
def test_no_fact_that_is_known_later_changes_a_decision(world: World, tmp_path: Path) -> None:
    """The leak test: two plants that differ only in what becomes known after each decision decide the same bytes."""
    prices = world.prices()
    decided: list[list[str]] = []
    for name in ("as it was", "otherwise"):
        (tmp_path / name).mkdir()
        stored = open_stored(tmp_path / name)
        bytes_of: list[str] = []
        standing: MarketBid | None = None
        for gate in world.gates:
            later = prices.known_ns > world.as_of_ns(gate)
            value = prices.value.copy()
            if name == "otherwise":
                value[later] = np.maximum(value[later] * -3.0 + 500.0, -900.0)
            # a series of its own for each gate; everything is recorded, so only the instant protects the decision
            point = f"{world.point}-{gate.covers_start_ns}-{gate.kind}"
            own = replace(world, point=point)
            stored.facts.load(replace(prices, series_id=own.series_id, value=value))
            # and every interval is corrected a nanosecond after the decision
            shift = 100.0 if name == "otherwise" else 1.0
            stored.facts.load(said_again(own, world.as_of_ns(gate) + 1, shift=shift, revision=3))
            if standing is not None:
                standing = msgspec.structs.replace(standing, settlement_point=point)
            about = own.situation(gate, stored.facts, standing)
            record, climbed = decide_and_record(stored, about)
            standing = stands_after(about, climbed.decision)
            assert climbed.decision.rung == "fresh"
            bytes_of += [record.decision, record.known_digest]
        decided.append(bytes_of)
    assert decided[0] == decided[1]
    last = world.situation(world.gates[-1], stored.facts)
    assert (prices.known_ns > last.as_of_ns).any()


def test_a_series_that_comes_to_be_later_changes_nothing(tmp_path: Path) -> None:
    """What is not known at all has no width yet; its first fact must not change what was known before it."""
    stored = open_stored(tmp_path)
    gate = DAY_AHEAD.gates[0]
    record, climbed = decide_and_record(stored, DAY_AHEAD.situation(gate, stored.facts))
    assert climbed.decision.rung == "idle" and climbed.known.facts
    for series_id in climbed.known.facts:
        stored.facts.record(
            Facts(
                series_id=series_id,
                source="late",
                known_ns=0,
                start_ns=np.array([gate.covers_start_ns - NS_PER_HOUR]),
                end_ns=np.array([gate.covers_start_ns]),
                value=np.array([[1.0, 2.0, 3.0]]),
            )
        )
    assert replay(stored.cycles, stored.facts, record.decision_id).verdict == "same"


class Altered:
    """A store in which somebody changed what is kept."""

    def __init__(self, facts: FactStore, *, row: int, how: str) -> None:
        self._facts = facts
        self._row = row
        self._how = how

    def as_of(
        self,
        series_ids: Iterable[SeriesId],
        from_ns: int,
        to_ns: int,
        as_of_ns: int,
        *,
        up_to_record: int | None = None,
    ) -> dict[SeriesId, Slice]:
        found = self._facts.as_of(series_ids, from_ns, to_ns, as_of_ns, up_to_record=up_to_record)
        return {
            series_id: self._changed(one) if len(one.start_ns) else one for series_id, one in found.items()
        }

    def _changed(self, one: Slice) -> Slice:
        names = ("start_ns", "end_ns", "value", "known_ns", "revision")
        columns = {name: getattr(one, name).copy() for name in names}
        if self._how == "lost":
            return Slice(**{name: np.delete(column, self._row, axis=0) for name, column in columns.items()})
        columns["value"][self._row] += 1_000.0
        return Slice(**columns)

    def last_record(self) -> int:
        return self._facts.last_record()

    def window(
        self, series_ids: list[SeriesId], from_ns: int, to_ns: int, *, up_to_record: int | None = None
    ) -> Window:
        return self._facts.window(series_ids, from_ns, to_ns, up_to_record=up_to_record)


@pytest.fixture(scope="module")
def day_ahead(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stored, DecisionRecord]:
    """One decision of the day-ahead strategy."""
    stored = open_stored(tmp_path_factory.mktemp("day-ahead"))
    stored.facts.load(DAY_AHEAD.prices())
    record, _ = decide_and_record(stored, DAY_AHEAD.situation(DAY_AHEAD.gates[0], stored.facts))
    return stored, record


def test_a_changed_fact_is_named_with_its_interval(day_ahead: tuple[Stored, DecisionRecord]) -> None:
    stored, record = day_ahead
    found = replay_decision(record, Altered(stored.facts, row=-30, how="changed"))
    assert found.verdict == "different"
    [fact] = [one for one in found.differences if one.what == "facts"]
    prices = DAY_AHEAD.prices()
    about = msgspec.json.decode(record.situation, type=Situation)
    asked = known_of(stored.facts, about, strategy("day-ahead")).facts[DAY_AHEAD.series_id]
    day = str(np.datetime64(int(asked.start_ns[-30]), "ns"))[:13]
    assert fact.where.startswith(f"{DAY_AHEAD.series_id} at {day}")
    was = prices.value[np.searchsorted(prices.start_ns, asked.start_ns[-30]), 0]
    assert f"it was {was:g}" in fact.replayed
    # other prices, another forecast, so other orders
    assert any(one.what == "decision" for one in found.differences)


def test_a_lost_fact_is_named_with_its_gap(day_ahead: tuple[Stored, DecisionRecord]) -> None:
    stored, record = day_ahead
    found = replay_decision(record, Altered(stored.facts, row=-20, how="lost"))
    [fact] = [one for one in found.differences if one.what == "facts"]
    assert fact.recorded == "24 intervals" and "23 intervals, none from" in fact.replayed


def test_a_fact_that_should_not_be_there_is_named(day_ahead: tuple[Stored, DecisionRecord]) -> None:
    stored, record = day_ahead
    lost = Altered(stored.facts, row=-30, how="lost")
    about = msgspec.json.decode(record.situation, type=Situation)
    answer = lost.as_of([DAY_AHEAD.series_id], 0, about.gate.covers_start_ns, about.as_of_ns)
    known = known_of(stored.facts, about, strategy("day-ahead"))
    fewer = Known(
        situation=about, facts={**known.facts, DAY_AHEAD.series_id: series_of(answer[DAY_AHEAD.series_id])}
    )
    poorer = replace(
        record, known_digest=fewer.digest(), known_parts=msgspec.json.encode(fewer.parts()).decode()
    )
    found = replay_decision(poorer, stored.facts)
    [fact] = [one for one in found.differences if one.what == "facts"]
    assert f"{DAY_AHEAD.series_id} at " in fact.where and "which was not known then" in fact.replayed


def test_a_changed_decision_is_named_with_its_field(day_ahead: tuple[Stored, DecisionRecord]) -> None:
    stored, record = day_ahead
    content = msgspec.json.decode(record.decision)
    order = content["offers"][0]["orders"][0]
    order["limit_price_per_mwh"] += 1.0
    content["expected_amount"] += 1
    found = replay_decision(
        replace(record, decision=msgspec.json.encode(content, order="sorted").decode()), stored.facts
    )
    assert {one.what for one in found.differences} == {"decision"}
    where = {one.where for one in found.differences}
    assert "expected_amount" in where
    assert any("limit_price_per_mwh" in one and "offers[day-ahead orders]" in one for one in where)


def test_another_version_is_refused_and_never_decided(day_ahead: tuple[Stored, DecisionRecord]) -> None:
    stored, record = day_ahead
    found = replay_decision(replace(record, strategy_version="0"), stored.facts)
    assert found.verdict == "refused" and "version 0" in found.reason
    assert replay_decision(replace(record, strategy="gone"), stored.facts).verdict == "refused"


def test_a_bid_that_is_not_what_was_decided_is_named(day_ahead: tuple[Stored, DecisionRecord]) -> None:
    stored, record = day_ahead
    offers = msgspec.json.decode(record.decision, type=Decision).offers

    def bid(revision: int) -> MarketBid:
        return MarketBid(
            idempotency_key=f"k{revision}",
            resource_id=RESOURCE,
            market_id="ercot",
            settlement_point="HB_NORTH",
            delivery_date=DAY_AHEAD.gates[0].delivery_date,
            revision=revision,
            offers=offers if revision == 1 else (replaced_first(offers[0]),),
        )

    for key, author in (("k1", ""), ("k2", ""), ("k3", "ann")):
        stored.cycles.draft_bid(
            bid,
            resource_id=RESOURCE,
            market_id="ercot",
            delivery_date=DAY_AHEAD.gates[0].delivery_date,
            idempotency_key=key,
            gate_key=record.gate_key,
            closes_ns=record.closes_ns,
            decision_id="" if author else record.decision_id,
            author=author,
            created_ns=record.as_of_ns,
            digest=content_digest,
            by="desk",
        )
    assert replay(stored.cycles, stored.facts, "k1").verdict == "same"
    found = replay(stored.cycles, stored.facts, "k2")
    assert {one.what for one in found.differences} == {"bid"}
    with pytest.raises(InvalidInputError, match="ann made it by hand"):
        replay(stored.cycles, stored.facts, "k3")
    with pytest.raises(UnknownIdError):
        replay(stored.cycles, stored.facts, "never heard of")


def test_compared_tells_intervals_by_their_starts() -> None:
    old = {"a": [{"start_ns": 0, "mw": 1.0}, {"start_ns": NS_PER_HOUR, "mw": 2.0}], "b": 1}
    new = {"a": [{"start_ns": NS_PER_HOUR, "mw": 3.0}], "b": 1.0}
    assert list(compared(old, new)) == [
        ("a[1970-01-01T00:00:00.000Z]", '{"mw":1.0,"start_ns":0}', "nothing"),
        ("a[1970-01-01T01:00:00.000Z].mw", "2.0", "3.0"),
        ("b", "1", "1.0"),
    ]


def taken(batch: FactBatch, rows: np.ndarray) -> FactBatch:
    return replace(
        batch,
        **{
            name: getattr(batch, name)[rows]
            for name in ("known_ns", "revision", "start_ns", "end_ns", "value")
        },
    )


def replaced_first(offer: Offer) -> Offer:
    assert isinstance(offer, Orders)
    first = msgspec.structs.replace(offer.orders[0], quantity_mw=offer.orders[0].quantity_mw + 1.0)
    return msgspec.structs.replace(offer, orders=(first, *offer.orders[1:]))
