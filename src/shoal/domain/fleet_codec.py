"""A fleet as named arrays and back, so that it can travel and be kept as one block.

What repeats is sent once: nameplates as the distinct ones and a number a site. A million sites take some 40 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.fleet import NAMEPLATE, SITE_COLUMNS, Fleet, Group, Resource
from shoal.domain.ids import HierarchyId, SiteId

_LEAF: Final = "leaf:"
_COLUMNS: Final = tuple(name for name in SITE_COLUMNS if name != "nameplate")


class _Names(msgspec.Struct, frozen=True, kw_only=True):
    groups: list[Group]
    resources: list[Resource]


def fleet_arrays(fleet: Fleet) -> dict[str, NDArray[Any]]:
    """Return everything that makes the fleet, as arrays by name."""
    raw = np.ascontiguousarray(fleet.nameplate).view(np.dtype((np.void, NAMEPLATE.dtype.itemsize)))
    distinct, plate_of = np.unique(raw, return_inverse=True)
    names = _Names(groups=list(fleet.groups), resources=list(fleet.resources))
    return {
        "site_ids": _packed(fleet.site_ids),
        "gateway_ids": _packed(fleet.gateway_ids),
        "plates": np.frombuffer(distinct.tobytes(), dtype=NAMEPLATE.dtype),
        "plate_of": plate_of.astype(np.int32),
        "names": np.frombuffer(msgspec.json.encode(names), dtype=np.uint8),
        **{name: getattr(fleet, name) for name in _COLUMNS},
        **{f"{_LEAF}{hierarchy}": leaves for hierarchy, leaves in fleet.leaf_group.items()},
    }


def fleet_of(arrays: Mapping[str, NDArray[Any]]) -> Fleet:
    """Return the fleet that the arrays were made from.

    Raises:
        CorruptStateError: when one is missing, or they do not belong together.
    """
    try:
        names = msgspec.json.decode(arrays["names"].tobytes(), type=_Names)
        return Fleet(
            site_ids=tuple(SiteId(name) for name in _unpacked(arrays["site_ids"])),
            gateway_ids=tuple(_unpacked(arrays["gateway_ids"])),
            nameplate=arrays["plates"][arrays["plate_of"]],
            groups=tuple(names.groups),
            resources=tuple(names.resources),
            leaf_group={
                HierarchyId(name.removeprefix(_LEAF)): leaves
                for name, leaves in arrays.items()
                if name.startswith(_LEAF)
            },
            **{name: arrays[name] for name in _COLUMNS},
        )
    except (KeyError, IndexError, ValueError, InvalidInputError, msgspec.MsgspecError) as error:
        raise CorruptStateError("fleet", f"{type(error).__name__}: {error}") from error


def _packed(names: tuple[str, ...]) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(names).encode(), dtype=np.uint8)


def _unpacked(blob: NDArray[np.uint8]) -> list[str]:
    text = blob.tobytes().decode()
    return text.split("\n") if text else []
