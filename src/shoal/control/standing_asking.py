"""Making standing services from what a person says, and refusing those that this plant cannot carry out. Shared by both doors."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from shoal.control.standing import key_of
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, ResourceId, SiteId
from shoal.programs.program import ProgramBook
from shoal.store.ledger import Ledger
from shoal.store.standing import StandingService, Window, check_service

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW: Final = re.compile(r"(?:([a-z,-]+)\s+)?(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


def window_of(text: str) -> Window:
    """Return a window that a person wrote like ``mon-fri 16:00-21:00``, ``sat,sun 10:00-14:00`` or ``17:00-20:00``.

    Raises:
        InvalidInputError: when it is none.
    """
    fix = "write it like 'mon-fri 16:00-21:00'"
    found = _WINDOW.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidInputError(field="window", value=text, fix=fix)
    days, *clock = found.groups()
    first, first_minute, last, last_minute = (int(part) for part in clock)
    start, end = first * 60 + first_minute, last * 60 + last_minute
    if not (start < 1_440 and 0 < end <= 1_440 and first_minute < 60 and last_minute < 60):
        raise InvalidInputError(field="window", value=text, fix=fix)
    return Window(start_minute=start, end_minute=end, days=_days_of(days or "", text))


def window_words(window: Window) -> str:
    """Return a window as a person writes it."""
    clock = "-".join(f"{at // 60:02d}:{at % 60:02d}" for at in (window.start_minute, window.end_minute))
    days = ",".join(_DAYS[day] for day in window.days)
    return f"{days} {clock}".strip()


def check_runnable(service: StandingService, fleet: Fleet, book: ProgramBook, *, now_ns: int) -> None:
    """Refuse a service that this plant cannot carry out.

    Raises:
        InvalidInputError: naming the field that is wrong.
        UnknownIdError: when it names a group, site or program that does not exist.
    """
    check_service(service)
    program = book.program(service.program)
    if program.kind not in ("power", "local"):
        fix = "name a program that asks for power, such as peak"
        raise InvalidInputError(field="program", value=service.program, fix=fix)
    if service.end_ns <= now_ns:
        raise InvalidInputError(field="end", value=service.end_ns, fix="it is over already")
    for group in (service.group, service.measured_group or service.group):
        if GroupId(group) not in fleet.group_number:
            raise UnknownIdError("group", group)
    batteries = fleet.battery_rows_in(GroupId(service.group))
    if not len(batteries):
        raise InvalidInputError(field="group", value=service.group, fix="nobody in it has a battery")
    if service.meter and SiteId(service.meter) not in fleet.row_of:
        raise UnknownIdError("site", service.meter)
    measured = fleet.rows_in(GroupId(service.measured_group or service.group))
    if service.kind == "smoothing":
        rated = fleet.nameplate["solar_limit_kw"][measured]
        if not service.meter and not (rated > 0).any():
            fix = "nobody in it generates; name the farm's group or meter"
            raise InvalidInputError(field="measured_group", value=service.measured_group, fix=fix)
        if service.meter and service.highest_kw == 0:
            fix = "say the most that the farm behind the meter can give"
            raise InvalidInputError(field="highest_kw", value=0, fix=fix)
    elif not service.meter and not set(batteries.tolist()) <= set(measured.tolist()):
        fix = "the batteries must be at the feeder that is measured"
        raise InvalidInputError(field="measured_group", value=service.measured_group, fix=fix)


def kept_service(ledger: Ledger, service_id: str) -> dict[str, Any]:
    """Return what the controller keeps of a service: how it stands, and its days; empty before it is taken up."""
    kept = ledger.load_state(ResourceId(key_of(service_id)))
    found: dict[str, Any] = {} if kept is None else msgspec.json.decode(kept.state)
    return found


def _days_of(days: str, text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in filter(None, days.split(",")):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise InvalidInputError(field="window", value=text, fix=f"name days like {', '.join(_DAYS)}")
        day, end = _DAYS.index(first), _DAYS.index(last or first)
        found.add(day)
        while day != end:
            day = (day + 1) % 7
            found.add(day)
    return tuple(sorted(found)) if len(found) < 7 else ()
