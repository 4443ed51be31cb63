"""One cycle's arbitration: what runs now, in the order of the programs, and what each site is left with for whom.

A site serves one dispatch at a time: whoever goes first and names it has it, and for the others it is held. So each
dispatch can count what its sites' meters say as its own. What each may use of a site, and why a claim lost, is
`shoal.programs.arbitration`'s; what the groups above can carry is `shoal.control.grid_room`'s, taken in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import FOREVER_NS
from shoal.control.dispatch import RESPLIT_FRAC, RESPLIT_MIN_W, AwardNow, Dispatcher, Target
from shoal.control.grid_limits import GridLimits
from shoal.control.grid_losses import with_groups
from shoal.control.grid_room import GridRoom, other_flows, site_rooms
from shoal.domain.interval import NS_PER_S, Interval
from shoal.domain.orders import EventKind
from shoal.programs.ability import ability_of
from shoal.programs.arbitration import Arbitration, arbitrate
from shoal.programs.claims import HOURS_BIT, Claim, HoldClaim, PowerClaim, SiteAbility
from shoal.programs.hours import kept_programs
from shoal.programs.program import ProgramBook

MARKET: Final = "market"

AbilityNow: TypeAlias = Callable[[int, NDArray[Any], NDArray[np.bool_]], SiteAbility]
"""Returns what each site can do, for an instant, the latest records and who was heard from lately."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventNow:
    """An event under way, or ahead.

    Attributes:
        event_id: Its name.
        program: Whose.
        kind: See `EventKind`.
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        rows: Its sites, less those whose owner has left it.
        each_w: What each of them does, charging positive.
        soc_frac: Up to which state of charge, or not below which.
    """

    event_id: str
    program: str
    kind: EventKind
    start_ns: int
    end_ns: int
    rows: NDArray[np.int64]
    each_w: NDArray[np.int64]
    soc_frac: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Running:
    """A dispatch and what it is to deliver now; one that `rests` only keeps its sites from stirring, and goes last."""

    dispatcher: Dispatcher
    award: AwardNow
    rests: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Share:
    """What came of one dispatch.

    Attributes:
        dispatcher: Whose.
        target: What was wanted.
        power_w: What each of its sites is to do.
        held: Which of its sites serve somebody else, or nobody.
        until_ns: No lease is to reach beyond this.
    """

    dispatcher: Dispatcher
    target: Target
    power_w: NDArray[np.int64]
    held: NDArray[np.bool_]
    until_ns: NDArray[np.int64]


def plain_ability(book: ProgramBook, nameplate: NDArray[Any]) -> AbilityNow:
    """Return the ability of a plant in which every site takes part in every program that is not exclusive."""
    bits = np.uint64(sum(1 << place for place, program in enumerate(book.programs) if not program.exclusive))
    enrolled = np.full(len(nameplate), bits, dtype=np.uint64)

    def now(_t_ns: int, latest: NDArray[Any], known: NDArray[np.bool_]) -> SiteAbility:
        return ability_of(
            book=book, nameplate=nameplate, soc_frac=latest["soc_frac"], known=known, enrolled_bits=enrolled
        )

    return now


class Arbiter:
    """Shares the fleet out among what runs.

    Args:
        book: The programs, the one that goes first on top.
        nameplate: Of every site.
        ability: What each site can do.
        grid: Limits at connections; none when None.
        device_type: What stands at each site; homes when None.
        fairness: Returns how much of a discharge each site is to carry, relative to others (N); the same when None.
        free_until_ns: Returns until when each owner leaves the site to programs (N); for ever when None.
    """

    def __init__(
        self,
        book: ProgramBook,
        nameplate: NDArray[Any],
        ability: AbilityNow | None = None,
        *,
        grid: GridLimits | None = None,
        device_type: NDArray[np.uint8] | None = None,
        fairness: Callable[[], NDArray[np.float64] | None] | None = None,
        free_until_ns: Callable[[int], NDArray[np.int64]] | None = None,
    ) -> None:
        self._book = book
        self._plate = nameplate
        self._ability = ability or plain_ability(book, nameplate)
        self._grid = grid
        self._types = np.zeros(len(nameplate), dtype=np.uint8) if device_type is None else device_type
        self._fairness = fairness
        self._free_until_ns = free_until_ns
        self.room: GridRoom | None = None
        """How the groups stand after the last cycle; None without limits."""
        self.told_w = np.zeros(len(nameplate), dtype=np.int64)
        """What events that devices run asked of each battery in the last cycle (N)."""
        self.serving: list[tuple[EventNow, NDArray[np.int64]]] = []
        """The events that devices ran in the last cycle, and the sites that each had."""
        self.limited_sites = 0
        """Batteries that their own connection kept from their rating in the last cycle."""

    def use(self, book: ProgramBook) -> None:
        """Go by another book from now on."""
        self._book = book

    def rank(self, program: str) -> int:
        """Return the place of a program, 0 goes first; one that the book does not have goes last."""
        return self._book.position(program) if program in self._book.ids else len(self._book.ids)

    def share(
        self,
        *,
        t_ns: int,
        step_ns: int,
        latest: NDArray[Any],
        running: Sequence[Running],
        events: Sequence[EventNow],
        halted: NDArray[np.bool_],
        fresh_ns: int,
        lease_ns: int = 0,
    ) -> tuple[list[Share], Arbitration]:
        """Return what each dispatch has its sites do, in the order given, and the arbitration that explains it.

        Args:
            t_ns: The instant.
            step_ns: Time until the next cycle.
            latest: Latest records of the fleet.
            running: The dispatches.
            events: Events under way or ahead.
            halted: Which sites nobody commands (N).
            fresh_ns: Who was silent for longer is not counted on.
            lease_ns: How long what is asked now may hold: limits of all that time count.
        """
        known = (latest["ts_ns"] > 0) & (t_ns - latest["ts_ns"] <= fresh_ns)
        able = self._ability(t_ns, latest, known)
        # what its owner keeps at this hour, and who has given all of the day's budget, is left to itself
        away = (able.opted_out_bits & HOURS_BIT) != 0
        spent = able.cycle_left_wh == 0
        ranked: list[tuple[tuple[int, int], Running | EventNow]] = []
        for place, run in enumerate(running):
            rank = self.rank(run.dispatcher.program or MARKET)
            ranked.append(((len(self._book.ids) + 1 if run.rests else rank, place), run))
        for event in events:
            ranked.append(((self.rank(event.program), -1), event))
        ranked.sort(key=lambda pair: pair[0])

        taken = halted.copy()
        until_ns = np.full(len(halted), FOREVER_NS, dtype=np.int64)
        free_until_ns = until_ns if self._free_until_ns is None else self._free_until_ns(t_ns)
        told_w = np.zeros(len(halted), dtype=np.int64)
        controlled = np.zeros(len(halted), dtype=np.bool_)
        claims: list[Claim] = []
        self.serving = []
        aimed: dict[int, tuple[Running, Target, NDArray[np.bool_], NDArray[np.int64]]] = {}
        for _, one in ranked:
            if isinstance(one, EventNow):
                rows = one.rows[~taken[one.rows]]
                if one.start_ns > t_ns:
                    until_ns[rows] = np.minimum(until_ns[rows], one.start_ns)
                    continue
                taken[rows] = True
                self.serving.append((one, rows))
                told_w[rows] = one.each_w[np.searchsorted(one.rows, rows)]
                claims += self._event_claims(one, rows)
                continue
            dispatcher = one.dispatcher
            rows = dispatcher.rows
            program = self._known(dispatcher.program)
            keeps_out = int(kept_programs(self._book)) >> self._book.position(program) & 1
            kept = away[rows] if keeps_out else np.zeros(len(rows), dtype=np.bool_)
            if one.award.energy_wh <= 0:
                kept = kept | spent[rows]
            kept &= ~taken[rows]
            held = taken[rows] | kept
            own_until_ns = until_ns[rows].copy()
            if keeps_out:
                own_until_ns = np.minimum(own_until_ns, free_until_ns[rows])
            target = dispatcher.aim(
                t_ns=t_ns, step_ns=step_ns, latest=latest[rows], award=one.award, held=held
            )
            taken[rows[~kept]] = True
            controlled[rows[target.able]] = True
            aimed[id(dispatcher)] = (one, target, held, own_until_ns)
            asked = target.able | (kept & target.fresh)
            if target.target_w and asked.any():
                margin_w = max(RESPLIT_MIN_W, int(abs(target.target_w) * RESPLIT_FRAC))
                claims.append(
                    PowerClaim(
                        claim_id=dispatcher.claim_id,
                        program=program,
                        # a split that is a little off is kept: room for that
                        power_w=target.target_w + (margin_w if target.target_w > 0 else -margin_w),
                        rows=rows[asked],
                        sustain_s=step_ns / NS_PER_S,
                    )
                )
        able = self._limit(t_ns, lease_ns or 3 * step_ns, latest, able, controlled, told_w, known)
        done = self._arbitrate(t_ns, step_ns, latest, claims, aimed, able)
        self.told_w = told_w
        shares = []
        for run in running:
            _, target, held, own_until_ns = aimed[id(run.dispatcher)]
            power_w = np.zeros(len(run.dispatcher.rows), dtype=np.int64)
            for grant in done.grants:
                if grant.claim.claim_id == run.dispatcher.claim_id:
                    power_w = grant.power_w[run.dispatcher.rows]
            shares.append(
                Share(
                    dispatcher=run.dispatcher,
                    target=target,
                    power_w=power_w,
                    held=held,
                    until_ns=own_until_ns,
                )
            )
        return shares, done

    def _arbitrate(
        self,
        t_ns: int,
        step_ns: int,
        latest: NDArray[Any],
        claims: list[Claim],
        aimed: dict[int, tuple[Running, Target, NDArray[np.bool_], NDArray[np.int64]]],
        able: SiteAbility,
    ) -> Arbitration:
        by_claim = {one.dispatcher.claim_id: (one, target) for one, target, *_ in aimed.values()}
        fairness = None if self._fairness is None else self._fairness()
        room, soc_frac = self.room, latest["soc_frac"]

        def split(
            claim: PowerClaim, rows: NDArray[np.int64], lower_w: NDArray[np.int64], upper_w: NDArray[np.int64]
        ) -> NDArray[np.int64]:
            one, target = by_claim[claim.claim_id]
            power_w = np.zeros(len(rows), dtype=np.int64)
            moves = lower_w < upper_w
            if not moves.any():
                return power_w
            power_w[moves] = one.dispatcher.split_w(
                target,
                soc_frac[rows[moves]],
                lower_w=lower_w[moves],
                upper_w=upper_w[moves],
                places=np.searchsorted(one.dispatcher.rows, rows[moves]),
                room=room,
                fairness=None if fairness is None else fairness[rows[moves]],
                kept_wh=able.kept_wh[rows[moves]],
            )
            if room is not None:
                room.take(rows, power_w)
            return power_w

        done = arbitrate(claims, able, interval=Interval(start_ns=t_ns, end_ns=t_ns + step_ns), split=split)
        targets_w = {name: target.target_w for name, (_, target) in by_claim.items()}
        return with_groups(done, targets_w, room)

    def _limit(
        self,
        t_ns: int,
        lease_ns: int,
        latest: NDArray[Any],
        able: SiteAbility,
        controlled: NDArray[np.bool_],
        told_w: NDArray[np.int64],
        known: NDArray[np.bool_],
    ) -> SiteAbility:
        """Make room for this cycle's claims within the groups' limits; return what sites can do within their own."""
        self.room, self.limited_sites = None, 0
        if self._grid is None:
            return able
        limits = self._grid.now(t_ns, t_ns + lease_ns)
        if not limits.any:
            return able
        flows = other_flows(self._plate, self._types, latest, known)
        if limits.trees:
            self.room = GridRoom(
                limits, flows, plate=self._plate, latest=latest, controlled=controlled, told_w=told_w
            )
        if not len(limits.site_rows):
            return able
        charge_w, discharge_w = site_rooms(limits, flows, able.charge_w, able.discharge_w)
        cut = (charge_w < able.charge_w) | (discharge_w < able.discharge_w)
        self.limited_sites = int(np.count_nonzero(cut & known))
        return replace(able, charge_w=charge_w, discharge_w=discharge_w)

    def claims_of(self, event: EventNow) -> list[Claim]:
        """Return what an event claims of all its sites."""
        return self._event_claims(event, event.rows)

    def _event_claims(self, event: EventNow, rows: NDArray[np.int64]) -> list[Claim]:
        """Return what an event claims of its sites; one whose site decides by itself claims nothing."""
        if not len(rows) or event.program not in self._book.ids:
            return []
        kind = self._book.program(event.program).kind
        each_w = event.each_w[np.searchsorted(event.rows, rows)]
        claim_id = f"event:{event.event_id}"
        if kind == "hold":
            plate = self._plate[rows]
            above = np.maximum(event.soc_frac - plate["reserve_frac"], 0.0)
            hold_kwh = above * plate["energy_capacity_kwh"] * plate["discharge_efficiency_frac"]
            return [
                HoldClaim(
                    claim_id=claim_id,
                    program=event.program,
                    rows=rows,
                    hold_wh=np.floor(hold_kwh * 1e3).astype(np.int64),
                    charge_w=np.maximum(each_w, 0),
                )
            ]
        if kind == "capacity" or event.kind in ("hold", "local") or not each_w.any():
            return []
        return [PowerClaim(claim_id=claim_id, program=event.program, rows=rows, each_w=each_w)]

    def _known(self, program: str) -> str:
        """Return the program under which a dispatch claims power: its own where it may, else the market's."""
        if program in self._book.ids and self._book.program(program).kind in ("power", "local"):
            return program
        return MARKET if MARKET in self._book.ids else self._book.ids[-1]
