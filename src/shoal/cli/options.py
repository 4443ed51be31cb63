"""What commands share: the options that feed the settings, and how results are printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from shoal.runtime.settings import Settings

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file; else $SHOAL_CONFIG, else ./shoal.toml."),
]
SetValues: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a key; may be given again.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def read_settings(config: Path | None, assignments: Sequence[str] | None, **flags: object) -> Settings:
    """Return the settings of this invocation.

    Args:
        config: What ``--config`` gave.
        assignments: What ``--set`` gave.
        flags: Values of a command's own options by key, with ``__`` for the dot; a None was not given.

    Raises:
        SettingsError: when a key or value is wrong.
    """
    from shoal.domain.errors import SettingsError
    from shoal.runtime.settings import load_settings

    values: dict[str, object] = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(field="--set", value=name, fix="give KEY=VALUE")
        values[name.strip()] = value
    values.update({name.replace("__", "."): value for name, value in flags.items() if value is not None})
    return load_settings(file=config, flags=values)


def print_json(content: Any) -> None:
    """Print a value as indented JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as aligned columns, the last one as long as it is."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join([*cells, row[-1]]).rstrip())
