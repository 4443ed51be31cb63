"""The state of a day-ahead forecast as bytes and back, bit for bit.

Records become maps with their kind, arrays their type, shape and bytes. The recipe's digest goes along: a state means
nothing to another recipe, so one that was written by another is refused instead of being misread.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from typing import Any, Final

import msgspec
import numpy as np

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.forecast.combine import CombineState
from shoal.forecast.combine_fit import FitState
from shoal.forecast.conformal import ConformalState, Spread
from shoal.forecast.dayahead import DayAheadRecipe, DayAheadState, Pending
from shoal.forecast.dayahead_experts import KernelState, LearState, NetworkState, TreeState
from shoal.forecast.dayahead_features import Scaler
from shoal.forecast.dayahead_kernel import KernelModel
from shoal.forecast.dayahead_scaled import Scaled
from shoal.forecast.lear import Lasso
from shoal.forecast.network import Network
from shoal.forecast.sites_trees import Trees

_VERSION: Final = 2
_KINDS: Final = {
    kind.__name__: kind
    for kind in (
        *(
            CombineState,
            ConformalState,
            DayAheadState,
            FitState,
            KernelModel,
            KernelState,
            Lasso,
            LearState,
        ),
        *(Network, NetworkState, Pending, Scaled, Scaler, Spread, Trees, TreeState),
    )
}
_DTYPES: Final = ("<f4", "<f8", "<i8", "<i2", "|u1")


def digest_of(recipe: DayAheadRecipe) -> str:
    """Return a fingerprint of everything in the recipe."""
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]


def encode_state(recipe: DayAheadRecipe, state: DayAheadState) -> bytes:
    """Return the state as bytes."""
    content = {"version": _VERSION, "recipe": digest_of(recipe), "state": _plain(state)}
    return msgspec.msgpack.encode(content)


def decode_state(recipe: DayAheadRecipe, data: bytes) -> DayAheadState:
    """Return the state of `encode_state`.

    Raises:
        CorruptStateError: when the bytes are not a state.
        InvalidInputError: when it was written with another recipe or by another version.
    """
    try:
        content = msgspec.msgpack.decode(data)
        version, digest, plain = content["version"], content["recipe"], content["state"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise CorruptStateError("state of a day-ahead forecast", str(error)) from error
    if (version, digest) != (_VERSION, digest_of(recipe)):
        raise InvalidInputError(
            field="state", value=f"{digest} v{version}", fix="warm up anew with this recipe"
        )
    try:
        state = _restored(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStateError("state of a day-ahead forecast", str(error)) from error
    if not isinstance(state, DayAheadState):
        raise CorruptStateError("state of a day-ahead forecast", f"it is a {type(state).__name__}")
    return state


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return {"array": array.dtype.newbyteorder("<").str, "shape": array.shape, "bytes": array.tobytes()}
    if is_dataclass(value):
        inside = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {"kind": type(value).__name__, "fields": inside}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_restored(one) for one in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        if value["array"] not in _DTYPES:
            raise ValueError(f"array of {value['array']}")
        return np.frombuffer(value["bytes"], dtype=value["array"]).reshape(value["shape"]).copy()
    kind = _KINDS[value["kind"]]
    return kind(**{name: _restored(one) for name, one in value["fields"].items()})
