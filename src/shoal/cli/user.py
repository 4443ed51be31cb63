"""`shoal user`: who may sign in on the page, as what, and with which password.

A password is asked for twice and never shown; where nobody is at a keyboard it is the first line of standard input.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.store.users import User, Users

app = typer.Typer(
    help="People who sign in on the page: their roles and passwords.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

UserName: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="In lower case.")]
Role: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="viewer, operator, trader, admin or homeowner; several by repeating it. Left out: as it was, or viewer.",
    ),
]
Site: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--site", metavar="SITE", help="A homeowner's own site; several by repeating it."),
]
FromInput: TypeAlias = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
By: TypeAlias = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who says so; else who is signed in.")
]


@app.command()
def add(
    name: UserName,
    role: Role = None,
    site: Site = None,
    password_stdin: FromInput = False,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody sign in. From the first user on, everybody has to."""
    from shoal.domain.errors import InvalidInputError

    users = _opened(config, set_)
    if any(one.name == name.strip().lower() for one in users.users()):
        raise InvalidInputError(field="NAME", value=name, fix="there is one already: use 'shoal user role'")
    password = _password(from_input=password_stdin)
    user = users.put(
        name,
        roles=role or (["homeowner"] if site else ["viewer"]),
        sites=site or (),
        password=password,
        by=_who(by),
        at_ns=_now_ns(),
    )
    _tell(_shown(user, 0), f"{user.name} may sign in as {', '.join(user.roles)}", as_json=as_json)


@app.command(name="role")
def change_role(
    name: UserName,
    role: Role = None,
    site: Site = None,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Change what somebody is."""
    from shoal.domain.errors import InvalidInputError

    users = _opened(config, set_)
    held = _held(users, name)
    if role is None and site is None:
        raise InvalidInputError(field="--role", value="none", fix="name a --role or a --site")
    user = users.put(
        held.name,
        roles=role or held.roles,
        sites=site if site is not None else held.sites if not role or "homeowner" in role else (),
        by=_who(by),
        at_ns=_now_ns(),
    )
    _tell(_shown(user, 0), f"{user.name} is {', '.join(user.roles)}", as_json=as_json)


@app.command(name="list")
def list_(config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False) -> None:
    """List who may sign in."""
    users = _opened(config, set_)
    counts = users.session_counts(at_ns=_now_ns())
    shown = [_shown(user, counts.get(user.name, 0)) for user in users.users()]
    if as_json:
        print_json(shown)
    elif not shown:
        typer.echo("nobody has to sign in: whoever is at this machine may do everything")
    else:
        print_columns(
            [
                ("NAME", "ROLES", "SITES", "SIGNED IN", "SINCE"),
                *(
                    (
                        str(one["name"]),
                        ", ".join(one["roles"]),
                        ", ".join(one["sites"]) or "-",
                        str(one["sessions"]),
                        str(one["made"]),
                    )
                    for one in shown
                ),
            ]
        )


@app.command()
def password(
    name: UserName,
    password_stdin: FromInput = False,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Give somebody a new password; who is signed in under the name is signed out."""
    users = _opened(config, set_)
    held = _held(users, name)
    users.set_password(held.name, _password(from_input=password_stdin), by=_who(by), at_ns=_now_ns())
    _tell(_shown(held, 0), f"{held.name} has a new password", as_json=as_json)


@app.command()
def remove(
    name: UserName,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody sign in no more; without any user left, nobody has to."""
    users = _opened(config, set_)
    held = _held(users, name)
    users.remove(held.name, by=_who(by), at_ns=_now_ns())
    _tell(_shown(held, 0), f"{held.name} may sign in no more", as_json=as_json)


def _opened(config: Path | None, set_: list[str] | None) -> Users:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import migrate, open_database
    from shoal.store.users import Users

    settings = read_settings(config, set_)
    url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    return Users(open_database(url))


def _held(users: Users, name: str) -> User:
    from shoal.domain.errors import UnknownIdError

    for user in users.users():
        if user.name == name.strip().lower():
            return user
    raise UnknownIdError("user", name)


def _password(*, from_input: bool) -> str:
    if from_input:
        return typer.get_text_stream("stdin").readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _who(by: str | None) -> str:
    import getpass

    return getpass.getuser() if by is None else by


def _now_ns() -> int:
    import time

    return time.time_ns()


def _shown(user: User, sessions: int) -> dict[str, Any]:
    made = datetime.fromtimestamp(user.made_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%MZ")
    return {
        "name": user.name,
        "roles": list(user.roles),
        "sites": list(user.sites),
        "sessions": sessions,
        "made": made,
        "made_by": user.made_by,
    }


def _tell(content: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(content)
    else:
        typer.echo(text)
