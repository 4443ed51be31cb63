"""What the commands about bidding share: the plant's stores, instants as people write them, and who is at the keyboard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from shoal.cli.options import read_settings

if TYPE_CHECKING:
    from shoal.store.consents import Consents
    from shoal.store.cycles import Cycles
    from shoal.store.facts import FactStore
    from shoal.store.settlings import Settlings
    from shoal.store.slots import Slots

By: TypeAlias = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who says it; else who is logged in.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The stores of one plant."""

    cycles: Cycles
    consents: Consents
    facts: FactStore
    slots: Slots
    settlings: Settlings


def open_stores(config: Path | None, assignments: list[str] | None) -> Stores:
    """Return the stores of the plant that the settings name.

    Raises:
        UnavailableError: there is no plant there, or its database cannot be reached.
    """
    from shoal.cli.roles.host import sqlite_url
    from shoal.domain.errors import UnavailableError
    from shoal.store.consents import Consents
    from shoal.store.cycles import Cycles
    from shoal.store.database import migrate, open_database
    from shoal.store.facts import FactStore
    from shoal.store.settlings import Settlings
    from shoal.store.slots import Slots

    settings = read_settings(config, assignments)
    file = settings.data_dir.absolute() / "registry.db"
    if not settings.bidding.database_url and not file.exists():
        why = f"there is no {file}; set data_dir or bidding.database_url"
        raise UnavailableError("the plant's database", why)
    url = settings.bidding.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    engine = open_database(url)
    return Stores(
        cycles=Cycles(engine),
        consents=Consents(engine),
        facts=FactStore(engine),
        slots=Slots(engine),
        settlings=Settlings(engine),
    )


def load_strategies() -> None:
    """Register the strategies that come with the package."""
    import importlib

    from shoal.bidding.cycle.runner import STRATEGIES

    for name in STRATEGIES:
        importlib.import_module(name)


def parse_instant(option: str, text: str) -> int:
    """Return the instant that a person wrote, UTC ns.

    Raises:
        InvalidInputError: it is no instant, or says nothing of its distance from UTC.
    """
    from datetime import datetime

    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import to_ns

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        fix = "write it like 2026-05-04T16:00:00-05:00"
        raise InvalidInputError(field=option, value=text, fix=fix) from error
    if moment.tzinfo is None:
        raise InvalidInputError(field=option, value=text, fix="add its distance from UTC, like Z or -05:00")
    return to_ns(moment)


def speaker(by: str | None) -> str:
    """Return who speaks: as given, else the login name.

    Raises:
        InvalidInputError: nobody is named.
    """
    import getpass

    from shoal.domain.errors import InvalidInputError

    if by is None:
        try:
            by = getpass.getuser()
        except (KeyError, OSError) as error:
            raise InvalidInputError(field="--by", value="", fix="say who you are") from error
    if not by.strip():
        raise InvalidInputError(field="--by", value=by, fix="say who you are")
    return by.strip()
