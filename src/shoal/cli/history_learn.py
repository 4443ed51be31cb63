"""`shoal history learn`: learn at once how silent sites behave, beside what the plant reckons with now."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings
from shoal.domain.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from nats.aio.client import Client

    from shoal.domain.fleet import Fleet
    from shoal.runtime.settings import Settings
    from shoal.twin.silence import SilenceTable
    from shoal.twin.silence_learned import LearnedSilence

_SHOWN_MIN: Final = (10, 30, 60, 180, 720)
_ROWS: Final = ("battery", "solar", "load", "ev", "battery, ordered")
_CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _InUse:
    """What the plant reckons with: from the engine, else what comes with the package."""

    table: SilenceTable
    note: str
    seq: int = 0


def learn(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be learned; the plant need not run.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Take it even if it does no better than the built-in one.")
    ] = False,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="End of the history to learn from; else now.")
    ] = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Learn how silent sites behave from the plant's own last days, and let the plant reckon with it."""
    from shoal.cli.history_store import learn_silence_of
    from shoal.twin.layout import Layout

    settings = read_settings(config, set_)
    now_ns = time.time_ns() if to is None else _instant(to)
    fleet = _fleet(settings, now_ns)
    in_use = asyncio.run(_in_use(settings, dry_run=dry_run))
    learned = learn_silence_of(settings, fleet, Layout.of(fleet), now_ns=now_ns)
    publish = not dry_run and (anyway or learned.is_better)
    if publish:
        asyncio.run(_publish(settings, learned, over=in_use.seq))
    beside = [_compared(learned.table, in_use.table, minutes) for minutes in _SHOWN_MIN]
    if as_json:
        print_json(
            {
                "published": publish,
                "is_better": learned.is_better,
                "learned": {
                    "about": learned.table.provenance,
                    "learned_ns": learned.learned_ns,
                    "from_ns": learned.from_ns,
                    "to_ns": learned.to_ns,
                    "sites": learned.sites,
                    "fleet_sites": learned.fleet_sites,
                    "samples": learned.sample_count,
                    "recorded": learned.is_recorded,
                    "trial": learned.trial._asdict(),
                    "built_in_trial": learned.built_in_trial._asdict(),
                },
                "in_use": {"about": in_use.table.provenance, "note": in_use.note},
                "rates": [row for rows in beside for row in rows],
            }
        )
        return
    typer.echo(f"learned  {learned.table.provenance}")
    typer.echo(f"in use   {in_use.table.provenance} ({in_use.note})")
    rows: list[tuple[str, ...]] = [
        ("age, min", "signal", "weight", "in use", "spread", "in use", "shared", "in use")
    ]
    for found in beside:
        for row in found:
            numbers = (
                f"{row[name][which]:.2f}" for name in ("weight", "spread", "common") for which in (0, 1)
            )
            rows.append((str(row["age_min"]), row["signal"], *numbers))
    print_columns(rows)
    own, other = learned.trial, learned.built_in_trial
    typer.echo(
        f"on the last third of that history, after learning from the rest: 90 % interval covers {own.covered_frac:.3f} "
        f"at a loss of {own.loss_w:.2f} W a site; built-in {other.covered_frac:.3f} at {other.loss_w:.2f} W"
    )
    if publish:
        typer.echo("taken: the plant reckons with it within seconds")
    elif learned.is_better:
        typer.echo("not taken (--dry-run)")
    else:
        why = (
            "it does no better"
            if learned.is_recorded
            else "too few samples came late, so silence was pretended"
        )
        typer.echo(f"not taken: {why}" + (" (--dry-run)" if dry_run else "; --anyway takes it"))


def _compared(learned: SilenceTable, in_use: SilenceTable, minutes: int) -> list[dict[str, Any]]:
    """Return the rates of both tables at an age, by signal; spread and shared error in dispersions of the fleet."""
    import numpy as np

    from shoal.domain.interval import NS_PER_MINUTE

    age_ns = minutes * NS_PER_MINUTE
    both = [
        (table, int(np.searchsorted(table.edges_ns, age_ns, side="right"))) for table in (learned, in_use)
    ]
    return [
        {
            "age_min": minutes,
            "signal": signal,
            **{
                name: [round(float(getattr(table, name)[number, at]), 4) for table, at in both]
                for name in ("weight", "spread", "common")
            },
        }
        for number, signal in enumerate(_ROWS)
    ]


def _fleet(settings: Settings, now_ns: int) -> Fleet:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import open_database
    from shoal.store.registry import Registry

    file = settings.data_dir / "registry.db"
    fleet = None
    if settings.registry.database_url or file.exists():
        url = settings.registry.database_url or sqlite_url(settings, "registry.db")
        fleet = Registry(open_database(url)).fleet_at(now_ns)
    if fleet is None or not fleet.site_ids:
        raise InvalidInputError(
            field="data_dir", value=str(settings.data_dir), fix="name one with registered sites in it"
        )
    return fleet


async def _connect(settings: Settings) -> Client:
    """Connect as who keeps history."""
    import ssl

    from shoal.fabric.connection import connect
    from shoal.fabric.keys import Keys, Role

    directory = settings.data_dir / "keys"
    if not directory.is_dir():
        raise UnavailableError("the engine", f"there are no keys in {directory}")
    fabric = settings.fabric
    ca = fabric.tls_ca or fabric.tls_cert
    scheme = "tls" if fabric.tls_cert else "nats"
    return await connect(
        fabric.url or f"{scheme}://{fabric.host}:{fabric.client_port}",
        seed=Keys.create_or_load(directory).seed(Role.HISTORY),
        name="history learn",
        tls=ssl.create_default_context(cafile=ca) if ca else None,
        timeout_s=_CONNECT_S,
    )


async def _in_use(settings: Settings, *, dry_run: bool) -> _InUse:
    """Return the table in use; without a plant, for a look, the built-in one."""
    from shoal.fabric.silence_feed import SilenceFeed
    from shoal.twin.silence_default import built_in_table

    try:
        client = await _connect(settings)
    except UnavailableError:
        if not dry_run:
            raise
        return _InUse(built_in_table(), "built-in; the engine does not answer")
    try:
        kept = await SilenceFeed(client).current()
    finally:
        await client.close()
    if kept.learned is not None:
        return _InUse(kept.learned.table, "learned before", kept.seq)
    return _InUse(built_in_table(), "built-in", kept.seq)


async def _publish(settings: Settings, learned: LearnedSilence, *, over: int) -> None:
    from shoal.fabric.silence_feed import SilenceFeed

    client = await _connect(settings)
    try:
        await SilenceFeed(client).publish(learned, over=over)
    finally:
        await client.close()


def _instant(text: str) -> int:
    from datetime import UTC, datetime

    from shoal.domain.interval import to_ns

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(
            field="--to", value=text, fix="give a time such as 2021-02-10T06:00Z"
        ) from error
    return to_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
