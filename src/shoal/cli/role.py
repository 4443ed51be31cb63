"""The entry point of a role's process: ``python -m shoal.cli.role NAME --settings FILE``."""

from __future__ import annotations

import argparse
import asyncio
import importlib
from pathlib import Path
from typing import Final

from shoal.runtime.settings import Settings

PLANT_ROLES: Final = ("fabric", "telemetry", "control", "bidding", "api")
WORLD_ROLES: Final = ("market", "homes")


def main() -> None:
    """Run one role until it is asked to end."""
    parser = argparse.ArgumentParser(prog="shoal.cli.role")
    parser.add_argument("role", choices=[*PLANT_ROLES, *WORLD_ROLES])
    parser.add_argument("--settings", type=Path, required=True)
    given = parser.parse_args()
    settings = Settings.saved(given.settings)
    from shoal.cli.roles.host import run_role

    body = getattr(importlib.import_module(f"shoal.cli.roles.{given.role}"), given.role)
    section = getattr(settings, given.role, None)
    port = getattr(section, "http_port", 0)
    asyncio.run(run_role(given.role, settings, body, port=port))


if __name__ == "__main__":
    main()
