"""Why a dispatch lacks what it lacks, with the groups' limits named: the watts add up to what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from shoal.control.dispatch import RESPLIT_FRAC, RESPLIT_MIN_W
from shoal.control.grid_room import GridRoom
from shoal.domain.interval import NS_PER_S
from shoal.programs.arbitration import Arbitration
from shoal.programs.claims import Grant, Loss, PowerClaim

MOST_GROUPS: Final = 20
"""So many groups are named, those that keep back most; what others keep back is told as one."""
_WS_PER_WH: Final = 3_600


def with_groups(done: Arbitration, targets_w: Mapping[str, int], room: GridRoom | None) -> Arbitration:
    """Return the arbitration with the losses of dispatches reckoned from their targets.

    A dispatch claims a little more than its target, for a split that is a little off is kept; that is no loss. What groups
    keep back is put down to them by name.

    Args:
        done: What was decided.
        targets_w: What each dispatch really wants, by its claim.
        room: What the groups carry; None without limits.
    """
    grants = tuple(
        replace(grant, losses=_losses(grant, targets_w[grant.claim.claim_id], room))
        if grant.claim.claim_id in targets_w
        else grant
        for grant in done.grants
    )
    return replace(done, grants=grants)


def _losses(grant: Grant, target_w: int, room: GridRoom | None) -> tuple[Loss, ...]:
    missing_w = abs(target_w) - abs(int(grant.power_w.sum()))
    if missing_w <= max(RESPLIT_MIN_W, abs(target_w) * RESPLIT_FRAC):
        return ()
    held = [] if room is None else room.held_w(grant.claim.claim_id)
    by_group_w = _within(missing_w, [power_w for _, power_w in held])
    left_w = missing_w - sum(by_group_w)
    others = [loss for loss in grant.losses if loss.reason != "limit" or loss.sites]
    by_others_w = _within(left_w, [loss.power_w for loss in others])
    rest_w = left_w - sum(by_others_w)
    direction: Literal["charge", "discharge"] = "charge" if target_w > 0 else "discharge"

    def limit(taken_by: str, power_w: int) -> Loss:
        return Loss(
            reason="limit",
            claim=grant.claim.claim_id,
            program=grant.claim.program,
            taken_by=taken_by,
            direction=direction,
            power_w=power_w,
            energy_wh=_energy_wh(grant, power_w),
            sites=0,
        )

    rest_w += sum(by_group_w[MOST_GROUPS:])
    named = [(name, power_w) for (name, _), power_w in zip(held, by_group_w, strict=True)][:MOST_GROUPS]
    return (
        *(
            replace(loss, power_w=power_w, energy_wh=_energy_wh(grant, power_w))
            for loss, power_w in zip(others, by_others_w, strict=True)
            if power_w
        ),
        *(limit(name, power_w) for name, power_w in named if power_w),
        *((limit("", rest_w),) if rest_w else ()),
    )


def _within(most_w: int, parts_w: Sequence[int]) -> list[int]:
    """Return the parts, or in proportion what they may be so that they add up to no more than a sum."""
    total_w = sum(parts_w)
    if total_w <= most_w:
        return list(parts_w)
    shares = [most_w * part // total_w for part in parts_w]
    for place in range(most_w - sum(shares)):
        shares[place] += 1
    return shares


def _energy_wh(grant: Grant, power_w: int) -> int:
    claim = grant.claim
    sustain_s = claim.sustain_s if isinstance(claim, PowerClaim) and claim.sustain_s is not None else 0.0
    return -(-power_w * round(sustain_s * NS_PER_S) // (_WS_PER_WH * NS_PER_S))
