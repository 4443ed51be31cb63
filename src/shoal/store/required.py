"""Refusing ids that the registry does not have, before anything is written about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, select, union_all

from shoal.domain.errors import UnknownIdError
from shoal.domain.ids import SiteId
from shoal.store.schema import GATEWAY, SITE

_FEW: Final = 500


def require_sites(connection: Connection, site_ids: Sequence[SiteId]) -> None:
    """Raise unless every site is registered.

    Raises:
        UnknownIdError: naming the first that is not.
    """
    _require(connection, "site", site_ids, select(SITE.c.site_id))


def require_devices(connection: Connection, ids: Sequence[SiteId]) -> None:
    """Raise unless every name is that of a site or a gateway.

    Raises:
        UnknownIdError: naming the first that is not.
    """
    every = union_all(select(SITE.c.site_id), select(GATEWAY.c.gateway_id)).subquery()
    _require(connection, "site", ids, select(every.c.site_id))


def _require(connection: Connection, kind: str, ids: Sequence[SiteId], query: Select[Any]) -> None:
    if len(ids) <= _FEW:
        query = query.where(next(iter(query.selected_columns)).in_(ids))
    known = set(connection.execute(query).scalars())
    for name in ids:
        if name not in known:
            raise UnknownIdError(kind, name)
