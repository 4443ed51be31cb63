"""The prices at which the homes of a fleet, each at its own optimum, together keep feeder limits and commitments.

Only prices go down and only sums of groups come up: a master programme mixes what groups were found to do (Dantzig and Wolfe),
its duals are the next prices, held near the best so far. Every round of prices gives a bound that no dispatch can go below, so
the gap of the mixture is certified. The search does no I/O: whoever drives it carries asks to the homes, wherever they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._fleet_master import Duals, Wishes
from shoal.optimise._fleet_pool import FleetMemory, Pool, Round, within
from shoal.optimise._inputs import column, number
from shoal.optimise.home_batch import GroupSums, Mixing

Floats = NDArray[np.float64]

_HOLD, _MOST_HOLD = 0.3, 0.9
"""How near to the best prices so far the next ones are asked: as a share of the way back from the master's."""

_START_FRAC, _NEAR_FRAC, _LEAST_FRAC = 0.015, 0.004, 0.0005
"""How far the next prices may be from the best ones, as a share of what breaking a limit costs: at first, at first from
prices that are known, and at the least. What breaking a limit costs is, as a rule, far above what the limit is worth."""

_GOOD_FRAC, _BAD_FRAC = 0.3, -0.5
"""The bound's gain, as a share of what the master saw in a step, above which steps may be longer, and below which shorter."""

_TURNS = 8
"""Rounds in which a search with a model takes turns between its mixture and its prices."""

_FEW_HOMES = 5_000
"""Up to so many homes each keeps to the mean of its plans: what one price each does would depend on single homes."""

_MOST_REMEMBERED = 160
"""Rounds that the next search is given as its model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetTerms:
    """What the fleet as a whole pays for, over T intervals and F feeders; energies are those of one interval.

    Attributes:
        wholesale_per_kwh: Price of the fleet's net import, shape (T,).
        feeder_import_kwh: The most that each feeder may draw, >= 0, infinite for no limit, shape (F, T).
        feeder_export_kwh: The most that each feeder may deliver, >= 0, infinite for no limit, shape (F, T).
        excess_per_kwh: What a kWh beyond a feeder's limit costs, > 0: high enough to hold wherever it can be held.
        committed_kwh: Net import of the whole fleet that was committed, shape (T,); negative is an export. None for none.
        short_per_kwh: What a kWh drawn beyond it costs, >= 0, shape (T,); 0 where nothing was committed.
        over_per_kwh: What a kWh drawn less than it costs, >= 0, shape (T,); None for 0.

    Raises:
        InvalidInputError: a field has the wrong shape, is not finite or out of its range.
    """

    wholesale_per_kwh: Floats
    feeder_import_kwh: Floats
    feeder_export_kwh: Floats
    excess_per_kwh: float
    committed_kwh: Floats | None = None
    short_per_kwh: Floats | None = None
    over_per_kwh: Floats | None = None

    def __post_init__(self) -> None:
        price = column("wholesale_per_kwh", self.wholesale_per_kwh)
        number("excess_per_kwh", self.excess_per_kwh, above=0.0)
        for name in ("feeder_import_kwh", "feeder_export_kwh"):
            limit = np.array(getattr(self, name), np.float64, ndmin=2)
            if limit.shape != (len(limit), price.size) or not (limit >= 0.0).all() or not len(limit):
                raise InvalidInputError(
                    field=name,
                    value=f"shape {limit.shape}",
                    fix=f"give limits of {price.size} intervals, at least 0",
                )
            object.__setattr__(self, name, limit)
        if self.feeder_import_kwh.shape != self.feeder_export_kwh.shape:
            raise InvalidInputError(
                field="feeder_export_kwh",
                value=f"shape {self.feeder_export_kwh.shape}",
                fix=f"give the shape {self.feeder_import_kwh.shape} of the import limits",
            )
        for name, low in (("committed_kwh", None), ("short_per_kwh", 0.0), ("over_per_kwh", 0.0)):
            given = getattr(self, name)
            values = (
                np.zeros(price.size) if given is None else column(name, given, length=price.size, low=low)
            )
            object.__setattr__(self, name, values)
        object.__setattr__(self, "wholesale_per_kwh", price)

    def wishes(self) -> Wishes:
        """Return them as the master takes them."""
        assert (
            self.committed_kwh is not None
            and self.short_per_kwh is not None
            and self.over_per_kwh is not None
        )
        return Wishes(
            wholesale_per_kwh=self.wholesale_per_kwh,
            committed_kwh=self.committed_kwh,
            short_per_kwh=self.short_per_kwh,
            over_per_kwh=self.over_per_kwh,
            import_kwh=self.feeder_import_kwh,
            export_kwh=self.feeder_export_kwh,
            excess_per_kwh=self.excess_per_kwh,
        )

    def cost(self, feeder_kwh: Floats) -> float:
        """Return what the fleet as a whole pays where its feeders draw this, shape (F, T), in currency."""
        wishes = self.wishes()
        total = feeder_kwh.sum(axis=0)
        away = total - wishes.committed_kwh
        excess = np.maximum(feeder_kwh - wishes.import_kwh, 0.0) + np.maximum(
            -wishes.export_kwh - feeder_kwh, 0.0
        )
        return float(
            wishes.wholesale_per_kwh @ total
            + wishes.short_per_kwh @ np.maximum(away, 0.0)
            + wishes.over_per_kwh @ np.maximum(-away, 0.0)
            + wishes.excess_per_kwh * excess.sum()
        )

    def prices(self, duals: Duals) -> Floats:
        """Return the price that the homes of each feeder answer, shape (F, T)."""
        local = duals.import_per_kwh - duals.export_per_kwh
        return np.asarray(self.wholesale_per_kwh + duals.commitment_per_kwh + local)

    def least(self, duals: Duals) -> float:
        """Return the least that the terms can cost at these duals, less what the prices pay for, in currency."""
        wishes = self.wishes()
        bound = -float(duals.commitment_per_kwh @ wishes.committed_kwh)
        for price, limit in (
            (duals.import_per_kwh, wishes.import_kwh),
            (duals.export_per_kwh, wishes.export_kwh),
        ):
            bound -= float((price * np.where(np.isfinite(limit), limit, 0.0)).sum())
        return bound


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ask:
    """What goes down in a round: one message, the same for all.

    Attributes:
        number: Which round.
        prices_per_kwh: Rows of prices of each feeder, shape (R, F, T); one row as a rule.
        weights: The share of each row in each group, shape (G, R).
        how: What homes make of several rows.
        sample_frac: The share of the homes that shall answer for all of their group.
    """

    number: int
    prices_per_kwh: Floats
    weights: Floats
    how: Mixing = "choose"
    sample_frac: float = 1.0

    @property
    def nbytes(self) -> int:
        """How many bytes of numbers go down."""
        return int(self.prices_per_kwh.nbytes + self.weights.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What comes up in a round.

    Attributes:
        sums: What the groups do, with what stands in for those who did not answer.
        answered_frac: The share of the homes that answered this round.
        heard_frac: The share that has answered any round of this search.
    """

    sums: GroupSums
    answered_frac: float = 1.0
    heard_frac: float = 1.0


class Answerer(Protocol):
    """Homes, wherever they are: in this process, in others, or behind a network."""

    def answer(self, ask: Ask) -> Answer:
        """Return what the homes do at the prices asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetPlan:
    """Prices for a fleet and the mixture that realises them.

    Attributes:
        prices_per_kwh: Rows of prices that homes were asked, those with a share, shape (R, F, T).
        weights: The share of each row in each group's mixture, shape (G, R).
        duals: The prices of the wishes at the best bound.
        cost: What the mixture costs: homes' own costs and the fleet's terms, in currency, without `penalty`.
        lower_bound: What no dispatch can cost less, in currency, without `penalty`.
        penalty: What wishes of homes that cannot be met were charged inside the search; 0 as a rule.
        feeder_kwh: What each feeder draws under the mixture, shape (F, T).
        rounds: Rounds that all homes answered.
        sample_rounds: Rounds that only a sample answered.
        answered_frac: The smallest share of homes that answered any round.
        heard_frac: The share of homes that answered at all; the gap speaks of these, with the others as they are.
        history_frac: The gap after each round.
        memory: What a later search can start from.
    """

    prices_per_kwh: Floats
    weights: Floats
    duals: Duals
    cost: float
    lower_bound: float
    penalty: float
    feeder_kwh: Floats
    rounds: int
    sample_rounds: int
    answered_frac: float
    heard_frac: float
    history_frac: tuple[float, ...] = field(repr=False)
    memory: FleetMemory = field(repr=False)

    @property
    def gap_frac(self) -> float:
        """How far the mixture can be from the best, as a share of its cost."""
        return max(self.cost - self.lower_bound, 0.0) / max(abs(self.cost), 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """When a search ends and how it begins.

    Attributes:
        gap_frac: The certified gap at which it ends.
        most_rounds: Rounds after which it ends anyway; the gap then says what is left.
        sample_frac: The share of homes that answers the first rounds; 1 for no sample.
        sample_gap_frac: The gap at which the sample is left.
        most_sample_rounds: Rounds after which it is left anyway.
    """

    gap_frac: float = 1e-4
    most_rounds: int = 100
    sample_frac: float = 1.0
    sample_gap_frac: float = 1e-4
    most_sample_rounds: int = 100

    def __post_init__(self) -> None:
        number("gap_frac", self.gap_frac, above=0.0)
        number("most_rounds", self.most_rounds, low=1)
        number("sample_frac", self.sample_frac, above=0.0, high=1.0)


class FleetSearch:
    """The search for prices as a machine: it asks, is told, and at any time has a plan.

    Without a model it is plain column generation. With one (what a sample of the homes, or the last search, was found to do)
    it asks in turns for the model's mixture, all homes at once, and for its prices: the first gives a plan and tells what the
    model has wrong, the second a bound, and after a few turns they meet.

    Args:
        terms: What the fleet as a whole pays for.
        feeder_of: The feeder of each group, shape (G,).
        homes_count: How many homes there are; only scales the programme.
        options: When it ends.
        start: The memory of the last search, shifted to the present. Its duals are where a sample begins; without a
            sample, its rounds are the model, or where it has none, its duals are what is asked first.
    """

    def __init__(
        self,
        terms: FleetTerms,
        feeder_of: NDArray[np.int64],
        *,
        homes_count: int,
        options: SearchOptions | None = None,
        start: FleetMemory | None = None,
    ) -> None:
        self.terms, self._feeder_of = terms, feeder_of
        self._options = SearchOptions() if options is None else options
        self._scale = float(max(homes_count, 1))
        self._sampling = self._options.sample_frac < 1.0
        self._pool = Pool(terms.wishes(), feeder_of, scale=self._scale)
        self._model: Pool | None = None
        self._sample_rounds, self._answered_frac, self._heard_frac = 0, 1.0, 1.0
        self._history: list[float] = []
        self._bound, self._upper, self._hold = -inf, inf, 1.0
        self._radius_per_kwh, self._hoped = _START_FRAC * terms.excess_per_kwh, inf
        feeders, steps = terms.feeder_import_kwh.shape
        self._best = Duals(
            commitment_per_kwh=np.zeros(steps),
            import_per_kwh=np.zeros((feeders, steps)),
            export_per_kwh=np.zeros((feeders, steps)),
        )
        self._next: tuple[Floats, Floats, Duals | None] | None
        if start is not None:
            self._best = within(start.duals, terms.wishes())
            self._radius_per_kwh = _NEAR_FRAC * terms.excess_per_kwh
        if start is None or self._sampling or not start.rounds:
            self._ask_prices(self._best)
        else:
            self._model = Pool(terms.wishes(), feeder_of, scale=self._scale)
            for one in start.rounds:
                self._model.add(one)
            self._turn_to_model()

    @property
    def ask(self) -> Ask | None:
        """What to ask the homes next; None when the search is over."""
        if self._next is None:
            return None
        prices, weights, duals = self._next
        return Ask(
            number=self._sample_rounds + (0 if self._sampling else self._pool.size),
            prices_per_kwh=prices,
            weights=weights,
            how="average" if duals is None and self._scale <= _FEW_HOMES else "choose",
            sample_frac=self._options.sample_frac if self._sampling else 1.0,
        )

    def tell(self, answer: Answer) -> None:
        """Take the homes' answer to the last ask.

        Raises:
            InvalidInputError: nothing was asked.
        """
        if self._next is None:
            raise InvalidInputError(field="answer", value="one more", fix="the search is over")
        prices, weights, duals = self._next
        self._answered_frac = min(self._answered_frac, answer.answered_frac)
        self._heard_frac = answer.heard_frac
        sums, improved = answer.sums, False
        if duals is not None:
            bound = float(sums.lower_bound.sum()) + self.terms.least(duals)
            improved = bound > self._bound
            self._adapt(bound)
            if improved:
                self._bound, self._best = bound, duals
        told = Round(
            prices_per_kwh=prices,
            weights=weights,
            energy_kwh=sums.energy_kwh,
            cost=sums.cost,
            penalty=sums.penalty,
        )
        self._pool.add(told)
        if self._model is None:
            self._hoped, found = self._pool.solve_near(self._best, self._radius_per_kwh)
            self._upper = min(self._upper, self._mixture_cost())
        else:
            self._upper, found = self._pool.solve()
        gap = self._gap(float(sums.penalty.sum()))
        self._history.append(gap)
        if self._sampling:
            self._sample_rounds += 1
            if (
                gap <= self._options.sample_gap_frac
                or self._sample_rounds >= self._options.most_sample_rounds
            ):
                self._leave_sample()
                return
        elif gap <= self._options.gap_frac or self._pool.size >= self._options.most_rounds:
            self._next = None
            return
        if self._model is None:
            self._ask_prices(found.toward(self._best, _HOLD))
        else:
            if duals is None:
                self._model.correct(told)
            else:
                self._hold = max(_HOLD, self._hold - 0.2) if improved else min(_MOST_HOLD, self._hold + 0.2)
                self._model.add_corrected(told)
            likely, found = self._model.solve()
            # In turns at first; later whichever of plan and bound is likely the further from the optimum is mended.
            plan_lags = self._pool.size < _TURNS or self._upper - likely > likely - self._bound
            if duals is not None and plan_lags:
                self._turn_to_model()
            else:
                self._ask_prices(found.toward(self._best, self._hold))

    def _adapt(self, bound: float) -> None:
        """Let the next prices be further from the best ones when the master foresaw the bound well, and nearer when not."""
        if self._model is not None or not isfinite(self._bound) or not isfinite(self._hoped):
            return
        gained = (bound - self._bound) / max(self._hoped - self._bound, 1e-12 * self._scale)
        if gained > _GOOD_FRAC:
            self._radius_per_kwh = min(2.0 * self._radius_per_kwh, 2.0 * self.terms.excess_per_kwh)
        elif gained < _BAD_FRAC:
            self._radius_per_kwh = max(0.5 * self._radius_per_kwh, _LEAST_FRAC * self.terms.excess_per_kwh)

    def _mixture_cost(self) -> float:
        energy_kwh, cost, _ = self._pool.totals()
        feeder_kwh = np.zeros_like(self.terms.feeder_import_kwh)
        np.add.at(feeder_kwh, self._feeder_of, energy_kwh)
        return float(cost.sum()) + self.terms.cost(feeder_kwh)

    def _ask_prices(self, duals: Duals) -> None:
        ones = np.ones((self._feeder_of.size, 1))
        self._next = (self.terms.prices(duals)[np.newaxis], ones, duals)

    def _turn_to_model(self) -> None:
        """Ask for the model's mixture, all homes at once."""
        assert self._model is not None
        self._model.solve()
        self._next = (*self._model.mixture(), None)

    def _gap(self, penalty: float) -> float:
        return max(self._upper - self._bound, 0.0) / max(abs(self._upper - penalty), 1e-9)

    def _leave_sample(self) -> None:
        """Turn to all homes; what the sample was found to do is the model."""
        self._sampling = False
        self._model, self._pool = self._pool, Pool(self.terms.wishes(), self._feeder_of, scale=self._scale)
        self._bound, self._hold = -inf, 1.0
        self._turn_to_model()

    def plan(self) -> FleetPlan:
        """Return the best plan so far.

        Raises:
            InvalidInputError: nothing was told yet.
        """
        if not self._pool.size:
            raise InvalidInputError(field="answer", value="none", fix="tell the search at least one answer")
        self._pool.solve()
        rows, weights = self._pool.mixture()
        mixed = self._pool.mixed()
        feeder_kwh = np.zeros_like(self.terms.feeder_import_kwh)
        np.add.at(feeder_kwh, self._feeder_of, mixed.energy_kwh)
        penalty = float(mixed.penalty.sum())
        return FleetPlan(
            prices_per_kwh=rows,
            weights=weights,
            duals=self._best,
            cost=float(mixed.cost.sum()) + self.terms.cost(feeder_kwh) - penalty,
            lower_bound=self._bound - penalty,
            penalty=penalty,
            feeder_kwh=feeder_kwh,
            rounds=self._pool.size,
            sample_rounds=self._sample_rounds,
            answered_frac=self._answered_frac,
            heard_frac=self._heard_frac,
            history_frac=tuple(self._history),
            memory=FleetMemory(rounds=self._remembered(), duals=self._best),
        )

    def _remembered(self) -> tuple[Round, ...]:
        model = () if self._model is None else self._model.corrected()
        return (*model, *self._pool.rounds)[-_MOST_REMEMBERED:]


def memory_of_duals(
    commitment_per_kwh: Floats, import_per_kwh: Floats, export_per_kwh: Floats
) -> FleetMemory:
    """Return what only remembers the best prices of the wishes: shapes (T,), (F, T) and (F, T)."""
    duals = Duals(
        commitment_per_kwh=commitment_per_kwh, import_per_kwh=import_per_kwh, export_per_kwh=export_per_kwh
    )
    return FleetMemory(rounds=(), duals=duals)


def solve_fleet(search: FleetSearch, homes: Answerer) -> FleetPlan:
    """Ask until the search is over and return its plan."""
    while (ask := search.ask) is not None:
        search.tell(homes.answer(ask))
    return search.plan()
