"""Who may ask what: roles are sets of rights, and one table says which right each path takes.

The line with the longest prefix of a path counts, so a new route is under its family's rule before anybody thinks of it.
The rule is kept at the door (`shoal.api.door.access`), before any handler runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

Right: TypeAlias = Literal["see", "operate", "trade", "administer", "home"]
"""To see the plant, to command it, to bid for it, to say who may; and to look after homes of one's own."""
Need: TypeAlias = Right | Literal["nothing", "never"]
"""What a path takes: a right, nothing at all, or it is not to be had."""
Mode: TypeAlias = Literal["open", "token", "user"]

EVERY_RIGHT: Final[frozenset[Right]] = frozenset(get_args(Right))
RIGHTS_OF: Final[dict[str, frozenset[Right]]] = {
    "viewer": frozenset({"see"}),
    "operator": frozenset({"see", "operate"}),
    "trader": frozenset({"see", "trade"}),
    "admin": frozenset({"see", "administer"}),
    "homeowner": frozenset({"home"}),
}
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
LOCAL_NAME: Final = "this machine"
"""Under this name acts who is at a machine that asks nobody to sign in."""
_STATE: Final = "caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What it takes to read and to change what lies at or below a path."""

    path: str
    read: Need
    change: Need


RULES: Final = (
    Rule(path="/", read="nothing", change="never"),  # the page's files
    Rule(path="/healthz", read="nothing", change="never"),
    Rule(path="/readyz", read="nothing", change="never"),
    Rule(path="/metrics", read="see", change="never"),
    Rule(path="/docs", read="see", change="never"),
    Rule(path="/openapi.json", read="see", change="never"),
    Rule(path="/api", read="see", change="operate"),
    Rule(path="/api/session", read="nothing", change="nothing"),
    Rule(path="/api/history/query", read="see", change="see"),  # a question, sent by POST for its length
    Rule(path="/api/market", read="see", change="trade"),
    Rule(path="/api/runs", read="see", change="trade"),
    Rule(path="/api/forecast", read="see", change="trade"),
    Rule(path="/api/settlement", read="see", change="trade"),
    Rule(path="/api/home", read="home", change="home"),
    Rule(path="/api/admin", read="administer", change="administer"),
    Rule(path="/api/admin/system", read="see", change="administer"),
    Rule(path="/api/admin/feeds", read="see", change="administer"),
    Rule(path="/api/admin/markets", read="see", change="administer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who is let in.

    Attributes:
        name: Under which acts are kept.
        rights: What the caller may.
        roles: As which, of somebody who signed in.
        sites: A homeowner's own sites; None for all of them.
        mode: How it is known who it is.
        until_ns: When the session ends, on the machine's clock; None for never.
        secret: The session's; empty without one.
    """

    name: str
    rights: frozenset[Right]
    roles: tuple[str, ...] = ()
    sites: frozenset[str] | None = None
    mode: Mode = "token"
    until_ns: int | None = None
    secret: str = field(default="", repr=False)


LOCAL: Final = Caller(name=LOCAL_NAME, rights=EVERY_RIGHT, mode="open")


def rights_of(roles: Iterable[str]) -> frozenset[Right]:
    """Return what somebody with these roles may."""
    found: frozenset[Right] = frozenset()
    for role in roles:
        found |= RIGHTS_OF[role]
    return found


def need_of(method: str, path: str) -> Need:
    """Return what a request takes."""
    rule = max((one for one in RULES if _covers(one.path, path)), key=lambda one: len(one.path))
    return rule.read if method in READING else rule.change


def may(caller: Caller | None, need: Need) -> bool:
    """Whether somebody, or nobody in particular, may do what takes this."""
    return need == "nothing" or (caller is not None and need in caller.rights)


def remember(state: dict[str, object], caller: Caller | None) -> None:
    """Keep with a request or socket who it comes from."""
    state[_STATE] = caller


def caller_of(request: HTTPConnection) -> Caller | None:
    """Return who asks; None for nobody in particular."""
    caller: Caller | None = getattr(request.state, _STATE, None)
    return caller


def acting(request: Request) -> Caller:
    """Return who asks, of a route that takes a right.

    Raises:
        HTTPException: 401 for nobody in particular.
    """
    caller = caller_of(request)
    if caller is None:
        raise HTTPException(401, "sign in first")
    return caller


def operator_of(request: Request) -> str | None:
    """Return the name under which the caller may command, None for one who may not."""
    caller = caller_of(request)
    return caller.name if caller is not None and "operate" in caller.rights else None


def acting_operator(request: Request) -> str:
    """Return the name under which the caller commands.

    Raises:
        HTTPException: 403 for one who may not.
    """
    name = operator_of(request)
    if name is None:
        raise HTTPException(
            403, "only an operator may do this: sign in as one, or show a token of api.operators"
        )
    return name


def own_site(request: Request, site_id: str) -> str:
    """Return the name under which a homeowner acts for a site.

    Raises:
        HTTPException: 404 when the site is not the caller's own: others' sites are not confirmed to be there.
    """
    caller = acting(request)
    if caller.sites is not None and site_id not in caller.sites:
        raise HTTPException(404, "there is no such site of yours")
    return caller.name


def _covers(prefix: str, path: str) -> bool:
    return prefix == "/" or path == prefix or path.startswith(f"{prefix}/")
