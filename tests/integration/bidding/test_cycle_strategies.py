"""Gates of imbalance, of a peak-shaving programme and of energy with services, against simulated markets over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np

import shoal.bidding.cycle.balancing
import shoal.bidding.cycle.peak_event
import shoal.bidding.cycle.reserves  # noqa: F401 - registers its strategy
from shoal.bidding.cycle.known import GateRef
from shoal.bidding.cycle.ports import Bidder, Measured
from shoal.bidding.cycle.reserves_backing import awarded, backing_of
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.market.bids import LoadTarget
from shoal.market.contract import Market
from shoal.market.registry import market_module
from shoal.simulate.exchange import ExchangeFaults, create_exchange
from shoal.simulate.exchange_book import ExchangeBook, Participant
from shoal.simulate.exchange_tape import Tape
from tests.integration.bidding.cycle_world import RESOURCE, STORAGE, TOKEN, Desk, open_desk
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.test_market import serving

DAY: Final = date(2025, 12, 10)
HALF_NS: Final = 30 * NS_PER_MINUTE
FAULTS: Final = ExchangeFaults(refused_frac=0.1, unknown_frac=0.15, busy_frac=0.1, seed=3)


def tape_of(
    product: str,
    point: str,
    *,
    market: Market,
    step_ns: int,
    out_after_ns: int | None,
    level: float,
    swing: float,
    seed: int,
    days: int = 35,
) -> Tape:
    """Return prices around `DAY`, out so long after the start, or with the results of the auction."""
    zero_ns = int(market.bounds_ns(product, DAY)[0])
    start_ns = (
        zero_ns
        + np.arange(-days * 24 * NS_PER_HOUR // step_ns, 24 * NS_PER_HOUR // step_ns, dtype=np.int64)
        * step_ns
    )
    rng = np.random.default_rng(seed)
    hour = start_ns / NS_PER_HOUR % 24.0
    price = (
        level
        + swing * np.sin((hour - 9.0) / 24.0 * 2.0 * np.pi)
        + rng.normal(scale=swing / 6, size=len(start_ns))
    )
    if out_after_ns is not None:
        published_ns = start_ns + out_after_ns
    else:
        days_of = [market.delivery_date(int(t)) for t in start_ns]
        outs = {one: market.gates(product, one)[0].publishes_ns for one in set(days_of)}
        published_ns = np.array([outs[one] for one in days_of], dtype=np.int64)
    return Tape(
        product=product,
        settlement_point=point,
        start_ns=start_ns,
        end_ns=start_ns + step_ns,
        price_per_mwh=np.asarray(np.round(np.maximum(price, 0.0), 2), dtype=np.float64),
        published_ns=published_ns,
    )


def measured_at(desk: list[Desk], market_id: str, product: str) -> object:
    """Return what measures a battery that follows its awards of energy exactly."""

    def measure(resource_id: str, _gate: GateRef, as_of_ns: int) -> Measured:
        energy_kwh = STORAGE.initial_energy_kwh
        for day in (DAY - timedelta(days=1), DAY):
            awards = desk[0].cycles.awards(resource_id, market_id, day.isoformat()) if desk else []
            for one in awards[-1].quantities if awards else ():
                done_ns = min(one.end_ns, as_of_ns) - one.start_ns
                if one.product == product and done_ns > 0:
                    kwh = one.power_w / 1e3 * done_ns / NS_PER_HOUR
                    energy_kwh += kwh * 0.92 if kwh > 0 else kwh / 0.92
        held_kwh = min(max(energy_kwh, 0.0), STORAGE.energy_capacity_kwh)
        return Measured(storage=replace(STORAGE, initial_energy_kwh=held_kwh), silent_frac=0.0)

    return measure


@contextmanager
def world(
    folder: Path,
    market_id: str,
    strategy: str,
    point: str,
    product: str,
    tapes: Sequence[Tape],
    *,
    now_ns: int,
    faults: ExchangeFaults = FAULTS,
) -> Iterator[tuple[HandClock, Desk, ExchangeBook]]:
    clock = HandClock(now_ns)
    participant = Participant(
        resource_id=RESOURCE, settlement_point=point, participant="shoal", product=product
    )
    bidder = Bidder(
        resource_id=RESOURCE,
        market_id=market_id,
        settlement_point=point,
        strategy=strategy,
        settings={"scenarios_count": 10.0},
        lead_s=120.0,
        daily_lead_s=600.0,
    )
    app = create_exchange(
        market_module(market_id),
        clock,
        store=folder / "market" / "book.db",
        tokens={TOKEN: "shoal"},
        resources=[participant],
        tapes=tapes,
        since_ns=now_ns,
        faults=faults,
    )
    opened: list[Desk] = []
    with serving(app) as url:
        desk = open_desk(
            folder,
            url,
            clock.now_ns,
            bidders={RESOURCE: bidder},
            measure=measured_at(opened, market_id, product),  # type: ignore[arg-type]
        )
        opened.append(desk)
        try:
            yield clock, desk, app.state.book
        finally:
            desk.close()


def assert_clean(book: ExchangeBook, clock: HandClock, gates: int) -> None:
    """Assert that the market itself saw a valid bid at each gate, none twice, none refused for what it was."""
    account = book.summary(now_ns=clock.t_ns)
    assert (account.gates_passed, account.gates_missed) == (gates, 0)
    assert account.bids_duplicate == account.bids_late == account.bids_conflicting == 0
    assert set(account.refusals) <= {"market_busy"}


def test_every_half_hour_is_notified(tmp_path: Path) -> None:
    market = market_module("gb")
    gates = market.gates("imbalance", DAY)
    tape = tape_of(
        "imbalance",
        "system",
        market=market,
        step_ns=HALF_NS,
        out_after_ns=50 * NS_PER_MINUTE,
        level=70.0,
        swing=50.0,
        seed=2,
    )
    now_ns = gates[6].closes_ns - 115 * NS_PER_S
    with world(tmp_path, "gb", "imbalance", "system", "imbalance", [tape], now_ns=now_ns) as (
        clock,
        desk,
        book,
    ):
        for gate in gates[6:16]:
            for before_s in (110, 60, 10):
                clock.t_ns = gate.closes_ns - before_s * NS_PER_S
                desk.turn(clock.t_ns)
        clock.t_ns = gates[15].closes_ns + NS_PER_S
        assert_clean(book, clock, 10)
        rungs = desk.keeper.statistics().rungs
        # a market that is away at the first turn leaves the first bid without prices
        assert rungs["fresh"] >= 9 and set(rungs) <= {"fresh", "idle", "standing"}
        standing = book.standing(RESOURCE, DAY.isoformat())
        assert standing is not None and isinstance(standing.offers[0], LoadTarget)
        # nights are cheap: the battery fills, and never beyond what it can hold
        energy_kwh = STORAGE.initial_energy_kwh
        for one in standing.offers[0].intervals:
            energy_kwh += one.load_mw * 500.0 * (0.92 if one.load_mw > 0 else 1 / 0.92)
            assert -1e-6 <= energy_kwh <= STORAGE.energy_capacity_kwh + 1e-6
        assert energy_kwh > STORAGE.initial_energy_kwh


def test_an_announced_event_is_committed(tmp_path: Path) -> None:
    market = market_module("peak")
    gate = market.gates("reduction", DAY)[0]
    hours = market.delivery_intervals("reduction", DAY)
    now_ns = gate.closes_ns - 500 * NS_PER_S
    with world(tmp_path, "peak", "peak-event", "feeder-7", "reduction", [], now_ns=now_ns) as (
        clock,
        desk,
        book,
    ):

        def announce(targets: dict[int, float]) -> None:
            rows = sorted(targets)
            desk.facts.record(
                Facts(
                    series_id=SeriesId("event/peak/feeder-7/reduction"),
                    source="utility",
                    known_ns=clock.t_ns,
                    start_ns=np.array([hours[k].start_ns for k in rows], dtype=np.int64),
                    end_ns=np.array([hours[k].end_ns for k in rows], dtype=np.int64),
                    value=np.array([[targets[k]] for k in rows]),
                )
            )

        announce({17: 30.0, 18: 50.0})
        for before_s in (500, 250, 100, 20):
            clock.t_ns = gate.closes_ns - before_s * NS_PER_S
            desk.turn(clock.t_ns)
        clock.t_ns = gate.closes_ns + NS_PER_S
        assert_clean(book, clock, 1)
        assert desk.keeper.statistics().rungs["fresh"] >= 1
        standing = book.standing(RESOURCE, DAY.isoformat())
        assert standing is not None and isinstance(standing.offers[0], LoadTarget)
        committed = {one.start_ns: one.load_mw for one in standing.offers[0].intervals if one.load_mw}
        assert committed == {hours[17].start_ns: -30.0, hours[18].start_ns: -50.0}


def test_energy_and_services_are_awarded_and_backed(tmp_path: Path) -> None:
    market = market_module("ercot")
    gate = market.gates("day-ahead", DAY)[0]
    services = [one for one in market.products(DAY) if one.kind == "capacity"]
    common = {"market": market, "step_ns": NS_PER_HOUR, "out_after_ns": None}
    tapes = [
        tape_of("day-ahead", "HB_NORTH", level=40.0, swing=30.0, seed=1, **common),  # type: ignore[arg-type]
        *(
            tape_of(one.product_id, "HB_NORTH", level=6.0, swing=4.0, seed=7 + k, **common)  # type: ignore[arg-type]
            for k, one in enumerate(services)
        ),
    ]
    now_ns = gate.closes_ns - 500 * NS_PER_S
    with world(tmp_path, "ercot", "reserves", "HB_NORTH", "day-ahead", tapes, now_ns=now_ns) as (
        clock,
        desk,
        book,
    ):
        for before_s in (450, 200, 20):
            clock.t_ns = gate.closes_ns - before_s * NS_PER_S
            desk.turn(clock.t_ns)
        clock.t_ns = gate.closes_ns + NS_PER_S
        assert_clean(book, clock, 1)
        assert desk.keeper.statistics().rungs["co_optimised"] >= 1
        assert gate.publishes_ns is not None
        clock.t_ns = gate.publishes_ns + NS_PER_S
        desk.turn(clock.t_ns)
        quantities = desk.cycles.awards(RESOURCE, "ercot", DAY.isoformat())[-1].quantities
        held = awarded(market, quantities)
        assert held and {one.product for one in quantities} >= {"day-ahead", "regup"}
        energy = {one.start_ns: one.power_w / 1e3 for one in quantities if one.product == "day-ahead"}
        path = [STORAGE.initial_energy_kwh]
        for start_ns in sorted(energy):
            kwh = energy[start_ns]
            path.append(path[-1] + (kwh * 0.92 if kwh > 0 else kwh / 0.92))
        kept = backing_of(held, STORAGE, [*sorted(energy), max(energy) + NS_PER_HOUR])
        assert (np.array(path) >= kept.floor_kwh - 1e-3).all()
        assert (np.array(path) <= STORAGE.energy_capacity_kwh - kept.room_kwh + 1e-3).all()
