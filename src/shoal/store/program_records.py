"""What owners said, one record a row: an opt-out, a promise they asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from shoal.programs.hours import OwnerHours

PromiseKind: TypeAlias = Literal["reserve_frac", "cycle_wh_per_day"]
"""``reserve_frac``: state of charge that stays for outages. ``cycle_wh_per_day``: most that is discharged in a day."""
PROMISE_KINDS: Final[tuple[PromiseKind, ...]] = get_args(PromiseKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """When an owner keeps the site to itself, over `[start_ns, end_ns)`; `hours` says so by the clock."""

    site_id: str
    hours: OwnerHours
    start_ns: int
    end_ns: int | None
    said_by: str
    said_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut:
    """An owner left a program over `[start_ns, end_ns)`; `end_ns` is None until they come back."""

    site_id: str
    program: str
    start_ns: int
    end_ns: int | None
    said_by: str
    said_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What an owner asked for over `[start_ns, end_ns)`; the amount is in the unit that the kind names."""

    site_id: str
    kind: PromiseKind
    amount: float
    start_ns: int
    end_ns: int | None
    said_by: str
    said_ns: int
