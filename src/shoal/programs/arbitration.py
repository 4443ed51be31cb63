"""Who may use which watt and watt-hour in an interval: claims are served in the order given, the highest first.

Each direction of each site is an account of power and energy. A claim takes from what those before it have left, so a
lower one never costs a higher one anything, and nothing is promised twice. What the owner keeps is in no account.

    book = default_book()                                   # shoal.programs.program
    sites = ability_of(...)                                 # shoal.programs.ability, N rows of the fleet
    claims = [
        HoldClaim(claim_id="alert-7", program="storm", rows=rows, hold_wh=hold_wh, charge_w=charge_w),
        CapacityClaim(claim_id="fcr", program="contingency", up_w=2_000_000, sustain_s=900.0),
        PowerClaim(claim_id="big-vpp", program="market", power_w=target_w, rows=rows_of_resource, weight=fair),
    ]
    done = arbitrate(book.ordered(claims), sites, interval=Interval(start_ns=now_ns, end_ns=award.interval.end_ns))
    done.grants[-1].power_w         # (N,) watts, load-positive: the set-points of the market's sites
    done.grants[-1].losses          # who has what it did not get
    done.left_discharge_w           # (N,) nobody's
    done.offerable("market")        # what may be promised next
    done.explain_site(row)          # one site, every claim, in words

The market's present set-point (the missing energy of the award over what is left of its interval) is one `PowerClaim`
of `program="market"` a resource. A caller with a better split than by weight (nested limits of feeders) gives `split`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.programs._asks import asks_of, checked_rows, rows_of, sustained_ms, weight_of
from shoal.programs._ledger import Ask, Ledger, energy_of, open_to, power_from
from shoal.programs._losses import SiteShare, hold_losses, power_losses, shares_of
from shoal.programs._split import fill_w
from shoal.programs.claims import Claim, Grant, HoldClaim, Loss, PowerClaim, SiteAbility, Whole

Split: TypeAlias = Callable[[PowerClaim, Whole, Whole, Whole], Whole]
"""Shares a claim's power out: takes the claim, its rows, and the least and the most of each (load-positive W, one of
them 0); returns the power of each within these, whole and load-positive, that adds up to no more than `power_w`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offerable:
    """What may be promised next. A site without a promise counts in both directions; it can serve one only.

    Attributes:
        charge_w: Charging power that can be held throughout.
        discharge_w: Discharging power that can be held throughout.
        charge_wh: Energy that can still be taken in.
        discharge_wh: Energy that can still be given.
        sites: How many sites have something of it.
    """

    charge_w: int
    discharge_w: int
    charge_wh: int
    discharge_wh: int
    sites: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arbitration:
    """What every claim got, and what is left; columns are of N sites.

    At every site and in either direction, the grants and what is left add up to the ability, in watts and in
    watt-hours; for the cycle budget so do the grants that discharge.

    Attributes:
        interval: When.
        sites: The ability that was shared out.
        grants: One for each claim, in their order.
        left_charge_w: Charging power that nobody has.
        left_discharge_w: Discharging power that nobody has.
        left_charge_wh: Room in the battery that nobody has.
        left_discharge_wh: Energy above the reserve that nobody has.
        left_cycle_wh: What is left of the cycle budget.
        charging: Where a site is to charge, so that no power is to be had of it the other way.
        discharging: Where it is to discharge.
        filling: Where a site charges for a reserve, so that nobody may discharge it.
    """

    interval: Interval
    sites: SiteAbility
    grants: tuple[Grant, ...]
    left_charge_w: Whole
    left_discharge_w: Whole
    left_charge_wh: Whole
    left_discharge_wh: Whole
    left_cycle_wh: Whole
    charging: NDArray[np.bool_]
    discharging: NDArray[np.bool_]
    filling: NDArray[np.bool_]

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What was not granted and why, in the order of the claims."""
        return tuple(loss for grant in self.grants for loss in grant.losses)

    def grant(self, claim_id: str) -> Grant:
        """Return what a claim got.

        Raises:
            InvalidInputError: when there is no such claim.
        """
        for grant in self.grants:
            if grant.claim.claim_id == claim_id:
                return grant
        known = ", ".join(grant.claim.claim_id for grant in self.grants)
        raise InvalidInputError(field="claim_id", value=claim_id, fix=f"name one of: {known or 'none'}")

    def offerable(
        self,
        program: str,
        *,
        rows: Whole | None = None,
        sustain_s: float | None = None,
        capacity: bool = False,
    ) -> Offerable:
        """Return what a program may promise of what is left: firm, for silent sites and those who left give nothing.

        Args:
            program: Whose promise; only sites that are open to it count.
            rows: The sites; None for all.
            sustain_s: For how long the power must be held; the whole interval when None.
            capacity: Whether it is to be kept ready, on top of what the sites do, rather than given.

        Raises:
            InvalidInputError: when the program or a row is unknown.
        """
        named = np.arange(len(self.sites)) if rows is None else rows
        among = checked_rows("rows", named, len(self.sites))
        for_ms = sustained_ms("sustain_s", sustain_s, self.interval)
        is_open = open_to(self.sites, self.sites.index_of(program), among)
        may_charge, may_discharge = is_open, is_open & ~self.filling[among]
        if not capacity:
            may_charge = may_charge & ~self.discharging[among]
            may_discharge = may_discharge & ~self.charging[among]
        charge_wh = np.where(may_charge, self.left_charge_wh[among], 0)
        usable_wh = np.minimum(self.left_discharge_wh[among], self.left_cycle_wh[among])
        discharge_wh = np.where(may_discharge, usable_wh, 0)
        charge_w = np.minimum(
            np.where(may_charge, self.left_charge_w[among], 0), power_from(charge_wh, for_ms)
        )
        discharge_w = np.minimum(
            np.where(may_discharge, self.left_discharge_w[among], 0), power_from(discharge_wh, for_ms)
        )
        return Offerable(
            charge_w=int(charge_w.sum()),
            discharge_w=int(discharge_w.sum()),
            charge_wh=int(charge_wh.sum()),
            discharge_wh=int(discharge_wh.sum()),
            sites=int(np.count_nonzero((charge_w > 0) | (discharge_w > 0))),
        )

    def explain_site(self, row: int) -> tuple[SiteShare, ...]:
        """Return for one site what each claim got, and why it did not get more.

        Raises:
            InvalidInputError: when there is no such row.
        """
        checked_rows("row", np.array([row]), len(self.sites))
        return shares_of(self.sites, self.grants, row, self.interval)


def arbitrate(
    claims: Sequence[Claim], sites: SiteAbility, *, interval: Interval, split: Split | None = None
) -> Arbitration:
    """Grant each claim what those before it have left.

    Args:
        claims: In order of priority, the highest first; see `ProgramBook.ordered`.
        sites: What each site can do in the interval.
        interval: When.
        split: How to share out the power of a `PowerClaim` that names a sum; by weight (water-filling) when None.

    Raises:
        InvalidInputError: when a claim is malformed, or a split goes beyond what it was given.
    """
    ledger = Ledger(sites, len(claims))
    grants: list[Grant] = []
    seen: set[str] = set()
    for number, claim in enumerate(claims):
        if claim.claim_id in seen:
            raise InvalidInputError(field="claim_id", value=claim.claim_id, fix="name each claim once")
        seen.add(claim.claim_id)
        grants.append(_serve(number, claims, sites, ledger, interval, split))
        ledger.close(number, claim)
    return Arbitration(
        interval=interval,
        sites=sites,
        grants=tuple(grants),
        left_charge_w=ledger.left_w["charge"],
        left_discharge_w=ledger.left_w["discharge"],
        left_charge_wh=ledger.left_wh["charge"],
        left_discharge_wh=ledger.left_wh["discharge"],
        left_cycle_wh=ledger.cycle_left_wh,
        charging=ledger.charging,
        discharging=ledger.discharging,
        filling=ledger.filler_number >= 0,
    )


def _serve(
    number: int,
    claims: Sequence[Claim],
    sites: SiteAbility,
    ledger: Ledger,
    interval: Interval,
    split: Split | None,
) -> Grant:
    """Write down what the claim of a number takes, and say what it did not get."""
    claim, before = claims[number], claims[:number]
    program = sites.index_of(claim.program)
    rows = rows_of(claim, len(sites))
    asks = asks_of(claim, len(sites), interval)
    losses: list[Loss] = []
    for ask in asks:
        room_w = ledger.room_w(ask, rows, program)
        power_w = _shared(claim, ask, rows, room_w, split)
        ledger.taken_w[ask.direction][number, rows] = power_w
        ledger.taken_wh[ask.direction][number, rows] = energy_of(power_w, ask.for_ms)
        total_w = int(power_w.sum())
        if total_w < ask.target_w:
            available_w = total_w if ask.each_w is not None else int(room_w.sum())
            blocked = ledger.blocked(ask, rows, program, number)
            losses += power_losses(claim, ask, total_w, available_w, blocked, before)
    if isinstance(claim, HoldClaim):
        held_wh = np.minimum(claim.hold_wh, ledger.left_wh["discharge"][rows])
        held_wh = np.where(open_to(sites, program, rows), held_wh, 0)
        ledger.taken_wh["discharge"][number, rows] = held_wh
        losses += hold_losses(claim, held_wh, sites, program, ledger, before)
    asked_w = {ask.direction: ask.target_w for ask in asks}
    return Grant(
        claim=claim,
        charge_w=ledger.taken_w["charge"][number],
        discharge_w=ledger.taken_w["discharge"][number],
        charge_wh=ledger.taken_wh["charge"][number],
        discharge_wh=ledger.taken_wh["discharge"][number],
        asked_charge_w=asked_w.get("charge", 0),
        asked_discharge_w=asked_w.get("discharge", 0),
        losses=tuple(losses),
    )


def _shared(claim: Claim, ask: Ask, rows: Whole, room_w: Whole, split: Split | None) -> Whole:
    """Return what each row gives to an ask, within its room."""
    if ask.each_w is not None:
        return np.minimum(ask.each_w, room_w)
    if split is None or not isinstance(claim, PowerClaim):
        return fill_w(ask.target_w, room_w, weight_of(claim, room_w))
    none_w = np.zeros_like(room_w)
    charging = ask.direction == "charge"
    signed_w = split(claim, rows, none_w if charging else -room_w, room_w if charging else none_w)
    power_w = np.asarray(signed_w if charging else -signed_w)
    wrong = power_w.shape != room_w.shape or power_w.dtype != np.int64
    if wrong or bool(np.any((power_w < 0) | (power_w > room_w))) or int(power_w.sum()) > ask.target_w:
        raise InvalidInputError(
            field=f"split of {claim.claim_id}",
            value=f"{power_w.dtype} {power_w.shape}, {int(power_w.sum())} W",
            fix=f"give whole watts (int64) within each site's room that add up to {ask.target_w} at most",
        )
    return power_w
