"""What the interface answers about programs: their order and terms, and what is on record of a site."""

from __future__ import annotations

from typing import Literal

import msgspec

from shoal.api.live.state import to_ms
from shoal.programs.enrolment import Enrolment


class ProgramNow(msgspec.Struct, frozen=True, kw_only=True):
    """A program; `place` is 1 for the one that goes first. `sites` take part now, `opted_out_sites` of them have left."""

    place: int
    program_id: str
    name: str
    kind: Literal["hold", "power", "capacity", "local"]
    reserve: Literal["keep", "raise"]
    exclusive: bool
    beside_exclusive: bool
    may_opt_out: bool
    minimum_notice_s: int
    pays: Literal["nothing", "energy", "capacity", "event"]
    terms: str
    sites: int
    opted_out_sites: int


class SiteEnrolment(msgspec.Struct, frozen=True, kw_only=True):
    """A site in a program from an instant on, until another one if it is set, and by whose consent to which terms."""

    program_id: str
    from_ms: int
    until_ms: int | None
    now: bool
    consented_by: str
    consented_ms: int | None
    terms: str
    withdrawn_by: str
    withdrawn_ms: int | None


def enrolment_view(one: Enrolment, now_ns: int) -> SiteEnrolment:
    """Return what is on record of a site in a program, as it stands at an instant."""
    return SiteEnrolment(
        program_id=one.program,
        from_ms=to_ms(one.start_ns),
        until_ms=None if one.end_ns is None else to_ms(one.end_ns),
        now=one.start_ns <= now_ns and (one.end_ns is None or now_ns < one.end_ns),
        consented_by=one.consented_by,
        consented_ms=None if one.consented_ns is None else to_ms(one.consented_ns),
        terms=one.terms,
        withdrawn_by=one.withdrawn_by,
        withdrawn_ms=None if one.withdrawn_ns is None else to_ms(one.withdrawn_ns),
    )


class SiteOptOut(msgspec.Struct, frozen=True, kw_only=True):
    """An owner has left a program for a while, or will."""

    program_id: str
    from_ms: int
    until_ms: int | None
    now: bool
    said_by: str
    said_ms: int


class SitePromise(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner was promised: a reserve as a share of the battery's energy, or the most discharged in a day in Wh."""

    kind: Literal["reserve_frac", "cycle_wh_per_day"]
    amount: float
    from_ms: int
    until_ms: int | None
    now: bool
    said_by: str
    said_ms: int


class SitePrograms(msgspec.Struct, frozen=True, kw_only=True):
    """All that is on record of a site's part in programs, the earliest first."""

    site_id: str
    enrolments: list[SiteEnrolment]
    opt_outs: list[SiteOptOut]
    promises: list[SitePromise]
