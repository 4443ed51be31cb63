"""Arbitration in words: what a claim got, what it lost to whom, and what became of one site."""

from __future__ import annotations

from typing import Final

from shoal.programs._losses import SiteShare
from shoal.programs.claims import Grant, HoldClaim, Loss, LossReason

_WHY: Final[dict[LossReason, tuple[str, str]]] = {
    "opted_out": ("the owners have left the program", "the owner has left the program"),
    "hours": ("the owners keep the sites at this hour", "the owner keeps the site at this hour"),
    "reserve": ("it is the owners' reserve", "it is the owner's reserve"),
    "cycle_budget": (
        "the owners' cycle budgets of the day are used up",
        "the owner's cycle budget of the day is used up",
    ),
    "exclusive": ("another program has the sites for itself", "another program has the site for itself"),
    "silent": ("the sites are silent", "the site is silent"),
    "limit": (
        "it is more than the sites or their groups can carry",
        "it is more than the site or its groups can carry",
    ),
    "not_enrolled": ("the sites are not enrolled", "the site is not enrolled"),
}
_NOT_THERE: Final = {
    "charge": ("the batteries are full", "the battery is full"),
    "discharge": ("the batteries are empty", "the battery is empty"),
    "hold": ("the batteries do not hold so much", "the battery does not hold so much"),
}


def loss_sentence(loss: Loss) -> str:
    """Return what was lost and why, e.g. ``60 kW of discharge at 12 sites: alert-7 goes first``."""
    sites = "1 site" if loss.sites == 1 else f"{loss.sites} sites"
    return f"{_what(loss)}{f' at {sites}' if loss.sites else ''}: {_why(loss)}"


def _what(loss: Loss) -> str:
    if loss.direction == "hold":
        return f"{_kwh(loss.energy_wh)} to hold"
    return f"{_kw(loss.power_w)} of {loss.direction}"


def _why(loss: Loss) -> str:
    if loss.reason == "taken":
        return f"{loss.taken_by} goes first"
    if loss.reason == "limit" and loss.taken_by:
        return f"{loss.taken_by} can carry no more"
    many, one = _NOT_THERE[loss.direction] if loss.reason == "no_energy" else _WHY[loss.reason]
    return one if loss.sites == 1 else many


def grant_sentence(grant: Grant) -> str:
    """Return what a claim asked, what it got, and why not more."""
    claim = grant.claim
    parts = []
    for direction, asked_w, granted_w in (
        ("charge", grant.asked_charge_w, int(grant.charge_w.sum())),
        ("discharge", grant.asked_discharge_w, int(grant.discharge_w.sum())),
    ):
        if asked_w:
            parts.append(f"{_kw(granted_w)} of the {_kw(asked_w)} of {direction} it asked for")
    if isinstance(claim, HoldClaim):
        held_wh, wanted_wh = int(grant.discharge_wh.sum()), int(claim.hold_wh.sum())
        parts.append(f"{_kwh(held_wh)} of the {_kwh(wanted_wh)} it wants to hold")
    said = f"{claim.claim_id} ({claim.program}) gets " + (
        " and ".join(parts) or "nothing, for it asks for nothing"
    )
    return ". ".join([said, *("Missing: " + loss_sentence(loss) for loss in grant.losses)]) + "."


def share_sentence(share: SiteShare) -> str:
    """Return what one claim got of one site and what kept the site from giving more."""
    who = f"{share.claim_id} ({share.program})"
    return f"{who} gets {share_words(share)}" if share.asked else f"{who} does not ask this site."


def share_words(share: SiteShare) -> str:
    """Return the same without saying whose claim it is, beginning with what it got."""
    got = []
    if share.charge_w:
        got.append(f"{_kw(share.charge_w)} of charge")
    if share.discharge_w:
        got.append(f"{_kw(share.discharge_w)} of discharge")
    if share.discharge_wh and not share.discharge_w:
        got.append(f"{_kwh(share.discharge_wh)} to hold")
    kept_from = (f"Not more: {_what(loss)}: {_why(loss)}" for loss in share.kept_from)
    return ". ".join([" and ".join(got) or "nothing", *kept_from]) + "."


def _kw(power_w: int) -> str:
    return f"{power_w / 1e3:,.3f}".rstrip("0").rstrip(".") + " kW"


def _kwh(energy_wh: int) -> str:
    return f"{energy_wh / 1e3:,.3f}".rstrip("0").rstrip(".") + " kWh"
