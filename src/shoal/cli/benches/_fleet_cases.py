"""The cases of the fleet benchmark, each with the homes in this process or in two of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.bench import Result
from shoal.cli.benches import _fleet_instances as instances
from shoal.cli.benches._fleet_highs import solve_central
from shoal.cli.benches._fleet_rules import greedy_cost
from shoal.control.price_dispatch_shards import ShardedHomes
from shoal.optimise.fleet_optimum import (
    Answer,
    Ask,
    FleetPlan,
    FleetSearch,
    FleetTerms,
    SearchOptions,
    solve_fleet,
)
from shoal.optimise.fleet_optimum_parts import LocalHomes, Part, PartLedger
from shoal.optimise.home_batch import GroupSums, HomeBatch, HomeColumns

Floats = NDArray[np.float64]

SHARDS: Final = 2
GAP_FRAC: Final = 1e-4
_LABEL: Final = "a day in quarter hours"


class Counted:
    """An answerer that counts what goes down and comes up."""

    def __init__(self, homes: LocalHomes) -> None:
        self._homes = homes
        self.bytes_count = self.rounds = 0

    def answer(self, ask: Ask) -> Answer:
        """Return what the homes do."""
        answer = self._homes.answer(ask)
        self.rounds += 1
        self.bytes_count += ask.nbytes + answer.sums.energy_kwh.nbytes + 3 * answer.sums.cost.nbytes
        return answer


def build_shard(count: int, groups: int, shard: int, shards: int) -> HomeBatch:
    """Return every so manieth home of a fleet."""
    homes = instances.homes(count, groups=groups)
    return HomeBatch(homes.chosen(np.arange(shard, count, shards)))


def fleet_1k(quick: bool) -> list[Result]:
    """Compare with HiGHS on the whole programme."""
    count, groups = (40, 20) if quick else (1_000, 50)
    homes, terms = instances.homes(count, groups=groups), instances.terms(count)
    _warm()
    start_s = time.perf_counter()
    plan = _solve(homes, terms, LocalHomes(HomeBatch(homes)))
    took_s = time.perf_counter() - start_s
    start_s = time.perf_counter()
    central = solve_central(homes, terms)
    peer_s = time.perf_counter() - start_s
    size = f"{count:,} homes, {_LABEL}"
    away = abs(plan.cost - central.cost) / abs(central.cost)
    return [
        _result("fleet_1k", size, took_s, "s", peer="highs", peer_value=peer_s),
        _result("fleet_1k", f"{size}: cost", plan.cost, "currency", peer="highs", peer_value=central.cost),
        _result("fleet_1k", f"{size}: cost away from the peer's", away, "share"),
        _result("fleet_1k", f"{size}: certified gap", plan.gap_frac, "share"),
        _result("fleet_1k", f"{size}: rounds", plan.rounds, "rounds"),
    ]


def fleet_large(case: str, count: int, quick: bool) -> list[Result]:
    """Time a fleet over two processes, from the first price to a certified gap."""
    count, groups = (2_000, 20) if quick else (count, 100)
    sample = min(max(4_000, count // 100), count)
    options = SearchOptions(gap_frac=GAP_FRAC, sample_frac=sample / count, sample_gap_frac=0.3 * GAP_FRAC)
    terms = instances.terms(count)
    with ShardedHomes(partial(build_shard, count, groups), shards=SHARDS) as homes:
        search = FleetSearch(terms, homes.feeder_of, homes_count=count, options=options)
        ask = search.ask
        assert ask is not None
        homes.answer(replace(ask, sample_frac=min(options.sample_frac, 0.5)))  # the kernels are loaded
        homes.begin()
        homes.down_bytes = homes.up_bytes = 0
        start_s = time.perf_counter()
        plan = solve_fleet(search, homes)
        took_s = time.perf_counter() - start_s
        moved_bytes = homes.down_bytes + homes.up_bytes
        kept = homes.answer(_kept(plan, ask.number)).sums
        real, excess = _realised(terms, homes.feeder_of, kept), _worst_excess(terms, homes.feeder_of, kept)
    size = f"{count:,} homes, {_LABEL}, {SHARDS} processes"
    return [
        _result(case, size, took_s, "s"),
        _result(case, f"{size}: certified gap", plan.gap_frac, "share"),
        _result(case, f"{size}: rounds", plan.rounds, "rounds"),
        _result(case, f"{size}: rounds of the sample", plan.sample_rounds, "rounds"),
        _result(case, f"{size}: moved", moved_bytes / 1e6, "MB"),
        _result(case, f"{size}: gap once every home follows one price", _gap(real, plan), "share"),
        _result(case, f"{size}: of a feeder's limit, the most that is then exceeded", excess, "share"),
    ]


def rolling(quick: bool) -> list[Result]:
    """Count the rounds of re-solves that all homes answer, a quarter of an hour later each, with new forecasts."""
    count, groups, times = (600, 40, 1) if quick else (20_000, 100, 3)
    homes, terms = instances.homes(count, groups=groups), instances.terms(count)
    sample = 0.5 if quick else 0.2
    plan = _solve(homes, terms, LocalHomes(HomeBatch(homes)), sample_frac=sample)
    first, draw = plan, np.random.default_rng(5)
    rounds, sampled, gaps = [], [], []
    for _ in range(times):
        homes, terms = _later(homes, plan), _terms_later(terms)
        noise = 1.0 + 0.01 * draw.standard_normal(homes.load_kw.shape)
        homes = replace(homes, load_kw=homes.load_kw * noise)
        options = SearchOptions(gap_frac=GAP_FRAC, sample_frac=sample, sample_gap_frac=0.1 * GAP_FRAC)
        search = FleetSearch(
            terms, homes.feeder_of, homes_count=count, options=options, start=plan.memory.later(1)
        )
        plan = solve_fleet(search, LocalHomes(HomeBatch(homes)))
        rounds.append(plan.rounds)
        sampled.append(plan.sample_rounds)
        gaps.append(plan.gap_frac)
    size = f"{count:,} homes, {times} quarter hours later, loads 1 % off"
    of_sample = f"{size}: rounds of a sample of {sample:.0%}"
    return [
        _result("rolling", size, max(rounds), "rounds", peer="cold start", peer_value=first.rounds),
        _result(
            "rolling", of_sample, max(sampled), "rounds", peer="cold start", peer_value=first.sample_rounds
        ),
        _result("rolling", f"{size}: certified gap", max(gaps), "share"),
    ]


def silent(quick: bool) -> list[Result]:
    """Measure what a tenth of the homes costs that answers nothing and does what its own tariff says."""
    count, groups, parts = (400, 10, 20) if quick else (10_000, 50, 20)
    homes, terms = instances.homes(count, groups=groups), instances.terms(count)
    batches = {str(part): HomeBatch(homes.chosen(np.arange(part, count, parts))) for part in range(parts)}
    away = {str(part) for part in range(0, parts, 10)}
    everyone = _over_parts(batches, set(), homes, terms)
    fewer = _over_parts(batches, away, homes, terms)
    none = np.zeros((1, terms.feeder_import_kwh.shape[0], instances.STEPS))
    uncoordinated = _cost_of(batches, terms, homes, lambda batch: batch.answer(none[0]))
    best = _cost_of(batches, terms, homes, lambda batch: _follow(batch, everyone))
    with_silent = sum_costs(
        [
            batches[name].answer(none[0]) if name in away else _follow(batches[name], fewer)
            for name in batches
        ],
        terms,
        homes,
    )
    lost = (with_silent - best) / (uncoordinated - best)
    size = f"{count:,} homes, {len(away) / parts:.0%} silent"
    return [
        _result(
            "silent", f"{size}: value lost", lost, "share", peer="their share", peer_value=len(away) / parts
        ),
        _result("silent", f"{size}: homes heard", fewer.heard_frac, "share", better="higher"),
    ]


def compare(quick: bool) -> list[Result]:
    """Put the central optimum, price dispatch and greedy rules side by side."""
    count, groups = (40, 10) if quick else (400, 40)
    homes, terms = instances.homes(count, groups=groups), instances.terms(count)
    batch = HomeBatch(homes)
    counted = Counted(LocalHomes(batch))
    search = FleetSearch(terms, homes.feeder_of, homes_count=count, options=SearchOptions(gap_frac=GAP_FRAC))
    plan = solve_fleet(search, counted)
    mixed = batch.realise(plan.prices_per_kwh, plan.weights, how="average")
    cost = _realised(terms, homes.feeder_of, mixed)
    central, greedy = solve_central(homes, terms), greedy_cost(homes, terms)
    alone = _realised(terms, homes.feeder_of, batch.answer(np.zeros_like(plan.prices_per_kwh[0])))
    idle = greedy_cost(homes, terms, idle=True)
    size = f"{count:,} homes"
    # Against batteries that do nothing and cars that charge when they come.
    value, names = idle - cost, ("central optimum", "greedy rules", "own tariffs alone")
    values = (idle - central.cost, idle - greedy, idle - alone)
    up_down = central.numbers_count * 8 + count * instances.STEPS * 8 * 2
    return [
        *(
            _result(
                "compare", f"{size}: value", value, "currency", better="higher", peer=peer, peer_value=worth
            )
            for peer, worth in zip(names, values, strict=True)
        ),
        _result(
            "compare",
            f"{size}: moved",
            counted.bytes_count,
            "bytes",
            peer="central optimum",
            peer_value=up_down,
        ),
        _result(
            "compare", f"{size}: rounds", counted.rounds, "rounds", peer="central optimum", peer_value=1.0
        ),
    ]


def _solve(
    homes: HomeColumns, terms: FleetTerms, answerer: LocalHomes, *, sample_frac: float = 1.0
) -> FleetPlan:
    options = SearchOptions(gap_frac=GAP_FRAC, sample_frac=sample_frac, sample_gap_frac=0.3 * GAP_FRAC)
    search = FleetSearch(terms, homes.feeder_of, homes_count=homes.load_row.size, options=options)
    return solve_fleet(search, answerer)


def _warm() -> None:
    """Load the kernels, so that what is timed is the work."""
    homes = instances.homes(20, groups=2)
    HomeBatch(homes).answer(np.zeros((1, instances.STEPS)))


def _kept(plan: FleetPlan, number: int) -> Ask:
    return Ask(number=number + 1, prices_per_kwh=plan.prices_per_kwh, weights=plan.weights)


def _follow(batch: HomeBatch, plan: FleetPlan) -> GroupSums:
    return batch.realise(plan.prices_per_kwh, plan.weights, how="choose")


def _realised(terms: FleetTerms, feeder_of: NDArray[np.int64], sums: GroupSums) -> float:
    feeder_kwh = np.zeros_like(terms.feeder_import_kwh)
    np.add.at(feeder_kwh, feeder_of, sums.energy_kwh)
    return float((sums.cost - sums.penalty).sum()) + terms.cost(feeder_kwh)


def _worst_excess(terms: FleetTerms, feeder_of: NDArray[np.int64], sums: GroupSums) -> float:
    """Return how far any feeder is beyond a limit in any interval, as a share of that limit."""
    feeder_kwh = np.zeros_like(terms.feeder_import_kwh)
    np.add.at(feeder_kwh, feeder_of, sums.energy_kwh)
    most = np.maximum(feeder_kwh / terms.feeder_import_kwh, -feeder_kwh / terms.feeder_export_kwh)
    return max(float(most.max()) - 1.0, 0.0)


def _gap(cost: float, plan: FleetPlan) -> float:
    return max(cost - plan.lower_bound, 0.0) / abs(cost)


def sum_costs(answers: list[GroupSums], terms: FleetTerms, homes: HomeColumns) -> float:
    """Return what the parts and the fleet pay together."""
    total = answers[0]
    for one in answers[1:]:
        total = total.plus(one)
    return _realised(terms, homes.feeder_of, total)


def _cost_of(
    batches: dict[str, HomeBatch],
    terms: FleetTerms,
    homes: HomeColumns,
    does: Callable[[HomeBatch], GroupSums],
) -> float:
    return sum_costs([does(batch) for batch in batches.values()], terms, homes)


def _over_parts(
    batches: dict[str, HomeBatch], away: set[str], homes: HomeColumns, terms: FleetTerms
) -> FleetPlan:
    ledger = PartLedger({name: Part.of(batch) for name, batch in batches.items()}, homes.feeder_of)
    search = FleetSearch(
        terms, homes.feeder_of, homes_count=homes.load_row.size, options=SearchOptions(gap_frac=GAP_FRAC)
    )
    local = {name: LocalHomes(batch) for name, batch in batches.items()}
    while (ask := search.ask) is not None:
        answers = {name: one.sums(ask) for name, one in local.items() if name not in away}
        search.tell(ledger.combine(ask, answers))
    return search.plan()


def _later(homes: HomeColumns, plan: FleetPlan) -> HomeColumns:
    """Return the homes an interval later: what the plan did in the first has happened."""
    count = homes.load_row.size
    done = HomeBatch(homes).plans(plan.prices_per_kwh, plan.weights, how="choose", first=0, count=count)
    storage, first = homes.storage, done.battery_kw[:, 0] * homes.interval_h
    change = np.where(
        first > 0.0, first * storage.charge_efficiency_frac, first / storage.discharge_efficiency_frac
    )
    stored = np.clip(storage.initial_energy_kwh + change, 0.0, storage.energy_capacity_kwh)
    assert homes.ev_start_row is not None and homes.ev_end_row is not None and homes.ev_energy_kwh is not None
    return replace(
        homes,
        storage=replace(storage, initial_energy_kwh=stored),
        load_kw=np.roll(homes.load_kw, -1, axis=1),
        solar_kw=np.roll(homes.solar_kw, -1, axis=1),
        import_per_kwh=np.roll(homes.import_per_kwh, -1, axis=1),
        export_per_kwh=np.roll(homes.export_per_kwh, -1, axis=1),
        ev_start_row=np.maximum(homes.ev_start_row - 1, 0),
        ev_end_row=homes.ev_end_row - 1,
        ev_energy_kwh=np.maximum(homes.ev_energy_kwh - done.ev_kw[:, 0] * homes.interval_h, 0.0),
    )


def _terms_later(terms: FleetTerms) -> FleetTerms:
    wishes = terms.wishes()
    return FleetTerms(
        wholesale_per_kwh=np.roll(wishes.wholesale_per_kwh, -1),
        feeder_import_kwh=wishes.import_kwh,
        feeder_export_kwh=wishes.export_kwh,
        excess_per_kwh=wishes.excess_per_kwh,
        committed_kwh=np.roll(wishes.committed_kwh, -1),
        short_per_kwh=np.roll(wishes.short_per_kwh, -1),
        over_per_kwh=np.roll(wishes.over_per_kwh, -1),
    )


def _result(
    case: str,
    size: str,
    value: float,
    unit: str,
    *,
    better: str = "lower",
    peer: str | None = None,
    peer_value: float | None = None,
) -> Result:
    return Result(
        case=case,
        size=size,
        value=value,
        unit=unit,
        better="higher" if better == "higher" else "lower",
        peer=peer,
        peer_value=peer_value,
    )
