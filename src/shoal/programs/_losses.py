"""Why a claim got less than it asked for: what is missing is put down to reasons, exactly, for all sites and for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shoal.domain.interval import Interval
from shoal.programs._asks import asks_of, rows_of
from shoal.programs._ledger import Ask, Blocked, Direction, Ledger, closed_to
from shoal.programs._ledger_kernel import MS_PER_H
from shoal.programs._split import share_out
from shoal.programs.claims import Claim, Grant, HoldClaim, Loss, LossReason, SiteAbility, Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteShare:
    """What one claim got of one site.

    Attributes:
        claim_id: Whose.
        program: Its program.
        asked: Whether the claim named this site at all.
        charge_w: Granted, or kept ready.
        discharge_w: Granted, or kept ready.
        charge_wh: The energy of it.
        discharge_wh: The energy of it; of a hold, what stays.
        kept_from: What kept the site from giving more, each for this site alone. Empty where the claim needed no more.
    """

    claim_id: str
    program: str
    asked: bool
    charge_w: int
    discharge_w: int
    charge_wh: int
    discharge_wh: int
    kept_from: tuple[Loss, ...]


def power_losses(
    claim: Claim, ask: Ask, granted_w: int, room_w: int, blocked: Sequence[Blocked], claims: Sequence[Claim]
) -> list[Loss]:
    """Return what a claim lost in one direction.

    Args:
        claim: The claim.
        ask: What it asked.
        granted_w: What it got.
        room_w: What there was for it; less was granted only where the groups' limits had it so.
        blocked: What the sites would have given.
        claims: All claims up to this one.
    """
    missing_w = ask.target_w - granted_w
    if missing_w <= 0:
        return []
    # A claim on all sites never meant those that are not enrolled.
    counted = [
        one
        for one in blocked
        if ask.each_w is not None or claim.rows is not None or one.reason != "not_enrolled"
    ]
    in_way_w = [one.power_w for one in counted]
    for_reasons_w = min(missing_w, max(ask.target_w - room_w, 0), sum(in_way_w))
    rest = Blocked(reason="limit", taker_number=-1, power_w=0, sites=0)
    parts_w = [*share_out(for_reasons_w, in_way_w), missing_w - for_reasons_w]
    lost_wh = energy_wh_of(ask.target_w, ask) - energy_wh_of(granted_w, ask)
    return [
        _loss(claim, ask, one, power_w, energy_wh, claims)
        for one, power_w, energy_wh in zip(
            (*counted, rest), parts_w, share_out(lost_wh, parts_w), strict=True
        )
        if power_w
    ]


def _loss(
    claim: Claim, ask: Ask, one: Blocked, power_w: int, energy_wh: int, claims: Sequence[Claim]
) -> Loss:
    return Loss(
        reason=one.reason,
        claim=claim.claim_id,
        program=claim.program,
        taken_by=claims[one.taker_number].claim_id if one.taker_number >= 0 else "",
        direction=ask.direction,
        power_w=power_w,
        energy_wh=energy_wh,
        sites=one.sites,
    )


def hold_losses(
    claim: HoldClaim,
    held_wh: Whole,
    sites: SiteAbility,
    program_index: int,
    ledger: Ledger,
    claims: Sequence[Claim],
) -> list[Loss]:
    """Return what a hold lacks: it is shut out, others have it, or the battery does not hold so much.

    Args:
        claim: The claim.
        held_wh: What it got, by row.
        sites: The ability.
        program_index: The claim's program.
        ledger: The accounts before it was served.
        claims: The claims before it.
    """
    rows = claim.rows
    missing_wh = claim.hold_wh - held_wh
    if not missing_wh.any():
        return []
    found: list[tuple[LossReason, str, Whole]] = []
    for reason, shut in closed_to(sites, program_index, rows):
        found.append((reason, "", np.where(shut, missing_wh, 0)))
        missing_wh = np.where(shut, 0, missing_wh)
    for number, other in enumerate(claims):
        by_wh = np.minimum(missing_wh, ledger.taken_wh["discharge"][number, rows])
        found.append(("taken", other.claim_id, by_wh))
        missing_wh = missing_wh - by_wh
    found.append(("no_energy", "", missing_wh))
    return [
        Loss(
            reason=reason,
            claim=claim.claim_id,
            program=claim.program,
            taken_by=taken_by,
            direction="hold",
            power_w=0,
            energy_wh=int(lost_wh.sum()),
            sites=int(np.count_nonzero(lost_wh)),
        )
        for reason, taken_by, lost_wh in found
        if lost_wh.any()
    ]


def shares_of(
    sites: SiteAbility, grants: Sequence[Grant], row: int, interval: Interval
) -> tuple[SiteShare, ...]:
    """Return what each claim got of one site and why not more, by serving the claims once more for it alone."""
    one = sites.take(np.array([row]))
    ledger = Ledger(one, len(grants))
    claims = [grant.claim for grant in grants]
    shares = []
    for number, grant in enumerate(grants):
        kept_from = _kept_from(grant, number, one, ledger, claims[:number], row, len(sites), interval)
        both: tuple[tuple[Direction, Whole, Whole], ...] = (
            ("charge", grant.charge_w, grant.charge_wh),
            ("discharge", grant.discharge_w, grant.discharge_wh),
        )
        for direction, power_w, energy_wh in both:
            ledger.taken_w[direction][number, 0] = power_w[row]
            ledger.taken_wh[direction][number, 0] = energy_wh[row]
        ledger.close(number, grant.claim)
        shares.append(
            SiteShare(
                claim_id=grant.claim.claim_id,
                program=grant.claim.program,
                asked=kept_from is not None,
                charge_w=int(grant.charge_w[row]),
                discharge_w=int(grant.discharge_w[row]),
                charge_wh=int(grant.charge_wh[row]),
                discharge_wh=int(grant.discharge_wh[row]),
                kept_from=tuple(kept_from or ()),
            )
        )
    return tuple(shares)


_ONLY_ROW: Final = np.zeros(1, dtype=np.int64)


def _kept_from(
    grant: Grant,
    number: int,
    one: SiteAbility,
    ledger: Ledger,
    claims: Sequence[Claim],
    row: int,
    count: int,
    interval: Interval,
) -> list[Loss] | None:
    """Return what kept a site from giving a claim more, None when the claim does not name it."""
    claim = grant.claim
    places = np.flatnonzero(rows_of(claim, count) == row)
    if not places.size:
        return None
    place = slice(int(places[0]), int(places[0]) + 1)
    program = one.index_of(claim.program)
    found = []
    for ask in asks_of(claim, count, interval):
        alone = replace(ask, each_w=None if ask.each_w is None else ask.each_w[place])
        for part in ledger.blocked(alone, _ONLY_ROW, program, number):
            found.append(_loss(claim, ask, part, part.power_w, energy_wh_of(part.power_w, ask), claims))
    if isinstance(claim, HoldClaim):
        of_one = replace(claim, rows=_ONLY_ROW, hold_wh=claim.hold_wh[place], charge_w=claim.charge_w[place])
        held_wh = grant.discharge_wh[row : row + 1]
        found += hold_losses(of_one, held_wh, one, program, ledger, claims)
    return found


def energy_wh_of(power_w: int, ask: Ask) -> int:
    """Return the energy in Wh of a power held as long as was asked, rounded up."""
    return -(-power_w * ask.for_ms // MS_PER_H)
