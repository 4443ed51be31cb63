"""The messages of the price dispatch: what goes down to all, what comes up from each part.

Arrays travel as they are in memory, little-endian; their shapes are checked against what is known of the fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import WireFormatError
from shoal.optimise.fleet_optimum import Ask
from shoal.optimise.fleet_optimum_parts import Part
from shoal.optimise.home_batch import GroupSums

VERSION: Final = 1
_LITTLE: Final = np.dtype("<f8")


class Call(msgspec.Struct, frozen=True, kw_only=True, tag="call"):
    """Who is there? Every part answers with its `Present`.

    `start_ns` and `step_s` tell parts that ask homes of their own of which times a search speaks; `wait_s` how long it waits.
    """

    version: int = VERSION
    search: str
    groups: int = 0
    steps: int = 0
    start_ns: int = 0
    step_s: int = 0
    wait_s: float = 0.0


class Present(msgspec.Struct, frozen=True, kw_only=True, tag="present"):
    """A part: its homes of each group, and what each group can draw at the least and at the most."""

    search: str
    part: str
    steps: int
    homes_count: list[int]
    least_kwh: bytes
    most_kwh: bytes


class Down(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """An `Ask` of a search; `keep` says that it is the search's result, which homes are to follow.

    `start_ns`, `step_s` and `wait_s` are those of `Call`.
    """

    version: int = VERSION
    search: str
    number: int
    feeders: int
    steps: int
    groups: int
    prices: bytes
    weights: bytes
    how: Literal["choose", "average"]
    sample_frac: float
    keep: bool = False
    start_ns: int = 0
    step_s: int = 0
    wait_s: float = 0.0


class Up(msgspec.Struct, frozen=True, kw_only=True, tag="sums"):
    """A part's sums by group for one ask.

    A part whose homes may be silent one by one says how many answered this ask, how many have answered any of this search, and
    some of the others' names; -1 stands for all.
    """

    search: str
    number: int
    part: str
    steps: int
    energy: bytes
    cost: bytes
    lower_bound: bytes
    penalty: bytes
    answered: int = -1
    heard: int = -1
    silent: tuple[str, ...] = ()


_ENCODER: Final = msgspec.msgpack.Encoder()
_DOWN: Final = msgspec.msgpack.Decoder(Call | Down)
_UP: Final = msgspec.msgpack.Decoder(Present | Up)


def encode(message: Call | Present | Down | Up) -> bytes:
    """Return a message as bytes."""
    return _ENCODER.encode(message)


def decode_down(payload: bytes) -> Call | Down:
    """Return a message from above.

    Raises:
        WireFormatError: it is none, or of another version.
    """
    try:
        message: Call | Down = _DOWN.decode(payload)
    except msgspec.DecodeError as error:
        raise WireFormatError("malformed", str(error)) from error
    if message.version != VERSION:
        raise WireFormatError("version", f"{message.version}, not {VERSION}")
    return message


def decode_up(payload: bytes) -> Present | Up:
    """Return a message from a part.

    Raises:
        WireFormatError: it is none.
    """
    try:
        message: Present | Up = _UP.decode(payload)
    except msgspec.DecodeError as error:
        raise WireFormatError("malformed", str(error)) from error
    return message


def down_of(
    search: str, ask: Ask, *, keep: bool = False, start_ns: int = 0, step_s: int = 0, wait_s: float = 0.0
) -> Down:
    """Return an ask as a message."""
    return Down(
        search=search,
        number=ask.number,
        feeders=ask.prices_per_kwh.shape[1],
        steps=ask.prices_per_kwh.shape[2],
        groups=len(ask.weights),
        prices=_bytes(ask.prices_per_kwh),
        weights=_bytes(ask.weights),
        how=ask.how,
        sample_frac=ask.sample_frac,
        keep=keep,
        start_ns=start_ns,
        step_s=step_s,
        wait_s=wait_s,
    )


def ask_of(message: Down) -> Ask:
    """Return a message as the ask that it was.

    Raises:
        WireFormatError: its arrays do not fit each other.
    """
    return Ask(
        number=message.number,
        prices_per_kwh=_array(message.prices, (-1, message.feeders, message.steps)),
        weights=_array(message.weights, (message.groups, -1)),
        how=message.how,
        sample_frac=message.sample_frac,
    )


def up_of(
    message: Down,
    part: str,
    sums: GroupSums,
    *,
    answered: int = -1,
    heard: int = -1,
    silent: tuple[str, ...] = (),
) -> Up:
    """Return a part's sums for an ask as a message."""
    return Up(
        search=message.search,
        number=message.number,
        part=part,
        steps=message.steps,
        energy=_bytes(sums.energy_kwh),
        cost=_bytes(sums.cost),
        lower_bound=_bytes(sums.lower_bound),
        penalty=_bytes(sums.penalty),
        answered=answered,
        heard=heard,
        silent=silent,
    )


def sums_of(message: Up, groups: int, steps: int) -> GroupSums:
    """Return a message as the sums that it was.

    Raises:
        WireFormatError: its arrays have another shape.
    """
    return GroupSums(
        energy_kwh=_array(message.energy, (groups, steps)),
        cost=_array(message.cost, (groups,)),
        lower_bound=_array(message.lower_bound, (groups,)),
        penalty=_array(message.penalty, (groups,)),
    )


def present_of(search: str, name: str, part: Part) -> Present:
    """Return a part as a message."""
    return Present(
        search=search,
        part=name,
        steps=part.least_kwh.shape[1],
        homes_count=part.homes_count.tolist(),
        least_kwh=_bytes(part.least_kwh),
        most_kwh=_bytes(part.most_kwh),
    )


def part_of(message: Present, groups: int, steps: int) -> Part:
    """Return a message as the part that it was.

    Raises:
        WireFormatError: it is of other groups or intervals.
    """
    if len(message.homes_count) != groups or min(message.homes_count, default=0) < 0:
        raise WireFormatError("shape", f"{len(message.homes_count)} groups, not {groups}")
    return Part(
        homes_count=np.array(message.homes_count, np.int64),
        least_kwh=_array(message.least_kwh, (groups, steps)),
        most_kwh=_array(message.most_kwh, (groups, steps)),
    )


def _bytes(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values, _LITTLE).tobytes()


def _array(payload: bytes, shape: Sequence[int]) -> NDArray[np.float64]:
    try:
        array = np.frombuffer(payload, _LITTLE).reshape(tuple(shape)).astype(np.float64)
    except ValueError as error:
        raise WireFormatError("shape", str(error)) from error
    if not np.isfinite(array).all():
        raise WireFormatError("number", "an entry is not finite")
    return array
