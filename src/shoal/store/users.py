"""People who use the page: who may sign in as what, who is signed in, and what was changed about them.

A session is kept under the digest of its secret, a password under a slow one (`shoal.store.passwords`). Calls block;
an asynchronous caller runs them in a thread. Instants are of the machine's clock, not of the plant's, which may be simulated.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import SiteId
from shoal.store.database import reading, writing
from shoal.store.passwords import (
    USUAL_COST,
    Cost,
    check_password,
    password_matches,
    seal_password,
    unmatched_password,
)
from shoal.store.required import require_sites
from shoal.store.user_schema import PAGE_SESSION, PAGE_USER, USER_STEP

RoleName: TypeAlias = Literal["viewer", "operator", "trader", "admin", "homeowner"]
ROLES: Final[tuple[RoleName, ...]] = get_args(RoleName)
SECRET_BYTES: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may sign in.

    Attributes:
        name: In lower case.
        roles: What the person is here, in the order of `ROLES`.
        sites: Of a homeowner, the sites that are the person's own.
        password_ns: When the password was set.
        made_ns: When the user was added.
        made_by: By whom.
    """

    name: str
    roles: tuple[RoleName, ...]
    sites: tuple[SiteId, ...]
    password_ns: int
    made_ns: int
    made_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSession:
    """Somebody who is signed in, until `until_ns`."""

    user: User
    made_ns: int
    until_ns: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserStep:
    """A change of who may sign in, or a person's signing in."""

    number: int
    at_ns: int
    by: str
    action: str
    subject: str
    detail: str


class Users:
    """People in a migrated database.

    Args:
        engine: The database.
        random_bytes: Source of randomness.
        cost: What a guess of a password costs.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        cost: Cost = USUAL_COST,
    ) -> None:
        self._engine = engine
        self._random_bytes = random_bytes
        self._cost = cost
        # Somebody who is not there takes as long to refuse as a wrong password.
        self._nobody = unmatched_password(random_bytes=random_bytes, cost=cost)

    # -- people

    def put(
        self,
        name: str,
        *,
        roles: Sequence[str],
        sites: Sequence[str] = (),
        password: str | None = None,
        by: str,
        at_ns: int,
    ) -> User:
        """Add somebody, or change roles and sites of somebody; with a password it is set, and all sessions end.

        Raises:
            InvalidInputError: when a name, role or password cannot be, or somebody new has no password.
            UnknownIdError: when there is no such site.
        """
        name, kept_roles = _checked_name(name), _checked_roles(roles, sites)
        sealed = None
        if password is not None:
            check_password(password)
            sealed = seal_password(password, random_bytes=self._random_bytes, cost=self._cost)
        values: dict[str, Any] = {"roles": json.dumps(kept_roles), "sites": json.dumps(list(sites))}
        if sealed is not None:
            values |= {"password": sealed, "password_ns": at_ns}
        with writing(self._engine, lock="users") as connection:
            require_sites(connection, [SiteId(site) for site in sites])
            held = _row(connection, name)
            if held is None:
                if sealed is None:
                    raise InvalidInputError(
                        field="password", value="none", fix="give somebody new a password"
                    )
                connection.execute(insert(PAGE_USER).values(name=name, made_ns=at_ns, made_by=by, **values))
            else:
                connection.execute(update(PAGE_USER).where(PAGE_USER.c.name == name).values(values))
                if sealed is not None:
                    connection.execute(delete(PAGE_SESSION).where(PAGE_SESSION.c.user_name == name))
            detail = ", ".join(kept_roles) + (f"; {len(sites)} sites" if sites else "")
            if held is not None and sealed is not None:
                detail += "; new password"
            _note(
                connection,
                at_ns=at_ns,
                by=by,
                action="added" if held is None else "changed",
                subject=name,
                detail=detail,
            )
            return _user(_required(connection, name))

    def set_password(self, name: str, password: str, *, by: str, at_ns: int) -> None:
        """Give somebody a new password; whoever is signed in under the name is signed out.

        Raises:
            UnknownIdError: when there is nobody of that name.
            InvalidInputError: when it is too short.
        """
        check_password(password)
        sealed = seal_password(password, random_bytes=self._random_bytes, cost=self._cost)
        name = name.lower()
        with writing(self._engine, lock="users") as connection:
            _required(connection, name)
            connection.execute(
                update(PAGE_USER).where(PAGE_USER.c.name == name).values(password=sealed, password_ns=at_ns)
            )
            connection.execute(delete(PAGE_SESSION).where(PAGE_SESSION.c.user_name == name))
            _note(connection, at_ns=at_ns, by=by, action="password", subject=name)

    def remove(self, name: str, *, by: str, at_ns: int) -> None:
        """Let somebody sign in no more; the sessions of that name end.

        Raises:
            UnknownIdError: when there is nobody of that name.
        """
        name = name.lower()
        with writing(self._engine, lock="users") as connection:
            _required(connection, name)
            connection.execute(delete(PAGE_SESSION).where(PAGE_SESSION.c.user_name == name))
            connection.execute(delete(PAGE_USER).where(PAGE_USER.c.name == name))
            _note(connection, at_ns=at_ns, by=by, action="removed", subject=name)

    def users(self) -> list[User]:
        """Return everybody, by name."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(PAGE_USER).order_by(PAGE_USER.c.name)).mappings()
            return [_user(dict(row)) for row in rows]

    def any(self) -> bool:
        """Whether somebody may sign in at all."""
        with reading(self._engine) as connection:
            return connection.execute(select(PAGE_USER.c.name).limit(1)).first() is not None

    def verify(self, name: str, password: str) -> User | None:
        """Return who it is, None for a wrong name or password; both take the same time, which is long."""
        with reading(self._engine) as connection:
            row = _row(connection, name.strip().lower())
        right = password_matches(password, self._nobody if row is None else row["password"])
        return _user(row) if row is not None and right else None

    # -- sessions

    def begin_session(self, user: User, *, at_ns: int, until_ns: int, address: str) -> str:
        """Sign somebody in and return the session's secret; sessions that have ended are let go of."""
        secret = secrets_text(self._random_bytes)
        with writing(self._engine) as connection:
            connection.execute(delete(PAGE_SESSION).where(PAGE_SESSION.c.until_ns <= at_ns))
            connection.execute(
                insert(PAGE_SESSION).values(
                    digest=_digest(secret),
                    user_name=user.name,
                    made_ns=at_ns,
                    until_ns=until_ns,
                    address=address[:64],
                )
            )
            _note(
                connection,
                at_ns=at_ns,
                by=user.name,
                action="signed in",
                subject=user.name,
                detail=address[:64],
            )
        return secret

    def session(self, secret: str, *, at_ns: int) -> UserSession | None:
        """Return whose session it is, None when there is none or it has ended."""
        query = (
            select(
                PAGE_USER,
                *(
                    PAGE_SESSION.c[name].label(f"session_{name}")
                    for name in ("made_ns", "until_ns", "address")
                ),
            )
            .join(PAGE_SESSION, PAGE_SESSION.c.user_name == PAGE_USER.c.name)
            .where(PAGE_SESSION.c.digest == _digest(secret), PAGE_SESSION.c.until_ns > at_ns)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return UserSession(
            user=_user(dict(row)),
            made_ns=row["session_made_ns"],
            until_ns=row["session_until_ns"],
            address=row["session_address"],
        )

    def end_session(self, secret: str, *, at_ns: int) -> None:
        """Sign out; a session that there is not changes nothing."""
        with writing(self._engine) as connection:
            of_it = PAGE_SESSION.c.digest == _digest(secret)
            name = connection.execute(select(PAGE_SESSION.c.user_name).where(of_it)).scalar_one_or_none()
            if name is not None:
                connection.execute(delete(PAGE_SESSION).where(of_it))
                _note(connection, at_ns=at_ns, by=name, action="signed out", subject=name)

    def session_counts(self, *, at_ns: int) -> dict[str, int]:
        """Return how often each person is signed in now."""
        query = (
            select(PAGE_SESSION.c.user_name, func.count())
            .where(PAGE_SESSION.c.until_ns > at_ns)
            .group_by(PAGE_SESSION.c.user_name)
        )
        with reading(self._engine) as connection:
            return {name: int(count) for name, count in connection.execute(query)}

    def steps(self, latest: int, *, before: int = 0) -> list[UserStep]:
        """Return what was changed about people and who signed in, the newest first."""
        query = select(USER_STEP).order_by(USER_STEP.c.step_no.desc()).limit(latest)
        if before:
            query = query.where(USER_STEP.c.step_no < before)
        with reading(self._engine) as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [UserStep(number=row.pop("step_no"), **row) for row in rows]


def secrets_text(random_bytes: Callable[[int], bytes]) -> str:
    """Return a fresh secret of 64 hexadecimal digits."""
    return random_bytes(SECRET_BYTES).hex()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked_name(name: str) -> str:
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            field="name",
            value=name,
            fix="give 1 to 64 letters, digits and . _ @ + -, beginning with a letter or digit",
        )
    return name


def _checked_roles(roles: Sequence[str], sites: Sequence[str]) -> list[RoleName]:
    for role in roles:
        if role not in ROLES:
            raise InvalidInputError(field="roles", value=role, fix=f"give one of {', '.join(ROLES)}")
    if not roles:
        raise InvalidInputError(field="roles", value="none", fix=f"give at least one of {', '.join(ROLES)}")
    if ("homeowner" in roles) != bool(sites):
        fix = "name the homeowner's sites" if not sites else "give sites to a homeowner only"
        raise InvalidInputError(field="sites", value=f"{len(sites)} sites", fix=fix)
    return [role for role in ROLES if role in roles]


def _row(connection: Connection, name: str) -> dict[str, Any] | None:
    row = connection.execute(select(PAGE_USER).where(PAGE_USER.c.name == name)).mappings().first()
    return None if row is None else dict(row)


def _required(connection: Connection, name: str) -> dict[str, Any]:
    row = _row(connection, name)
    if row is None:
        raise UnknownIdError("user", name)
    return row


def _user(row: dict[str, Any]) -> User:
    return User(
        name=row["name"],
        roles=tuple(json.loads(row["roles"])),
        sites=tuple(SiteId(site) for site in json.loads(row["sites"])),
        password_ns=row["password_ns"],
        made_ns=row["made_ns"],
        made_by=row["made_by"],
    )


def _note(
    connection: Connection, *, at_ns: int, by: str, action: str, subject: str, detail: str = ""
) -> None:
    connection.execute(
        insert(USER_STEP).values(at_ns=at_ns, by=by, action=action, subject=subject, detail=detail)
    )
