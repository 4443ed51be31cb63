"""One protocol for every forecaster: fit on a panel of history, keep the model as bytes, predict quantiles.

A panel ends where knowledge ends: `Forecaster.predict` sees no value after the last column of `Panel.value`, so it
cannot look ahead. A model is nothing but names, numbers and arrays; its version is the hash of its content, and the same
model, panel and horizon give the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Protocol, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.interval import NS_PER_S, to_datetime

LEVELS: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Levels of the quantiles of sites and fleets: the median and the 50, 80 and 90 % intervals."""

Floats: TypeAlias = NDArray[np.float64]
Setting: TypeAlias = str | int | float | bool

_S_PER_DAY: Final = 86_400
_THURSDAY: Final = 3  # the weekday of 1970-01-01
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """What is forecast: `steps` intervals of `step_ns`, the first of them `lead_steps` after the last known one."""

    steps: int
    step_ns: int
    lead_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "step_ns"):
            if getattr(self, name) < 1:
                raise InvalidInputError(field=name, value=getattr(self, name), fix="give at least 1")
        if self.lead_steps < 0:
            raise InvalidInputError(field="lead_steps", value=self.lead_steps, fix="give 0 or more")

    @property
    def reach_steps(self) -> int:
        """Steps from the last known one to the last one forecast."""
        return self.lead_steps + self.steps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """N series on one grid of H steps, and what is known of the steps after it.

    Attributes:
        names: N names, each once; a model knows a series by its name.
        first_ns: Start of the first step.
        step_ns: Length of a step; it divides a day.
        value: N x H means over the steps, in the unit of the series; NaN where absent.
        zone: IANA name of the zone whose clock people there live by.
        inputs: Known-ahead inputs by name, P x (at least H) each: for every step what had been forecast for it when a
            forecast over the whole horizon had to be made (for steps gone by as well: not what came true).
        place_index: N rows of the inputs; all 0 when left out.
        nameplate_kw: N sizes, NaN where unknown; all unknown when left out.
        class_index: N numbers of the class (tariff, kind of dwelling), -1 where unknown; all unknown when left out.

    Raises:
        InvalidInputError: when a shape does not fit, a name comes twice or the step does not divide a day.
    """

    names: tuple[str, ...]
    first_ns: int
    step_ns: int
    value: Floats
    zone: str = "UTC"
    inputs: Mapping[str, Floats] = field(default_factory=dict)
    place_index: NDArray[np.int64] | None = None
    nameplate_kw: Floats | None = None
    class_index: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.value.ndim != 2 or self.value.shape[0] != count:
            raise InvalidInputError(
                field="value", value=self.value.shape, fix=f"give {count} rows, one a name"
            )
        if len(set(self.names)) != count:
            raise InvalidInputError(field="names", value=count, fix="name each series once")
        if self.step_ns < 1 or (_S_PER_DAY * NS_PER_S) % self.step_ns or self.step_ns % NS_PER_S:
            raise InvalidInputError(
                field="step_ns", value=self.step_ns, fix="divide a day into whole seconds"
            )
        for name in ("place_index", "nameplate_kw", "class_index"):
            column = getattr(self, name)
            if column is not None and column.shape != (count,):
                raise InvalidInputError(field=name, value=column.shape, fix=f"give {count} numbers")
        for name, table in self.inputs.items():
            if table.ndim != 2 or table.shape[1] < self.value.shape[1]:
                raise InvalidInputError(
                    field=f"inputs[{name}]", value=table.shape, fix="cover every step of the values"
                )

    @property
    def steps(self) -> int:
        """How many steps of values there are."""
        return int(self.value.shape[1])

    @property
    def steps_per_day(self) -> int:
        """How many steps make 24 hours."""
        return _S_PER_DAY * NS_PER_S // self.step_ns

    @property
    def end_ns(self) -> int:
        """The instant up to which values are known."""
        return self.first_ns + self.steps * self.step_ns

    def until(self, count: int, horizon: Horizon | None = None) -> Panel:
        """Return the panel as it was when `count` steps were known; inputs reach to the end of the horizon."""
        reach = count + (0 if horizon is None else horizon.reach_steps)
        inputs = {name: table[:, :reach] for name, table in self.inputs.items()}
        return replace(self, value=self.value[:, :count], inputs=inputs)

    def last(self, count: int) -> Panel:
        """Return the last `count` steps of values, with the inputs of these and of all later steps."""
        drop = max(0, self.steps - count)
        return replace(
            self,
            first_ns=self.first_ns + drop * self.step_ns,
            value=self.value[:, drop:],
            inputs={name: table[:, drop:] for name, table in self.inputs.items()},
        )

    def rows(self, row: NDArray[np.int64]) -> Panel:
        """Return some of the series."""
        picked = {
            name: column[row]
            for name in ("place_index", "nameplate_kw", "class_index")
            if (column := getattr(self, name)) is not None
        }
        names = tuple(self.names[at] for at in row.tolist())
        return replace(self, names=names, value=self.value[row], **picked)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """What N series may be over T steps.

    Attributes:
        start_ns: T starts.
        quantile_level: Q levels, ascending.
        quantile: N x T x Q, never falling along Q, in the unit of the series.
        mean: N x T expectations.
        issued_ns: The instant up to which values were known.
        version: The model's.
    """

    start_ns: NDArray[np.int64]
    quantile_level: Floats
    quantile: Floats
    mean: Floats
    issued_ns: int
    version: str


class Array(msgspec.Struct, frozen=True, array_like=True):
    """An array as bytes: little-endian, C order."""

    dtype: str
    axis_length: tuple[int, ...]
    data: bytes


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted model, whole: what decodes from its bytes forecasts the same bits.

    Attributes:
        kind: The forecaster that made it and alone can use it, with the number of its recipe: ``site-local/1``.
        version: Kind and hash of everything else; see `sealed`.
        names: The series that it knows.
        from_ns: Begin of the history that it was trained on.
        to_ns: Its end, exclusive; nothing later was seen.
        step_ns: Its resolution.
        lead_steps: What it was trained to leave out.
        horizon_steps: How many steps it was trained to forecast.
        quantile_level: Q levels.
        features: What it looks at.
        seed: What its draws came from.
        settings: The forecaster's own.
        scores: What it scored on days of the history that had not taught it, by name.
        arrays: Its state.
    """

    kind: str
    names: tuple[str, ...]
    from_ns: int
    to_ns: int
    step_ns: int
    lead_steps: int
    horizon_steps: int
    quantile_level: tuple[float, ...]
    features: tuple[str, ...]
    seed: int
    settings: dict[str, Setting]
    scores: dict[str, float]
    arrays: dict[str, Array]
    version: str = ""

    @property
    def horizon(self) -> Horizon:
        """What it was trained to forecast."""
        return Horizon(steps=self.horizon_steps, step_ns=self.step_ns, lead_steps=self.lead_steps)

    def array(self, name: str) -> NDArray[Any]:
        """Return one of its arrays, read-only and without a copy.

        Raises:
            CorruptStateError: when it has none of that name.
        """
        held = self.arrays.get(name)
        if held is None:
            raise CorruptStateError(f"model {self.version}", f"it has no array {name!r}")
        return np.frombuffer(held.data, dtype=np.dtype(held.dtype)).reshape(held.axis_length)


class Forecaster(Protocol):
    """Fits and predicts. It has settings but no state: what is learned is in the model."""

    @property
    def kind(self) -> str:
        """Name and number of the recipe."""
        ...

    def fit(self, history: Panel, *, seed: int = 0) -> Model:
        """Return a model trained on nothing but the history and the seed."""
        ...

    def predict(self, model: Model, recent: Panel, horizon: Horizon) -> Forecast:
        """Return what comes after the last step of `recent`."""
        ...


class Adaptive(Forecaster, Protocol):
    """A forecaster that learns from what came true without being trained again."""

    def adapt(self, model: Model, recent: Panel) -> Model:
        """Return the model with the days of `recent` taken in that it has not seen yet."""
        ...


def packed(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
    """Return arrays as bytes, little-endian."""
    found: dict[str, Array] = {}
    for name, array in arrays.items():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        found[name] = Array(dtype=little.dtype.str, axis_length=little.shape, data=little.tobytes())
    return found


def sealed(model: Model) -> Model:
    """Return the model with its version: its kind and the first 16 hex digits of the hash of its content."""
    bare = msgspec.structs.replace(model, version="")
    digest = hashlib.sha256(_ENCODER.encode(bare)).hexdigest()
    return msgspec.structs.replace(bare, version=f"{model.kind}-{digest[:16]}")


def encode_model(model: Model) -> bytes:
    """Return the model's bytes; equal models give equal bytes."""
    return _ENCODER.encode(model)


def decode_model(data: bytes) -> Model:
    """Return what `encode_model` made bytes of.

    Raises:
        CorruptStateError: when it does not decode, or its content is not what its version says.
    """
    try:
        model = msgspec.msgpack.decode(data, type=Model)
    except msgspec.MsgspecError as error:
        raise CorruptStateError("a forecasting model", str(error)) from error
    if sealed(model).version != model.version:
        raise CorruptStateError(f"model {model.version}", "its content is not what its version says")
    return model


def check_fits(kind: str, model: Model, recent: Panel, horizon: Horizon) -> None:
    """Refuse a model, panel and horizon that do not belong together.

    Raises:
        InvalidInputError: when kind, resolution, horizon or inputs differ.
    """
    if model.kind != kind:
        raise InvalidInputError(field="model", value=model.kind, fix=f"give one of {kind}")
    if recent.step_ns != model.step_ns or horizon.step_ns != model.step_ns:
        raise InvalidInputError(
            field="step_ns", value=recent.step_ns, fix=f"give steps of {model.step_ns} ns"
        )
    if horizon.reach_steps > model.horizon.reach_steps or horizon.lead_steps < model.lead_steps:
        raise InvalidInputError(
            field="horizon",
            value=(horizon.lead_steps, horizon.steps),
            fix=f"stay within steps {model.lead_steps} to {model.horizon.reach_steps} ahead",
        )
    for name, table in recent.inputs.items():
        if table.shape[1] < recent.steps + horizon.reach_steps:
            raise InvalidInputError(
                field=f"inputs[{name}]", value=table.shape, fix="reach to the end of the horizon"
            )


def sorted_levels(level: tuple[float, ...]) -> tuple[float, ...]:
    """Return the levels when they ascend and lie around a median in pairs.

    Raises:
        InvalidInputError: when they do not.
    """
    rising = all(low < high for low, high in pairwise(level))
    mirrored = all(abs(low + high - 1.0) < 1e-9 for low, high in zip(level, level[::-1], strict=True))
    if not (rising and mirrored and len(level) % 2 and level[0] > 0.0):
        raise InvalidInputError(
            field="quantile_level", value=level, fix="ascend in pairs around 0.5, as 0.1, 0.5, 0.9"
        )
    return level


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalClock:
    """The local clock of a grid: slot of the day, weekday (Monday 0) and how many steps it is ahead of UTC."""

    slot_index: NDArray[np.int64]
    weekday_index: NDArray[np.int64]
    ahead_steps: NDArray[np.int64]


def local_clock(first_ns: int, step_ns: int, count: int, zone: str) -> LocalClock:
    """Return the local clock of `count` steps from `first_ns`."""
    at_s = first_ns // NS_PER_S + np.arange(count, dtype=np.int64) * (step_ns // NS_PER_S)
    ahead_s = np.zeros(count, dtype=np.int64)
    if zone != "UTC":
        ahead_s = _ahead_s(at_s, ZoneInfo(zone))
    local_s = at_s + ahead_s
    step_s = step_ns // NS_PER_S
    return LocalClock(
        slot_index=(local_s % _S_PER_DAY) // step_s,
        weekday_index=(local_s // _S_PER_DAY + _THURSDAY) % 7,
        ahead_steps=ahead_s // step_s,
    )


def _ahead_s(at_s: NDArray[np.int64], zone: ZoneInfo) -> NDArray[np.int64]:
    """Return how far the zone's clock is ahead of UTC; a day whose ends agree is taken to have no change inside."""
    day, where = np.unique(at_s // _S_PER_DAY, return_inverse=True)
    begin = np.array([_offset_s(d * _S_PER_DAY, zone) for d in day.tolist()], dtype=np.int64)
    end = np.array([_offset_s((d + 1) * _S_PER_DAY, zone) for d in day.tolist()], dtype=np.int64)
    out = begin[where]
    for row in np.flatnonzero(begin != end).tolist():
        for at in np.flatnonzero(where == row).tolist():
            out[at] = _offset_s(int(at_s[at]), zone)
    return out


def _offset_s(at_s: int, zone: ZoneInfo) -> int:
    offset = to_datetime(at_s * NS_PER_S, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())
