"""How many kW of a fleet will really answer: reporting, ready, with headroom, and obeying, group by group.

Each of these four shares is a normal number seen through the probit: it has a daily profile, persists, and has a part in
common with the other groups; whole devices then fail one by one (a binomial given the share, so over-dispersed as a
beta-binomial is, and correlated). Groups, or all at once, can be cut off altogether, with odds that are never zero
because it has not happened yet. A forecast is the quantiles of seeded draws of that chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.availability_draws import draw_answers, shares_of
from shoal.forecast.availability_history import COLUMNS, STAGES, check_fleet, column_of, stage_shares
from shoal.forecast.protocol import (
    Forecast,
    Horizon,
    LocalClock,
    Model,
    Panel,
    check_fits,
    local_clock,
    packed,
    sealed,
)

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
_Standing: TypeAlias = tuple[Floats, Floats, Ints, NDArray[np.bool_]]

AVAILABILITY_LEVELS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)

_IS_COUNTED: Final = np.array([True, True, False, True])
_HOURS: Final = 24
_CELLS: Final = 2 * _HOURS
_SHRINK_SAMPLES: Final = 5.0
_OUTAGE_FRAC: Final = 0.4
"""A share below this part of its usual is an outage, not a bad hour."""
_PRIOR_OUTAGES: Final = 0.5
_PRIOR_OUTAGE_H: Final = 2.0
_PRIOR_DEPTH: Final = 0.05
_OUTAGE_SPREADS: Final = 3.5
_LEAST_SHARE: Final = 0.002
_LEAST_VARIANCE: Final = 1e-4
_PRIOR_RESPONSE: Final = 0.9
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityForecaster:
    """Forecasts the kW that answer, of each group and, in the last row, of the fleet.

    Attributes:
        horizon: How far and how fine.
        quantile_level: Levels in pairs around the median; the promise at 95 % confidence is the 0.05 one.
        draw_count: How many draws a step.
    """

    horizon: Horizon
    quantile_level: tuple[float, ...] = AVAILABILITY_LEVELS
    draw_count: int = 2_000

    @property
    def kind(self) -> str:
        """Name and number of the recipe."""
        return "availability/1"

    def fit(self, history: Panel, *, seed: int = 0) -> Model:
        """Return what the history teaches of profiles, persistence, common causes and outages.

        Raises:
            InvalidInputError: when the panel is not one of `fleet_panel`, or has another step.
        """
        check_fleet(history, self.horizon)
        counted = stage_shares(history)
        clock = local_clock(history.first_ns, history.step_ns, history.steps, history.zone)
        cell = _cells(clock, history.steps_per_day)
        groups = len(history.names) // len(COLUMNS)
        stages = len(STAGES)
        profile = np.empty((stages, groups, _CELLS))
        variance = np.empty((stages, groups))
        common = np.zeros(stages)
        memory = np.zeros((stages, self.horizon.reach_steps + history.steps_per_day))
        outages = np.empty((stages, 5))
        for stage in range(stages):
            share, asked = counted[stage]
            is_out = _is_outage(share, asked)
            usual = np.where(is_out, np.nan, share)
            profile[stage] = _profile(usual, asked, cell)
            rest, noise = _departures(
                usual, asked, _probit(profile[stage])[:, cell], is_counted=bool(_IS_COUNTED[stage])
            )
            variance[stage], common[stage], memory[stage] = _spread(rest, noise, memory.shape[1])
            outages[stage] = _outages(share, is_out, history.step_ns)
        arrays: dict[str, NDArray[Any]] = {
            "profile": profile,
            "variance": variance,
            "common": common,
            "memory": memory,
            "outages": outages,
        }
        return sealed(
            Model(
                kind=self.kind,
                names=history.names,
                from_ns=history.first_ns,
                to_ns=history.end_ns,
                step_ns=history.step_ns,
                lead_steps=self.horizon.lead_steps,
                horizon_steps=self.horizon.steps,
                quantile_level=self.quantile_level,
                features=STAGES,
                seed=seed,
                settings={"draw_count": self.draw_count},
                scores={},
                arrays=packed(arrays),
            )
        )

    def predict(self, model: Model, recent: Panel, horizon: Horizon) -> Forecast:
        """Return the kW that will answer, were all asked: a row a group, then one for the fleet, positive.

        Raises:
            InvalidInputError: when model, panel and horizon do not belong together.
        """
        check_fits(self.kind, model, recent, horizon)
        if recent.names != model.names:
            raise InvalidInputError(field="names", value=len(recent.names), fix="give the groups trained on")
        groups = len(recent.names) // len(COLUMNS)
        count = recent.steps + horizon.reach_steps
        cell = _cells(local_clock(recent.first_ns, recent.step_ns, count, recent.zone), recent.steps_per_day)
        installed = np.nan_to_num(_newest(column_of(recent, "installed_count"))[0])
        capacity = np.nan_to_num(_newest(column_of(recent, "capacity_kw"))[0])
        device_kw = np.divide(capacity, installed, out=np.zeros(groups), where=installed > 0)
        stand = [_standing(model, stage, recent, cell) for stage in range(len(STAGES))]
        level = np.array(model.quantile_level)
        quantile = np.empty((groups + 1, horizon.steps, len(level)))
        mean = np.empty((groups + 1, horizon.steps))
        drawn = np.empty((int(model.settings["draw_count"]), groups + 1))
        for step in range(horizon.steps):
            ahead = horizon.lead_steps + step + 1
            at = cell[recent.steps + ahead - 1]
            draw_answers(
                *_outlook(model, stand, ahead, int(at), groups),
                installed,
                device_kw,
                _IS_COUNTED,
                model.seed,
                drawn,
            )
            mean[:, step] = drawn.mean(axis=0)
            quantile[:, step] = np.quantile(drawn, level, axis=0).T
        steps = horizon.lead_steps + np.arange(horizon.steps, dtype=np.int64)
        return Forecast(
            start_ns=recent.end_ns + steps * recent.step_ns,
            quantile_level=level,
            quantile=quantile,
            mean=mean,
            issued_ns=recent.end_ns,
            version=model.version,
        )


def firm_kw(forecast: Forecast, *, confidence_frac: float) -> Floats:
    """Return, for each step, the kW of the whole fleet that answer with at least a confidence: what a bid may promise.

    Between two levels the lower one's kW is taken, so that the promise is never bolder than the confidence.

    Raises:
        InvalidInputError: when the confidence is beyond the lowest level of the forecast.
    """
    level = forecast.quantile_level
    at = int(np.searchsorted(level, 1.0 - confidence_frac + 1e-9, side="right")) - 1
    if at < 0:
        raise InvalidInputError(
            field="confidence_frac", value=confidence_frac, fix=f"ask for at most {1 - float(level[0]):g}"
        )
    return np.asarray(forecast.quantile[-1, :, at])


def _cells(clock: LocalClock, slots: int) -> Ints:
    """Return the cell of the profile for each step: the local hour, on workdays and at weekends."""
    return np.asarray(clock.slot_index * _HOURS // slots + _HOURS * (clock.weekday_index >= 5))


def _is_outage(share: Floats, asked: Floats) -> NDArray[np.bool_]:
    """Return where a share is so low that neither a bad hour nor chance among so few devices explains it."""
    known = ~np.isnan(share)
    usual = np.array([np.median(row[ok]) if ok.any() else 0.0 for row, ok in zip(share, known, strict=True)])
    chance = np.sqrt(usual * (1.0 - usual))[:, None] / np.sqrt(np.maximum(np.nan_to_num(asked), 1.0))
    low = np.minimum(_OUTAGE_FRAC * usual[:, None], usual[:, None] - _OUTAGE_SPREADS * chance)
    return np.asarray(known & (share < low))


def _probit(share: Floats) -> Floats:
    """Return the probits of shares, these kept off 0 and 1."""
    safe = np.clip(share, _LEAST_SHARE, 1.0 - _LEAST_SHARE)
    flat = [_NORMAL.inv_cdf(p) for p in safe.ravel().tolist()]
    return np.array(flat).reshape(share.shape)


def _profile(share: Floats, asked: Floats, cell: Ints) -> Floats:
    """Return G x 48 usual shares: of a cell, drawn to that of the group, which is drawn to that of all."""
    known = ~np.isnan(share)
    weight = np.where(known, np.maximum(np.nan_to_num(asked), 1.0), 0.0)
    sums = np.where(known, share, 0.0) * weight
    overall = float(sums.sum() / weight.sum()) if known.any() else _PRIOR_RESPONSE
    prior = _SHRINK_SAMPLES * weight.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    prior = np.where(prior > 0.0, prior, 1.0)
    mean = (sums.sum(axis=1) + prior * overall) / (weight.sum(axis=1) + prior)
    which = (cell[:, None] == np.arange(_CELLS)).astype(np.float64)
    return np.asarray(
        (sums @ which + (prior * mean)[:, None]) / (weight @ which + prior[:, None]),
    )


def _departures(share: Floats, asked: Floats, z: Floats, *, is_counted: bool) -> tuple[Floats, Floats]:
    """Return how far shares stand from the usual, in probits to first order, and the variance that counting adds.

    Args:
        share: Shares of any shape, NaN where unknown.
        asked: Of how many devices each is the share.
        z: Probits of the usual shares.
        is_counted: Whether whole devices are counted.
    """
    slope = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    p = shares_of(np.ascontiguousarray(z))
    devices = np.maximum(np.nan_to_num(asked, nan=1.0), 1.0)
    noise = p * (1.0 - p) / devices / slope**2 if is_counted else np.zeros_like(p)
    return (share - p) / slope, noise


def _spread(rest: Floats, noise: Floats, steps: int) -> tuple[Floats, float, Floats]:
    """Return of the state behind the departures: each group's variance, the share in common, and what lasts.

    Args:
        rest: G x H departures, NaN where unknown.
        noise: G x H variances that counting adds.
        steps: For how many lags.
    """
    known = ~np.isnan(rest)
    if not known.any():
        return np.full(len(rest), 0.1), 0.3, np.zeros(steps)
    filled = np.where(known, rest, 0.0)
    square = np.where(known, rest**2 - noise, 0.0).sum(axis=1)
    count = known.sum(axis=1)
    overall = max(float(square.sum() / count.sum()), _LEAST_VARIANCE)
    variance = np.maximum((square + 50.0 * overall) / (count + 50.0), _LEAST_VARIANCE)
    groups = known.sum(axis=0)
    pairs = float((groups * (groups - 1)).sum())
    products = float((filled.sum(axis=0) ** 2 - (filled**2).sum(axis=0)).sum())
    common = float(np.clip(products / pairs / overall, 0.0, 0.95)) if pairs else 0.0
    lasting = np.zeros(steps)
    for lag in range(1, min(steps, rest.shape[1] - 1) + 1):
        both = int((known[:, lag:] & known[:, :-lag]).sum())
        if both >= 30:
            lasting[lag - 1] = (filled[:, lag:] * filled[:, :-lag]).sum() / both / overall
    return variance, common, np.asarray(np.minimum.accumulate(np.clip(lasting, 0.0, 0.999)))


def _outages(share: Floats, is_out: NDArray[np.bool_], step_ns: int) -> Floats:
    """Return rates a step of being cut off alone, all at once, and of coming back; depth; whether it was ever seen."""
    known = ~np.isnan(share)
    begins = is_out[:, 1:] & ~is_out[:, :-1] & known[:, :-1]
    groups = len(share)
    at_once = (begins.sum(axis=0) > 0.5 * groups) if groups > 1 else np.zeros(begins.shape[1], dtype=np.bool_)
    alone = float(begins[:, ~at_once].sum())
    fine = max(float((known & ~is_out).sum()), 1.0)
    prior_steps = max(_PRIOR_OUTAGE_H * 3.6e12 / step_ns, 1.0)
    ends = float((is_out[:, :-1] & ~is_out[:, 1:] & known[:, 1:]).sum())
    depth = (float(share[is_out].sum()) + _PRIOR_DEPTH) / (float(is_out.sum()) + 1.0)
    usual = float(np.nanmedian(share)) if known.any() else 1.0
    steps = max(float(known.any(axis=0).sum()), 1.0)
    return np.array(
        [
            (alone + _PRIOR_OUTAGES) / (fine + 1.0),
            (float(at_once.sum()) + (_PRIOR_OUTAGES if groups > 1 else 0.0)) / (steps + 1.0),
            (ends + 1.0) / (float(is_out.sum()) + prior_steps),
            min(depth / max(usual, 1e-3), 1.0),
            float(known.any()),
        ]
    )


def _newest(value: Floats) -> tuple[Floats, Ints]:
    """Return each row's last known number, NaN when there is none, and how many steps ago it was."""
    known = ~np.isnan(value)
    age = np.argmax(known[:, ::-1], axis=1)
    found = value[np.arange(len(value)), value.shape[1] - 1 - age]
    return found, np.where(known.any(axis=1), age, value.shape[1]).astype(np.int64)


def _standing(model: Model, stage: int, recent: Panel, cell: Ints) -> _Standing:
    """Return each group's departure from its profile, how much of it is told, how old it is, and whether it is cut off."""
    share, asked = stage_shares(recent)[stage]
    newest, age = _newest(share)
    groups = np.arange(len(share))
    at = np.maximum(recent.steps - 1 - age, 0)
    usual = model.array("profile")[stage][groups, cell[at]]
    devices = asked[groups, at]
    is_out = _is_outage(np.stack((newest, usual, usual), axis=1), devices[:, None])[:, 0]
    rest, noise = _departures(newest, devices, _probit(usual), is_counted=bool(_IS_COUNTED[stage]))
    variance = model.array("variance")[stage]
    told = variance / (variance + noise)  # how much of a departure is more than chance
    return np.where(is_out | np.isnan(rest), 0.0, rest), told, age, is_out


def _outlook(
    model: Model, stand: list[_Standing], ahead: int, cell: int, groups: int
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Return the chain `ahead` steps on: centres, spreads, common shares, odds of outages, and their depth."""
    stages = len(STAGES)
    centre, spread = np.empty((stages, groups)), np.empty((stages, groups))
    alone = np.empty((stages, groups))
    together, depth = np.empty(stages), np.empty(stages)
    for stage, (rest, told, age, is_out) in enumerate(stand):
        memory, variance = model.array("memory")[stage], model.array("variance")[stage]
        lag = age + ahead
        left = np.where(lag <= len(memory), memory[np.minimum(lag, len(memory)) - 1], 0.0)
        usual = _probit(model.array("profile")[stage][:, cell])
        # the mean of a share is the probit of its centre, flattened by the spread around it
        centre[stage] = usual * np.sqrt(1.0 + variance) + left * told * rest
        spread[stage] = np.sqrt(variance * (1.0 - left**2 * told))
        fails, fails_all, mends, depth[stage], _ = model.array("outages")[stage].tolist()
        # a chain of two states: cut off or not
        rest_share = fails / (fails + mends)
        alone[stage] = rest_share + (is_out - rest_share) * (1.0 - fails - mends) ** ahead
        all_share = fails_all / (fails_all + mends)
        together[stage] = all_share * (1.0 - (1.0 - fails_all - mends) ** ahead)
    return centre, spread, model.array("common").copy(), np.clip(alone, 0.0, 1.0), together, depth
