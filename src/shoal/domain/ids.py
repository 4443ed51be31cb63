"""Identities: what each thing is called, so that a row number is never mistaken for a name.

Ids are strings chosen by people or registries. A *row* is a position in an array and never leaves the process.
"""

from __future__ import annotations

import re
from typing import Final, NewType

from shoal.domain.errors import InvalidInputError

SiteId = NewType("SiteId", str)
AssetId = NewType("AssetId", str)
GroupId = NewType("GroupId", str)
HierarchyId = NewType("HierarchyId", str)
ProgramId = NewType("ProgramId", str)
ResourceId = NewType("ResourceId", str)
MarketId = NewType("MarketId", str)
Row = NewType("Row", int)

_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def checked_id(kind: str, value: str) -> str:
    """Return `value` when it can be a subject token, a file name and a URL part at once.

    Raises:
        InvalidInputError: when it is empty, longer than 64 characters or holds anything but letters,
            digits, ``-`` and ``_``.
    """
    if not _TOKEN.fullmatch(value):
        raise InvalidInputError(
            field=kind,
            value=value,
            fix="use 1 to 64 letters, digits, '-' or '_', beginning with a letter or digit",
        )
    return value


def site_id(value: str) -> SiteId:
    """Return `value` as a `SiteId`.

    Raises:
        InvalidInputError: see `checked_id`.
    """
    return SiteId(checked_id("site_id", value))
