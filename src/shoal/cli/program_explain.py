"""What stands on record of a site and what that leaves each program: the words of `shoal program explain`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import UnknownIdError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.programs.ability import SiteTerms, ability_of
from shoal.programs.arbitration import arbitrate
from shoal.programs.claims import UNLIMITED_WH, CapacityClaim, Claim, HoldClaim, PowerClaim, SiteAbility
from shoal.programs.explain import share_words
from shoal.programs.program import Program
from shoal.programs.promises import OwnerPromises
from shoal.store.programs import ProgramStore
from shoal.store.registry import Registry

_ROW = np.zeros(1, dtype=np.int64)


def explained(
    store: ProgramStore,
    registry: Registry,
    site_id: SiteId,
    *,
    t_ns: int,
    soc_frac: float | None,
    duration_h: float,
) -> dict[str, Any]:
    """Return what each program could have of a site by what is on record.

    The registry knows no state of charge. Without one, what is said is for a full battery that discharges and an empty
    one that charges: the most that the site could ever give.

    Args:
        store: Programs.
        registry: The site.
        site_id: Which.
        t_ns: At which instant.
        soc_frac: State of charge to reckon with.
        duration_h: For how long power is to be held.

    Raises:
        UnknownIdError: when there is no such site.
    """
    fleet = registry.fleet_at(t_ns)
    if site_id not in fleet.row_of:
        raise UnknownIdError("site", site_id)
    row = fleet.row_of[site_id]
    terms = store.terms_at(t_ns)
    of_site = SiteTerms(
        book=terms.book,
        enrolled_bits=terms.enrolled_bits[row : row + 1],
        opted_out_bits=terms.opted_out_bits[row : row + 1],
        promises=OwnerPromises(
            reserve_frac=terms.promises.reserve_frac[row : row + 1],
            cycle_budget_wh=terms.promises.cycle_budget_wh[row : row + 1],
        ),
    )
    kept = None if terms.hours is None else terms.hours.away_at(t_ns)[row : row + 1]
    plate = fleet.nameplate[row : row + 1]
    sites = _ability(of_site, plate, soc_frac, kept)
    reserve = max(float(plate["reserve_frac"][0]), float(of_site.promises.reserve_frac[0]))
    budget_wh = int(of_site.promises.cycle_budget_wh[0])
    budget = "" if budget_wh == UNLIMITED_WH else f", at most {budget_wh / 1e3:g} kWh discharged in a day"
    state = "any state of charge" if soc_frac is None else f"a charge of {soc_frac:.0%}"
    return {
        "site_id": site_id,
        "reserve_frac": reserve,
        "cycle_wh_per_day": None if budget_wh == UNLIMITED_WH else budget_wh,
        "soc_frac": soc_frac,
        "about": f"{site_id} keeps {reserve:.0%} in reserve{budget}; for {duration_h:g} h at {state}:",
        "programs": [_told(program, sites, duration_h) for program in terms.book.programs],
    }


def _ability(
    terms: SiteTerms, plate: Any, soc_frac: float | None, away: NDArray[np.bool_] | None
) -> SiteAbility:
    known = np.ones(1, dtype=np.bool_)

    def at(soc: float) -> SiteAbility:
        return ability_of(
            book=terms.book,
            nameplate=plate,
            soc_frac=np.array([soc]),
            known=known,
            enrolled_bits=terms.enrolled_bits,
            opted_out_bits=terms.opted_out_bits,
            promises=terms.promises,
            away=away,
        )

    if soc_frac is not None:
        return at(soc_frac)
    full, empty = at(1.0), at(0.0)
    return SiteAbility(
        **{name: getattr(full, name) for name in SiteAbility.__slots__ if name != "charge_wh"},
        charge_wh=empty.charge_wh,
    )


def _told(program: Program, sites: SiteAbility, duration_h: float) -> dict[str, Any]:
    interval = Interval(start_ns=0, end_ns=round(duration_h * NS_PER_HOUR))
    shares = []
    for claim in _all_of_it(program, sites):
        (share,) = arbitrate([claim], sites, interval=interval).explain_site(0)
        shares.append(share)
    return {
        "program": program.id,
        "charge_w": max(share.charge_w for share in shares),
        "discharge_w": max(share.discharge_w for share in shares),
        "held_wh": max(share.discharge_wh for share in shares) if program.kind == "hold" else 0,
        "reasons": list(dict.fromkeys(loss.reason for share in shares for loss in share.kept_from)),
        "sentence": " Or ".join(dict.fromkeys(share_words(share) for share in shares)),
    }


def _all_of_it(program: Program, sites: SiteAbility) -> list[Claim]:
    """Return the claims by which a program asks for all that the site could give, one a direction."""
    charge_w, discharge_w = int(sites.charge_w[0]), int(sites.discharge_w[0])
    if program.kind == "hold":
        whole = HoldClaim(
            claim_id="hold",
            program=program.id,
            rows=_ROW,
            hold_wh=sites.discharge_wh,
            charge_w=sites.charge_w,
        )
        return [whole]
    if program.kind == "capacity":
        return [
            CapacityClaim(
                claim_id="reserve", program=program.id, up_w=discharge_w, down_w=charge_w, rows=_ROW
            )
        ]
    return [
        PowerClaim(claim_id="discharge", program=program.id, power_w=-discharge_w, rows=_ROW),
        PowerClaim(claim_id="charge", program=program.id, power_w=charge_w, rows=_ROW),
    ]
