"""The case `scenario_s200_as` of `shoal bench optimise`: energy and reserve over 200 scenarios of prices, with risk.

The peer is HiGHS on the whole linear programme, written here once more from the inputs and in plain rows; its optimum
must lie between the value and the bound that Shoal proves, or the run fails.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import highspy
import numpy as np
from numpy.typing import NDArray

from shoal.cli.bench import Result
from shoal.cli.benches._timing import timed
from shoal.domain.errors import CorruptStateError
from shoal.optimise.scenario import plan_scenarios, price_grid
from shoal.optimise.scenario_inputs import PriceScenarios, ReserveProduct, Risk, ScenarioPlan
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
CASE: Final = "scenario_s200_as"
PRODUCTS: Final = (
    ReserveProduct(name="regulation up", direction="up", duration_h=0.5, call_frac=0.15),
    ReserveProduct(name="regulation down", direction="down", duration_h=0.5, call_frac=0.15),
    ReserveProduct(name="responsive", direction="up", duration_h=0.5, call_frac=0.005),
    ReserveProduct(name="contingency", direction="up", duration_h=1.0, call_frac=0.01),
    ReserveProduct(name="non-spinning", direction="up", duration_h=4.0, call_frac=0.005),
)
BATTERY: Final = Storage(
    charge_limit_kw=100_000.0,
    discharge_limit_kw=100_000.0,
    charge_efficiency_frac=0.93,
    discharge_efficiency_frac=0.93,
    energy_capacity_kwh=200_000.0,
    initial_energy_kwh=100_000.0,
    throughput_cost_per_mwh=8.0,
    terminal_value_per_mwh=30.0,
)
RISK: Final = Risk(level=0.9, weight=0.3)
_BUCKETS: Final = 8
_GAP_FRAC: Final = 1e-4
_SLACK_FRAC: Final = 1e-6
_TIME_LIMIT_S: Final = 120.0
# HiGHS as it comes, and as it is quickest here.
_METHODS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("highspy", {"solver": "choose"}),
    ("highspy-ipm", {"solver": "ipm"}),
)


def sample_scenarios(
    count: int, steps: int, products: tuple[ReserveProduct, ...], seed: int
) -> PriceScenarios:
    """Return scenarios of a day with two peaks, rare spikes, and reserve that is dear when energy is."""
    draw = np.random.default_rng(seed)
    hour = np.arange(steps) * 24.0 / steps
    shape = 45.0 - 18.0 * np.exp(-((hour - 13.0) ** 2) / 10.0) + 55.0 * np.exp(-((hour - 19.0) ** 2) / 5.0)
    wander = np.cumsum(draw.normal(0.0, 4.0, (count, steps)), axis=1) + draw.normal(0.0, 8.0, (count, 1))
    ahead = np.maximum(shape + wander, -20.0)
    spike = (draw.random((count, steps)) < 0.03) * draw.exponential(400.0, (count, steps))
    usual = [9.0 if p.direction == "up" else 6.0 for p in products]
    reserve = np.abs(draw.normal(usual, 2.5, (count, steps, len(products))))
    reserve *= np.linspace(1.0, 0.5, max(len(products), 1))[: len(products)]
    reserve += 0.05 * np.maximum(ahead - 40.0, 0.0)[:, :, None]
    return PriceScenarios(
        real_time_per_mwh=ahead + draw.normal(0.0, 12.0, (count, steps)) + spike,
        day_ahead_per_mwh=ahead,
        reserve_per_mw=reserve,
    )


def run(quick: bool) -> list[Result]:
    """Measure the whole solution, beside HiGHS on the same inputs, and compare the objectives.

    Raises:
        CorruptStateError: The optimum of HiGHS is not between the value and the bound.
    """
    count = 20 if quick else 200
    scenarios = sample_scenarios(count, 24, PRODUCTS, seed=7)
    assert scenarios.day_ahead_per_mwh is not None
    grid = price_grid(scenarios.day_ahead_per_mwh, _BUCKETS)
    plans: list[ScenarioPlan] = []

    def job(inputs: PriceScenarios) -> None:
        plans.append(
            plan_scenarios(
                BATTERY,
                inputs,
                1.0,
                products=PRODUCTS,
                risk=RISK,
                day_ahead_grid_per_mwh=grid,
                gap_frac=_GAP_FRAC,
            )
        )

    timing = timed(job, ready=lambda: scenarios, repeats=3 if quick else 7)
    plan = plans[-1]
    results = []
    for name, options in _METHODS[: 1 if quick else None]:
        whole = whole_programme(BATTERY, scenarios, 1.0, PRODUCTS, RISK, grid, options=options)
        slack = _SLACK_FRAC * abs(plan.value)
        if not plan.value - slack <= whole.value <= plan.value_bound + slack:
            found = f"{whole.value} is not between {plan.value} and {plan.value_bound}"
            raise CorruptStateError("the scenario programme", found)
        size = (
            f"{count} scenarios, 24 h, {len(PRODUCTS)} reserves, CVaR; gap {plan.gap_frac:.1e}, "
            f"{timing.about_ms()}; value {plan.value:.0f}, {name} {whole.value:.0f}"
        )
        results.append(
            Result(
                case=CASE,
                size=size,
                value=1e3 * timing.took_s,
                unit="ms",
                better="lower",
                peer=name,
                peer_value=1e3 * whole.took_s,
            )
        )
    return results


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whole:
    """What HiGHS found of the whole programme.

    Attributes:
        value: The optimum, in currency.
        reserve_kw: Reserve, shape (T, P).
        took_s: Time of its run, the passing of the model included.
    """

    value: float
    reserve_kw: Floats
    took_s: float


class _Rows:
    """Rows of a linear programme, gathered in blocks."""

    def __init__(self) -> None:
        self.count = 0
        self._rows: list[NDArray[np.int64]] = []
        self._columns: list[NDArray[np.int64]] = []
        self._entries: list[Floats] = []
        self._low: list[Floats] = []
        self._high: list[Floats] = []

    def add(
        self, low: float | Floats, high: float | Floats, *terms: tuple[NDArray[np.int64], object]
    ) -> None:
        """Add one row for each entry of the (broadcast) columns of the terms."""
        shape = np.broadcast_shapes(*(columns.shape for columns, _ in terms))
        size = int(np.prod(shape))
        rows = self.count + np.arange(size)
        for columns, entries in terms:
            self._rows.append(rows)
            self._columns.append(np.broadcast_to(columns, shape).ravel())
            self._entries.append(np.broadcast_to(np.asarray(entries, dtype=np.float64), shape).ravel())
        self._low.append(np.broadcast_to(low, shape).ravel())
        self._high.append(np.broadcast_to(high, shape).ravel())
        self.count += size

    def model(self, cost: Floats, lower: Floats, upper: Floats) -> highspy.HighsLp:
        """Return the model, row by row."""
        rows, columns = np.concatenate(self._rows), np.concatenate(self._columns)
        order = np.argsort(rows, kind="stable")
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = cost.size, self.count
        model.col_cost_, model.col_lower_, model.col_upper_ = cost, lower, upper
        model.row_lower_, model.row_upper_ = np.concatenate(self._low), np.concatenate(self._high)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=self.count))])
        model.a_matrix_.start_ = starts.astype(np.int32)
        model.a_matrix_.index_ = columns[order].astype(np.int32)
        model.a_matrix_.value_ = np.concatenate(self._entries)[order]
        return model


def whole_programme(
    storage: Storage,
    scenarios: PriceScenarios,
    interval_h: float,
    products: tuple[ReserveProduct, ...],
    risk: Risk,
    grid_per_mwh: Floats | None,
    *,
    options: Mapping[str, str] | None = None,
) -> Whole:
    """Return the optimum of the linear programme over all scenarios at once, by HiGHS.

    Raises:
        CorruptStateError: HiGHS does not reach an optimum in time.
    """
    s, h, rt = storage, interval_h, scenarios.real_time_per_mwh
    count, steps = rt.shape
    infinite = highspy.kHighsInf
    up_mw, down_mw = s.charge_limit_kw / 1e3, s.discharge_limit_kw / 1e3
    capacity, start = s.energy_capacity_kwh / 1e3, s.initial_energy_kwh / 1e3
    eta_in, eta_out = s.charge_efficiency_frac, s.discharge_efficiency_frac
    buckets = 0 if grid_per_mwh is None else grid_per_mwh.shape[1] + 1
    place = 0

    def columns(*shape: int) -> NDArray[np.int64]:
        nonlocal place
        size = int(np.prod(shape))
        place += size
        return np.arange(place - size, place).reshape(shape)

    reserve, sold = columns(steps, len(products)), columns(steps, buckets)
    up, down, need, room = columns(steps), columns(steps), columns(steps), columns(steps)
    drawn, given, stored = columns(count, steps), columns(count, steps), columns(count, steps)
    tail = columns(1)
    short, profit = columns(count), columns(count)
    lower, upper, cost = np.zeros(place), np.full(place, infinite), np.zeros(place)
    upper[drawn], upper[given], upper[stored] = up_mw, down_mw, capacity
    lower[sold], upper[sold] = -up_mw, down_mw
    lower[tail], lower[profit] = -infinite, -infinite
    rows, t = _Rows(), np.arange(steps)
    signs = [1.0 if p.direction == "up" else -1.0 for p in products]
    per_mw = [1.0 / eta_out if p.direction == "up" else eta_in for p in products]
    for k, product in enumerate(products):
        if product.limit_kw is not None:
            upper[reserve[:, k]] = min(product.limit_kw / 1e3, up_mw + down_mw)
    for sign, held, backing, available in ((1.0, up, need, start), (-1.0, down, room, capacity - start)):
        those = [k for k in range(len(products)) if signs[k] == sign]
        rows.add(0.0, 0.0, (held, -1.0), *((reserve[:, k], 1.0) for k in those))
        backed = [(k, products[k].duration_h * per_mw[k]) for k in those]
        rows.add(-infinite, 0.0, (backing, -1.0), *((reserve[:, k], w) for k, w in backed))
        rows.add(-infinite, 0.0, (backing[:-1], -1.0), *((reserve[1:, k], w) for k, w in backed))
        if those:
            rows.add(-infinite, available, *((reserve[:1, k], w) for k, w in backed))
    shifts = [(k, signs[k] * h * p.call_frac * per_mw[k]) for k, p in enumerate(products)]
    first = np.where(t == 0, start, 0.0)
    rows.add(first[:1], first[:1], (stored[:, :1], 1.0), (drawn[:, :1], -eta_in * h), (given[:, :1], h / eta_out),
             *((reserve[None, :1, k], w) for k, w in shifts))  # fmt: skip
    if steps > 1:
        rows.add(0.0, 0.0, (stored[:, 1:], 1.0), (stored[:, :-1], -1.0), (drawn[:, 1:], -eta_in * h),
                 (given[:, 1:], h / eta_out), *((reserve[None, 1:, k], w) for k, w in shifts))  # fmt: skip
    rows.add(-infinite, down_mw, (given, 1.0), (drawn, -1.0), (up[None], 1.0))
    rows.add(-infinite, up_mw, (drawn, 1.0), (given, -1.0), (down[None], 1.0))
    rows.add(0.0, infinite, (stored, 1.0), (need[None], -1.0))
    rows.add(-infinite, capacity, (stored, 1.0), (room[None], 1.0))
    most_mw = [min(up_mw + down_mw, np.inf if p.limit_kw is None else p.limit_kw / 1e3) for p in products]
    moved = capacity + sum(abs(w) * most_mw[k] for k, w in shifts)
    most_drawn, most_given = min(up_mw, moved / (eta_in * h)), min(down_mw, moved * eta_out / h)
    rows.add(-infinite, 1.0, (drawn, 1.0 / most_drawn), (given, 1.0 / most_given))
    if buckets:
        rows.add(0.0, infinite, (sold[:, 1:], 1.0), (sold[:, :-1], -1.0))
        rows.add(-infinite, down_mw, (sold[:, -1], 1.0), (up, 1.0))
        rows.add(-infinite, up_mw, (sold[:, 0], -1.0), (down, 1.0))
    wear = s.throughput_cost_per_mwh
    terms: list[tuple[NDArray[np.int64], object]] = [(profit[:, None], 1.0)]
    terms += [(drawn[:, i : i + 1], h * rt[:, i : i + 1]) for i in range(steps)]
    terms += [(given[:, i : i + 1], h * (wear - rt[:, i : i + 1])) for i in range(steps)]
    terms.append((stored[:, -1:], -s.terminal_value_per_mwh))
    for k, product in enumerate(products):
        assert scenarios.reserve_per_mw is not None
        called = product.call_frac * (rt - wear if signs[k] > 0 else -rt)
        paid = h * (scenarios.reserve_per_mw[:, :, k] + called)
        terms += [(reserve[None, i : i + 1, k], -paid[:, i : i + 1]) for i in range(steps)]
    if grid_per_mwh is not None and scenarios.day_ahead_per_mwh is not None:
        ahead = scenarios.day_ahead_per_mwh
        for i in range(steps):
            bucket = np.searchsorted(grid_per_mwh[i], ahead[:, i], side="right")
            terms.append((sold[i, bucket][:, None], -h * (ahead[:, i] - rt[:, i])[:, None]))
    rows.add(0.0, 0.0, *terms)
    probability = scenarios.probability()
    cost[profit] = -(1.0 - risk.weight) * probability
    if risk.weight > 0.0:
        cost[tail] = -risk.weight
        cost[short] = risk.weight / (1.0 - risk.level) * probability
        rows.add(0.0, infinite, (short, 1.0), (profit, 1.0), (tail, -1.0))
    else:
        lower[tail], upper[tail] = 0.0, 0.0
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", _TIME_LIMIT_S)
    for name, value in (options or {}).items():
        solver.setOptionValue(name, value)
    model = rows.model(cost, lower, upper)
    began_s = time.perf_counter()
    solver.passModel(model)
    solver.run()
    took_s = time.perf_counter() - began_s
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise CorruptStateError("the whole scenario programme", f"HiGHS says {solver.getModelStatus()}")
    solution = np.array(solver.getSolution().col_value)
    return Whole(
        value=float(-solver.getInfo().objective_function_value),
        reserve_kw=1e3 * solution[reserve],
        took_s=took_s,
    )
