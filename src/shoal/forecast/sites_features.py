"""What a site's forecast looks at: lags, profiles, levels and the clock, in units of the site's own scale.

Everything is read from the steps in `[oldest, origin)` of one row of values; a step at or after the origin is never
touched. Kernels, one row of a panel at a time, without a Python object a site.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.forecast.protocol import Horizon, LocalClock, Panel, local_clock

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

WINDOW_DAYS: Final = 28
"""How far back profiles look."""
RECENT_DAYS: Final = WINDOW_DAYS + 9
"""How much of the past a prediction needs to see everything that it may look at."""

STEP_FEATURES: Final = (
    *("lag_first", "lag_second", "lag_week", "lag_fortnight"),
    *("mean_7", "mean_28", "mean_daytype", "mean_weekday", "smooth_first", "smooth_7"),
    *("max_28", "min_28", "spread_28", "slot", "weekday", "weekend", "ahead"),
)
ORIGIN_FEATURES: Final = (
    "last",
    "last_3h",
    "last_24h",
    "last_7d",
    "anomaly_3h",
    "of_envelope",
    "age",
    "log_scale",
)
FEATURES: Final = (*STEP_FEATURES, *ORIGIN_FEATURES)
"""Names of the columns, before two for each input: its value, and its change since the first lag."""

(LAG_1, LAG_2, LAG_7, LAG_14, MEAN_7, MEAN_28, MEAN_TYPE, MEAN_WEEKDAY, SMOOTH_1, SMOOTH_7) = range(10)
(MAX_28, MIN_28, SPREAD_28, SLOT, WEEKDAY, WEEKEND, AHEAD) = range(10, 17)
(LAST, LAST_3H, LAST_24H, LAST_7D, ANOMALY, OF_ENVELOPE, AGE, LOG_SCALE) = range(17, 25)
INPUT_0: Final = 25

_PRIOR_DAYS: Final = 2.0
_LEAST_SCALE_FRAC: Final = 0.05
_MOST_AGE_DAYS: Final = 35.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """A panel made ready for the kernels.

    Attributes:
        value: N x H, as magnitudes.
        slot_index: Local slot of the day, for H steps and those of the horizon.
        weekday_index: Monday 0.
        ahead_steps: Steps that the local clock is ahead of UTC.
        input_at: V x P x (H + reach).
        place_index: N.
        slots: Steps a day.
        lead_steps: See `Horizon`.
        steps: See `Horizon`.
        lag_days: The first lag in whole days that is known for every step of the horizon.
    """

    value: Floats
    slot_index: Ints
    weekday_index: Ints
    ahead_steps: Ints
    input_at: Floats
    place_index: Ints
    slots: int
    lead_steps: int
    steps: int
    lag_days: int

    @property
    def known_steps(self) -> int:
        """How many steps have values."""
        return int(self.value.shape[1])

    def origins(self, slot_index: tuple[int, ...], from_steps: int = 0) -> Ints:
        """Return the steps at which one may stand and know the whole horizon's outcome, at some slots of the day."""
        last = self.known_steps - self.lead_steps - self.steps
        at = np.arange(max(from_steps, 1), last + 1)
        return at[np.isin(self.slot_index[at], slot_index)]


def grid_of(panel: Panel, horizon: Horizon, inputs: tuple[str, ...], *, is_generation: bool) -> Grid:
    """Return the panel as the kernels want it.

    Args:
        panel: What is known.
        horizon: What is to be forecast.
        inputs: Names of the inputs that are looked at, in order.
        is_generation: Whether load-positive values are negative, so that their negatives are the magnitudes.
    """
    count = panel.steps + horizon.reach_steps
    clock: LocalClock = local_clock(panel.first_ns, panel.step_ns, count, panel.zone)
    sites = len(panel.names)
    table = np.full((len(inputs), 1, count), np.nan)
    if inputs:
        places = panel.inputs[inputs[0]].shape[0]
        table = np.full((len(inputs), places, count), np.nan)
        for row, name in enumerate(inputs):
            reach = min(count, panel.inputs[name].shape[1])
            table[row, :, :reach] = panel.inputs[name][:, :reach]
    slots = panel.steps_per_day
    return Grid(
        value=np.ascontiguousarray(panel.value, dtype=np.float64) * (-1.0 if is_generation else 1.0),
        slot_index=clock.slot_index,
        weekday_index=clock.weekday_index,
        ahead_steps=clock.ahead_steps,
        input_at=table,
        place_index=np.zeros(sites, dtype=np.int64) if panel.place_index is None else panel.place_index,
        slots=slots,
        lead_steps=horizon.lead_steps,
        steps=horizon.steps,
        lag_days=-(-horizon.reach_steps // slots),
    )


def first_known(value: Floats) -> Ints:
    """Return, for each row, the first step that has a value; the number of steps where none has."""
    present = ~np.isnan(value)
    first = np.where(present.any(axis=1), present.argmax(axis=1), value.shape[1])
    return np.asarray(first, dtype=np.int64)


@kernel
def _at(y: Floats, ahead_steps: Ints, origin: int, oldest: int, t: int, back: int) -> float:
    """Return the value `back` steps before `t` by the local clock, NaN when it is not known at the origin."""
    j = t - back
    if j < 0:
        return np.nan
    j += ahead_steps[t] - ahead_steps[j]
    if j < oldest or j >= origin:
        return np.nan
    return float(y[j])


@kernel
def _mean(y: Floats, first: int, end: int) -> float:
    total, count = 0.0, 0
    for j in range(max(first, 0), end):
        if not math.isnan(y[j]):
            total += y[j]
            count += 1
    return total / count if count else np.nan


@kernel
def _describe_origin(
    y: Floats, ahead_steps: Ints, origin: int, oldest: int, slots: int, prior_kw: float, out: Floats
) -> float:
    """Fill the features of an origin and return the site's scale there, in the unit of the values.

    The scale is the mean of the last 28 days, drawn to the prior as if that were two days of data.
    """
    first = max(oldest, origin - WINDOW_DAYS * slots)
    total, count = 0.0, 0
    for j in range(first, origin):
        if not math.isnan(y[j]):
            total += y[j]
            count += 1
    weight = _PRIOR_DAYS * slots
    scale = max((total + weight * prior_kw) / (count + weight), _LEAST_SCALE_FRAC * prior_kw)
    short = max(slots // 8, 1)
    out[LAST] = y[origin - 1] / scale if origin - 1 >= oldest else np.nan
    out[LAST_3H] = _mean(y, max(oldest, origin - short), origin) / scale
    out[LAST_24H] = _mean(y, max(oldest, origin - slots), origin) / scale
    out[LAST_7D] = _mean(y, max(oldest, origin - 7 * slots), origin) / scale
    gap, gaps = 0.0, 0
    for j in range(max(oldest, origin - short), origin):
        usual, days = 0.0, 0
        for day in range(1, 8):
            past = _at(y, ahead_steps, origin, oldest, j, day * slots)
            if not math.isnan(past):
                usual += past
                days += 1
        if days > 0 and not math.isnan(y[j]):
            gap += y[j] - usual / days
            gaps += 1
    out[ANOMALY] = gap / gaps / scale if gaps else np.nan
    held, envelope = 0.0, 0.0
    for j in range(max(oldest, origin - slots), origin):
        if math.isnan(y[j]):
            continue
        top = y[j]
        for day in range(1, 15):
            past = _at(y, ahead_steps, origin, oldest, j, day * slots)
            if past > top:
                top = past
        held += y[j]
        envelope += top
    out[OF_ENVELOPE] = held / envelope if envelope > 0.0 else np.nan
    out[AGE] = math.log1p(min((origin - oldest) / slots, _MOST_AGE_DAYS)) if origin > oldest else 0.0
    out[LOG_SCALE] = math.log(scale)
    return scale


@kernel
def _describe_step(
    y: Floats,
    ahead_steps: Ints,
    slot_index: Ints,
    weekday_index: Ints,
    origin: int,
    oldest: int,
    t: int,
    slots: int,
    lag_days: int,
    scale: float,
    out: Floats,
) -> None:
    """Fill the features of step `t`, forecast from the origin."""
    day = lag_days * slots
    out[LAG_1] = _at(y, ahead_steps, origin, oldest, t, day) / scale
    out[LAG_2] = _at(y, ahead_steps, origin, oldest, t, day + slots) / scale
    weekend = weekday_index[t] >= 5
    sum_7, count_7, sum_28, count_28 = 0.0, 0, 0.0, 0
    sum_type, count_type, sum_weekday, count_weekday = 0.0, 0, 0.0, 0
    low, high = np.inf, -np.inf
    for back in range(lag_days, lag_days + WINDOW_DAYS):
        past = _at(y, ahead_steps, origin, oldest, t, back * slots)
        if math.isnan(past):
            continue
        sum_28 += past
        count_28 += 1
        low, high = min(low, past), max(high, past)
        if back < lag_days + 7:
            sum_7 += past
            count_7 += 1
        if back % 7 == 0:
            sum_weekday += past
            count_weekday += 1
        if ((weekday_index[t] - back) % 7 >= 5) == weekend:
            sum_type += past
            count_type += 1
    week = -(-lag_days // 7) * 7 * slots
    out[LAG_7] = _at(y, ahead_steps, origin, oldest, t, week) / scale
    out[LAG_14] = _at(y, ahead_steps, origin, oldest, t, week + 7 * slots) / scale
    out[MEAN_7] = sum_7 / count_7 / scale if count_7 else np.nan
    mean_28 = sum_28 / count_28 if count_28 else np.nan
    out[MEAN_28] = mean_28 / scale
    out[MEAN_TYPE] = sum_type / count_type / scale if count_type else np.nan
    out[MEAN_WEEKDAY] = sum_weekday / count_weekday / scale if count_weekday else np.nan
    near, nears, near_7, nears_7 = 0.0, 0, 0.0, 0
    for aside in range(-2, 3):
        past = _at(y, ahead_steps, origin, oldest, t, day + aside)
        if not math.isnan(past):
            near += past
            nears += 1
    for back in range(lag_days, lag_days + 7):
        for aside in range(-1, 2):
            past = _at(y, ahead_steps, origin, oldest, t, back * slots + aside)
            if not math.isnan(past):
                near_7 += past
                nears_7 += 1
    away = 0.0
    for back in range(lag_days, lag_days + WINDOW_DAYS):
        past = _at(y, ahead_steps, origin, oldest, t, back * slots)
        if not math.isnan(past):
            away += abs(past - mean_28)
    out[SMOOTH_1] = near / nears / scale if nears else np.nan
    out[SMOOTH_7] = near_7 / nears_7 / scale if nears_7 else np.nan
    out[MAX_28] = high / scale if count_28 else np.nan
    out[MIN_28] = low / scale if count_28 else np.nan
    out[SPREAD_28] = away / count_28 / scale if count_28 else np.nan
    out[SLOT] = slot_index[t] / slots
    out[WEEKDAY] = weekday_index[t]
    out[WEEKEND] = 1.0 if weekend else 0.0
    out[AHEAD] = (t - origin + 1) / slots


@kernel
def _describe_inputs(inputs: Floats, place: int, t: int, back: int, out: Floats) -> None:
    """Fill the features of the inputs: the value at `t` and its change since `back` steps before."""
    for row in range(inputs.shape[0]):
        now = inputs[row, place, t]
        out[INPUT_0 + 2 * row] = now
        out[INPUT_0 + 2 * row + 1] = now - inputs[row, place, t - back] if t >= back else np.nan


def gather_into(
    grid: Grid,
    row: Ints,
    origin_at: Ints,
    oldest_at: Ints,
    prior_kw: Floats,
    x: NDArray[np.float32],
    scale: Floats,
) -> None:
    """Fill the features of K pairs of a site's row and an origin, one row a step of the horizon.

    Args:
        grid: The panel.
        row: K rows of sites.
        origin_at: K origins.
        oldest_at: K first steps that may be looked at.
        prior_kw: N scales expected beforehand.
        x: K*T x F features.
        scale: K scales.
    """
    _gather(
        grid.value,
        grid.ahead_steps,
        grid.slot_index,
        grid.weekday_index,
        grid.input_at,
        grid.place_index,
        row,
        origin_at,
        np.minimum(oldest_at, origin_at),
        prior_kw,
        grid.slots,
        grid.lead_steps,
        grid.steps,
        grid.lag_days,
        x,
        scale,
    )


@kernel
def _gather(
    value: Floats,
    ahead_steps: Ints,
    slot_index: Ints,
    weekday_index: Ints,
    inputs: Floats,
    place_index: Ints,
    row: Ints,
    origin_at: Ints,
    oldest_at: Ints,
    prior_kw: Floats,
    slots: int,
    lead_steps: int,
    steps: int,
    lag_days: int,
    out: NDArray[np.float32],
    scale: Floats,
) -> None:
    feature = np.full(out.shape[1], np.nan)
    for pair in range(row.shape[0]):
        site, origin, oldest = row[pair], origin_at[pair], oldest_at[pair]
        y = value[site]
        size = _describe_origin(y, ahead_steps, origin, oldest, slots, prior_kw[site], feature)
        scale[pair] = size
        for step in range(steps):
            t = origin + lead_steps + step
            _describe_step(
                y, ahead_steps, slot_index, weekday_index, origin, oldest, t, slots, lag_days, size, feature
            )
            _describe_inputs(inputs, place_index[site], t, lag_days * slots, feature)
            out[pair * steps + step, :] = feature
