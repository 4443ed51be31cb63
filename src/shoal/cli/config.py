"""`shoal config`: what the settings are, where each came from, what they may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

app = typer.Typer(help="Show, check and document the settings.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def show(config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False) -> None:
    """Print every setting, its value and where it came from; secrets are hidden."""
    shown = read_settings(config, set_).show()
    if as_json:
        print_json({entry.key: entry for entry in shown})
        return
    print_columns([(s.key, _text(s.value), f"({s.source})" if s.source != "default" else "") for s in shown])


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file.")], as_json: AsJson = False
) -> None:
    """Check a file, together with the environment, and start nothing."""
    shown = read_settings(file, None).show()
    keys = [entry.key for entry in shown if entry.source == str(file)]
    if as_json:
        print_json({"file": str(file), "keys": keys, "ok": True})
    else:
        typer.echo(f"{file}: {len(keys)} key{'' if len(keys) == 1 else 's'}, all well")


@app.command()
def docs() -> None:
    """Print the documentation of every key as Markdown."""
    from shoal.runtime.settings import docs_markdown

    typer.echo(docs_markdown(), nl=False)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'
