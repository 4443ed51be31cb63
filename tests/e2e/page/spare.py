"""A gateway in the registry that no site is behind yet: a story may give it secrets, and no home falls silent for it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, func, select

from shoal.store.database import insert_into, writing
from shoal.store.schema import GATEWAY

SPARE: Final = "gateway-spare"


def add_spare_gateway(registry: Engine) -> None:
    """Register it, if it is not there; the fleet stays as it is."""
    with writing(registry, lock="registry") as connection:
        number = connection.execute(
            select(func.coalesce(func.max(GATEWAY.c.gateway_no), -1) + 1)
        ).scalar_one()
        insert = insert_into(connection, GATEWAY).values(gateway_id=SPARE, gateway_no=number)
        connection.execute(insert.on_conflict_do_nothing(index_elements=["gateway_id"]))
