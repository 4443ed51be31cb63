"""The entry point of a role's process: ``python -m shoal.cli.role NAME --settings FILE``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoal.runtime.settings import Settings

PLANT_ROLES: Final = ("fabric", "telemetry", "history", "control", "bidding", "api")
OPTIONAL_ROLES: Final = ("feeds", "regulation", "prices")
"""Roles that are among all only when their settings give them something to do."""
WORLD_ROLES: Final = ("market", "homes")
OPTIONAL_WORLD_ROLES: Final = ("signal",)
"""The same of the simulated world."""
GC_THRESHOLD: Final = 50_000
"""Columns leave little garbage: looking for cycles every 700 objects would cost more than it frees."""


def main() -> None:
    """Run one role until it is asked to end."""
    parser = argparse.ArgumentParser(prog="shoal.cli.role")
    parser.add_argument("role", choices=[*PLANT_ROLES, *OPTIONAL_ROLES, *WORLD_ROLES, *OPTIONAL_WORLD_ROLES])
    parser.add_argument("--settings", type=Path, required=True)
    given = parser.parse_args()
    settings = Settings.saved(given.settings)
    from shoal.cli.roles.host import run_role

    body = getattr(importlib.import_module(f"shoal.cli.roles.{given.role}"), given.role)
    section = getattr(settings, given.role, None)
    port = getattr(section, "http_port", 0)
    gc.set_threshold(GC_THRESHOLD)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run_role(given.role, settings, body, port=port))
    # everything is closed; taking compiled code apart would take a second or two
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where there is one (not on Windows), else None for the standard one."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
