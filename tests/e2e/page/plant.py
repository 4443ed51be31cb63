"""A plant for stories: a demonstration with its page, at a walking pace, that can be told to fail.

Run it by hand as `python -m tests.e2e.page.plant --data-dir DIR`, and stories against what it prints. When the plant
has passed its lead-in, it says on one line where its page and its hooks are; it runs until it is told to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec

from shoal.cli.demo import Demo, Progress, interruptible
from shoal.cli.roles.homes import planned_fleet
from shoal.cli.roles.host import sqlite_url
from shoal.cli.roles.silenced import FILE as SILENCED
from shoal.runtime.log import configure_logging
from shoal.runtime.settings import Settings, load_settings
from shoal.runtime.supervisor import Supervisor
from shoal.store.database import open_database
from shoal.store.users import Users
from tests.e2e.page.hooks import Hooks, served
from tests.e2e.page.override import Override
from tests.e2e.page.spare import add_spare_gateway

SITES = 30
SPEED = 60.0
"""A minute of the plant each second: forecasts, gates and orders move while a story watches."""
HOURS = 48


class Addresses(msgspec.Struct, frozen=True):
    """Where a plant's page and its hooks are."""

    page: str
    hooks: str


def settings_for(data_dir: Path, *, sites: int, speed: float, page_dir: str) -> Settings:
    """Return the settings of the run, on free ports."""
    flags = {
        "data_dir": str(data_dir.absolute()),
        "demo.sites": sites,
        "demo.duration_s": HOURS * 3_600,
        "demo.seed": 1,
        "demo.speed": speed,
        "api.port": 0,
    }
    return load_settings(file=None, env={}, flags=flags | ({"api.page_dir": page_dir} if page_dir else {}))


def run(settings: Settings, *, hurry_h: int) -> None:
    """Run the plant until it is told to stop, and say where it is."""
    configure_logging(settings.log, role="plant")
    page: list[str] = []
    override = Override(page=page)
    with ExitStack() as stack:

        def tell(progress: Progress, supervisor: Supervisor) -> None:
            override.after(progress)
            early = progress.done_frac * settings.demo.duration_s < hurry_h * 3_600
            if early or progress.phase != "run" or not page:
                return
            hooks = Hooks(
                supervisor=supervisor,
                open_users=lambda: Users(open_database(sqlite_url(settings, "registry.db"))),
                open_fleet=lambda: planned_fleet(settings),
                silenced=settings.data_dir / "run" / SILENCED,
                alarms_url=sqlite_url(settings, "registry.db"),
            )
            add_spare_gateway(open_database(sqlite_url(settings, "registry.db")))
            addresses = Addresses(page=page.pop(), hooks=stack.enter_context(served(hooks)))
            sys.stdout.write(msgspec.json.encode(addresses).decode() + "\n")
            sys.stdout.flush()

        demo = Demo(
            settings=settings,
            page=True,
            on_page=page.append,
            on_progress=tell,
            hurry_s=hurry_h * 3_600,
        )
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(interruptible(demo))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Run a plant for the stories of the page.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--sites", type=int, default=SITES)
    parser.add_argument("--speed", type=float, default=SPEED)
    parser.add_argument("--hurry", type=int, default=0, help="hours that pass as fast as they can first")
    parser.add_argument("--page-dir", default="", help="the page's files, when not those in the package")
    given = parser.parse_args()
    settings = settings_for(given.data_dir, sites=given.sites, speed=given.speed, page_dir=given.page_dir)
    run(settings, hurry_h=given.hurry)


if __name__ == "__main__":
    main()
