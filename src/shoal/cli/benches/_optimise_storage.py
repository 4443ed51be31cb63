"""The cases of the storage solver: a day, very many batteries, long durations, wasteful prices, and how exact it is.

Every time stands beside that of a peer on the same instances, and every objective is compared: a row says by how much
they differ, and a peer that differs by more than a millionth is not a peer of this problem.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.bench import Result
from shoal.cli.benches._optimise_highs import (
    best_value,
    new_solver,
    pass_programme,
    programme,
    run,
)
from shoal.cli.benches._optimise_instances import (
    Instance,
    day,
    day_prices,
    long_duration,
    random_instance,
    wasteful,
)
from shoal.cli.benches._optimise_peers import PEERS, ask_peer
from shoal.cli.benches._peers import Absent
from shoal.cli.benches._timing import timed
from shoal.optimise.storage import StoragePlan
from shoal.optimise.storage_batch import BatchPlan, StorageBatch, plan_storage_batch
from shoal.optimise.storage_limits import plan_storage_within

_DAYS: Final = 10
_DAYS_OF_PEERS: Final = 3
_REPEATS: Final = 5
_MOST_DEVIATION: Final = 1e-6
_MOST_INEXACT: Final = 1e-9
_SMALLEST: Final = 1e-3
"""Below this value deviations are counted as if it were this, in currency."""
_MEASURED_S: Final = 0.2
"""How long each instance is solved again and again."""


def storage_t96(quick: bool) -> list[Result]:
    """Return the time of a day of quarter hours, a row a peer."""
    return _day_case("storage_t96", 96, quick)


def storage_t288(quick: bool) -> list[Result]:
    """Return the time of a day of five minutes, a row a peer."""
    return _day_case("storage_t288", 288, quick)


def storage_long(quick: bool) -> list[Result]:
    """Return the time of a week of five minutes for a storage of 100 hours."""
    steps, count = (288, 1) if quick else (2016, 3)
    weeks = [long_duration(steps, 100.0, seed) for seed in range(count)]
    own = _measure("storage_long", f"100 h at T={steps}", weeks)
    return [own.beside("highspy", "model passed and solved", *_highs_cold(weeks, exclusive=False))]


def xor(quick: bool) -> list[Result]:
    """Return the time of a day on which a linear programme would charge and discharge at once."""
    rows: list[Result] = []
    for duration_h in (2.0, 0.35):
        days = [wasteful(96, duration_h, seed) for seed in range(2 if quick else _DAYS)]
        nodes = [solve(one).nodes for one in days]
        about = f"T=96 with negative prices, {duration_h:g} h, {min(nodes)} to {max(nodes)} nodes"
        own = _measure("xor", about, days)
        took_s, values = _highs_cold(days, exclusive=True)
        rows.append(own.beside("highs-milp", "model passed and solved to a gap of 0", took_s, values))
    return rows


def storage_batch_100k_t96(quick: bool) -> list[Result]:
    """Return the time of very many batteries in one call, each with its own prices or all with the same."""
    count, steps = 1_000 if quick else 100_000, 96
    rng = np.random.default_rng(96)
    power_kw = rng.uniform(3.0, 8.0, count)
    capacity_kwh = power_kw * rng.choice([1.0, 2.0, 4.0], count)
    batch = StorageBatch(
        charge_limit_kw=power_kw,
        discharge_limit_kw=power_kw * rng.uniform(0.8, 1.0, count),
        charge_efficiency_frac=rng.uniform(0.9, 0.98, count),
        discharge_efficiency_frac=rng.uniform(0.9, 0.98, count),
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=capacity_kwh * rng.random(count),
        throughput_cost_per_mwh=rng.uniform(0.0, 8.0, count),
        terminal_value_per_mwh=rng.uniform(10.0, 50.0, count),
        standing_loss_frac_per_h=np.zeros(count),
    )
    room = BatchPlan.empty(count, steps, with_energy=True)
    shared = day_prices(steps, 0.25, rng)
    own = np.maximum(shared + rng.normal(0.0, 5.0, (count, steps)), 0.5)
    found: list[Result] = []
    for what, prices in (("one series of prices", shared), ("a series of prices each", own)):
        timing = timed(
            partial(_fill, batch, prices),
            ready=lambda: room,
            repeats=1 if quick else 3,
        )
        found.append(
            Result(
                case="storage_batch_100k_t96",
                size=f"{count:,} batteries, T={steps}, {what}; {1e6 * timing.took_s / count:.2f} us each; "
                f"{timing.about_ms()}",
                value=timing.took_s,
                unit="s",
                better="lower",
            )
        )
    return found


def _fill(batch: StorageBatch, prices: NDArray[np.float64], room: BatchPlan) -> BatchPlan:
    return plan_storage_batch(batch, prices, 0.25, into=room)


def exactness(quick: bool) -> list[Result]:
    """Return the greatest deviation from HiGHS over random instances with every kind of limit.

    Raises:
        RuntimeError: an instance that one finds solvable and the other does not, a plan not proven, or a deviation that
            is more than rounding.
    """
    count = 100 if quick else 3_000
    rng = np.random.default_rng(2026)
    worst, infeasible, budgeted, branched = 0.0, 0, 0, 0
    for number in range(count):
        instance = random_instance(rng, int(rng.choice([1, 2, 5, 12, 16, 24])))
        answer = plan_storage_within(
            instance.storage,
            instance.price_per_mwh,
            instance.interval_h,
            instance.limits,
            terminal=instance.terminal,
        )
        expected = best_value(instance)
        if isinstance(answer, StoragePlan) != (expected is not None):
            raise RuntimeError(f"instance {number}: HiGHS says {expected}, Shoal says {answer}")
        if expected is None or not isinstance(answer, StoragePlan):
            infeasible += 1
            continue
        budgeted += bool(instance.limits.budgets)
        branched += answer.nodes > 1
        worst = max(worst, deviation(answer.value, expected))
        if worst > _MOST_INEXACT or not answer.exact:
            raise RuntimeError(
                f"instance {number}: HiGHS finds {expected}, Shoal {answer.value} (exact: {answer.exact})"
            )
    return [
        Result(
            case="exactness",
            size=f"{count:,} random instances of 1 to 24 intervals with targets, wishes, losses, depth costs: {budgeted} "
            f"with budgets, {branched} branched on, {infeasible} that cannot be kept, found so by both; greatest deviation",
            value=worst,
            unit="of the value",
            better="lower",
        )
    ]


def solve(instance: Instance) -> StoragePlan:
    """Return the plan of an instance whose limits can be kept.

    Raises:
        RuntimeError: they cannot.
    """
    plan = plan_storage_within(
        instance.storage,
        instance.price_per_mwh,
        instance.interval_h,
        instance.limits,
        terminal=instance.terminal,
    )
    if not isinstance(plan, StoragePlan):
        raise RuntimeError(f"an instance of the benchmark cannot be solved: {plan}")
    return plan


def deviation(value: float, expected: float) -> float:
    """Return how far a value is from another, as a share of it."""
    return abs(value - expected) / max(abs(expected), _SMALLEST)


def own_time_s(instance: Instance) -> float:
    """Return how long one call of `plan_storage_within` takes: the median over many calls."""
    solve(instance)
    taken: list[float] = []
    end_s = time.perf_counter() + _MEASURED_S
    while time.perf_counter() < end_s or len(taken) < 5:
        began_s = time.perf_counter()
        solve(instance)
        taken.append(time.perf_counter() - began_s)
    return statistics.median(taken)


def _day_case(case: str, steps: int, quick: bool) -> list[Result]:
    days = [day(steps, seed) for seed in range(2 if quick else _DAYS)]
    own = _measure(case, f"T={steps}, the day ends as it began", days)
    rows = [
        own.beside("highspy", "model passed and solved", *_highs_cold(days, exclusive=False)),
        own.beside("highspy-warm", "from the basis of near prices", *_highs_warm(days)),
    ]
    for peer in PEERS:
        answers = ask_peer(peer, days[:_DAYS_OF_PEERS], install=not quick)
        about = f"{peer.label}: {peer.about}"
        if isinstance(answers, Absent):
            rows.append(own.alone(peer.module, f"{about}; absent: {answers.reason}"))
            continue
        took_s, values = answers.took_s.tolist(), answers.values.tolist()
        if own.worst(values) > _MOST_DEVIATION:
            rows.append(
                own.alone(peer.module, f"{about}; absent: its objective differs by {own.worst(values):.2g}")
            )
        else:
            rows.append(own.beside(peer.module, about, took_s, values))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """What Shoal measured on some instances: once, however many peers stand beside it."""

    case: str
    about: str
    values: list[float]
    took_us: float

    def beside(self, peer: str, about: str, peer_s: Sequence[float], peer_values: Sequence[float]) -> Result:
        """Return a row of the median times; objectives that differ are no comparison.

        Raises:
            RuntimeError: the peer's objective is another one.
        """
        worst = self.worst(peer_values)
        if worst > _MOST_DEVIATION:
            raise RuntimeError(f"{self.case}: the objective of {peer} differs by {worst:.3g} of its value")
        return Result(
            case=self.case,
            size=f"{self.about}; {about}; median of {len(peer_s)} instances, objectives differ by at most {worst:.1g}",
            value=self.took_us,
            unit="us",
            better="lower",
            peer=peer,
            peer_value=1e6 * statistics.median(peer_s),
        )

    def alone(self, peer: str, about: str) -> Result:
        """Return a row of a peer that did not take part."""
        size = f"{self.about}; {about}"
        return Result(case=self.case, size=size, value=self.took_us, unit="us", better="lower", peer=peer)

    def worst(self, peer_values: Sequence[float]) -> float:
        """Return the greatest deviation of a peer that solved the first of the instances."""
        return max(map(deviation, peer_values, self.values))


def _measure(case: str, about: str, instances: Sequence[Instance]) -> _Own:
    return _Own(
        case=case,
        about=about,
        values=[solve(one).value for one in instances],
        took_us=1e6 * statistics.median(own_time_s(one) for one in instances),
    )


def _highs_cold(instances: Sequence[Instance], *, exclusive: bool) -> tuple[list[float], list[float]]:
    """Solve each with a new solver; the arrays of the programme are made before the clock starts."""
    took_s, values = [], []
    for instance in instances:
        asked = programme(instance, exclusive=exclusive)
        each_s, value = [], None
        for _ in range(1 if exclusive else _REPEATS):
            began_s = time.perf_counter()
            highs = new_solver()
            pass_programme(highs, asked)
            value = run(highs)
            each_s.append(time.perf_counter() - began_s)
        took_s.append(statistics.median(each_s))
        values.append(_known(value))
    return took_s, values


def _highs_warm(instances: Sequence[Instance]) -> tuple[list[float], list[float]]:
    """Solve each from the basis of the same battery at prices a little different: what a rolling plan would do."""
    took_s, values = [], []
    rng = np.random.default_rng(7)
    for instance in instances:
        asked = programme(instance, exclusive=False)
        highs = new_solver()
        pass_programme(highs, asked)
        columns = np.arange(asked.cost.size, dtype=np.int32)
        each_s, value = [], None
        for _ in range(_REPEATS):
            near = asked.cost + rng.normal(0.0, 2e-3, asked.cost.size) * (asked.cost != 0.0)
            highs.changeColsCost(columns.size, columns, near)
            run(highs)
            began_s = time.perf_counter()
            highs.changeColsCost(columns.size, columns, asked.cost)
            value = run(highs)
            each_s.append(time.perf_counter() - began_s)
        took_s.append(statistics.median(each_s))
        values.append(_known(value))
    return took_s, values


def _known(value: float | None) -> float:
    if value is None:
        raise RuntimeError("HiGHS finds no solution of an instance of the benchmark")
    return value


CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {
    "storage_t96": storage_t96,
    "storage_t288": storage_t288,
    "storage_batch_100k_t96": storage_batch_100k_t96,
    "storage_long": storage_long,
    "xor": xor,
    "exactness": exactness,
}
