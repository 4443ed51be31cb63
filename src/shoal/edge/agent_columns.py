"""The memory of many site agents as columns: leases, events, envelopes, the armed droop and what the owner has said.

A site has two lease slots and a bounded number of slots for events and envelopes. Those grow with the fullest site,
so that a fleet without events does not pay for them. `state` and `restore` carry all of it over a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.interval import NS_PER_S

NEVER_NS: Final = int(np.iinfo(np.int64).max)
NO_LIMIT_W: Final = 10**9
"""A limit at the connection point that never binds."""
MOST_EVENTS: Final = 8
"""Events of a site that are under way or ahead."""
MOST_ENVELOPES: Final = 48
MOST_LEFT: Final = 16
"""Events that a site remembers its owner to have left."""
EVENT_SLOTS: Final = 2 * MOST_EVENTS
"""Those, and those that were cancelled and still fade."""
ID_BYTES: Final = 64

ACTIVE: Final = 0
PENDING: Final = 1

Watts: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.intp]


class EventCode(IntEnum):
    """Kinds of events in a slot; 0 is an empty one."""

    NONE = 0
    POWER = 1
    CHARGE = 2
    HOLD = 3
    LOCAL = 4


EVENT: Final = np.dtype(
    [
        ("kind", "<u1"),
        ("solar_only", "?"),
        ("may_opt_out", "?"),
        ("opted_out", "?"),
        ("start_ns", "<i8"),  # as asked
        ("end_ns", "<i8"),
        ("begin_ns", "<i8"),  # at the device's own place; or when the last change of power began
        ("stop_ns", "<i8"),
        ("battery_w", "<i8"),
        ("soc_frac", "<f8"),
        ("ramp_s", "<f8"),
        ("from_frac", "<f8"),  # the ramp begins at `from_frac` x what is beneath + `from_w`
        ("from_w", "<f8"),
    ]
)
ENVELOPE: Final = np.dtype(
    [("start_ns", "<i8"), ("end_ns", "<i8"), ("import_limit_w", "<i8"), ("export_limit_w", "<i8")]
)
DROOP: Final = np.dtype(
    [
        ("start_ns", "<i8"),
        ("end_ns", "<i8"),
        ("reference_hz", "<f8"),
        ("deadband_hz", "<f8"),
        ("full_deviation_hz", "<f8"),
        ("up_w", "<i8"),
        ("down_w", "<i8"),
    ]
)
LEFT: Final = np.dtype([("event_id", f"S{ID_BYTES}"), ("until_ns", "<i8")])

_I8: Final = np.dtype(np.int64)
_F8: Final = np.dtype(np.float64)
_BOOL: Final = np.dtype(np.bool_)
_NAME: Final = np.dtype(f"S{ID_BYTES}")
LEASED: Final = {
    "version": _I8,
    "battery_w": _I8,
    "start_ns": _I8,
    "end_ns": _I8,
    "begin_ns": _I8,
    "ramp_s": _F8,
    "from_frac": _F8,
    "from_w": _F8,
}
_PER_SITE: Final = {
    "latest_version": _I8,
    "latest_fence": _I8,
    "orders_version": _I8,
    "halted": _BOOL,
    "off": _BOOL,
    "independent": _BOOL,
    "price_start_ns": _I8,
    "price_end_ns": _I8,
    "raised_reserve_frac": _F8,
    "asked_reserve_frac": _F8,
    "droop": DROOP,
}
_GROWING: Final = {
    "events": (EVENT, EVENT_SLOTS),
    "event_id": (_NAME, EVENT_SLOTS),
    "event_program": (_NAME, EVENT_SLOTS),
    "envelopes": (ENVELOPE, MOST_ENVELOPES),
    "left": (LEFT, MOST_LEFT),
}


class AgentColumns:
    """The memory of N agents.

    Attributes:
        site_ids: Their names, from which each draws its own place in time.
        version: Of each lease slot (2 x N); 0 when it is empty.
        battery_w: Set-point of each lease slot, clipped to the nameplate, charging positive (2 x N).
        start_ns: When each slot's lease begins (2 x N).
        end_ns: When it ends, exclusive (2 x N).
        begin_ns: When it began to be followed, later than `start_ns` for one that came late (2 x N).
        ramp_s: See `shoal.domain.desired.DesiredState` (2 x N).
        from_frac, from_w: The ramp begins at `from_frac` x what is beneath + `from_w` (2 x N).
        latest_version: The highest version of a set-point ever accepted (N).
        latest_fence: The highest fence ever seen (N).
        orders_version: The version of the document that is in force (N); 0 for none.
        halted: Whether it is a kill switch (N).
        off: Whether the owner or installer has switched the battery off (N).
        independent: Whether the owner has told the site to obey nobody (N).
        price_start_ns, price_end_ns: When the document's prices hold (N); both 0 without.
        raised_reserve_frac: To what the owner has raised the reserve (N); the nameplate's is the least.
        asked_reserve_frac: What the owner asked the plant to keep, as the document in force says (N); 0 for nothing.
        droop: Records of `DROOP` (N).
        events: Records of `EVENT` (slots x N), those of the document in its order, and among them those that fade.
        event_id, event_program: Names to them.
        envelopes: Records of `ENVELOPE` (slots x N); empty where they end at 0.
        left: Records of `LEFT` (slots x N).
        import_limit_w, export_limit_w: Static limits at the connection point (N), whole watts, never negative.
        reserve_kwh: The owner's reserve (N).
    """

    def __init__(
        self,
        nameplate: NDArray[Any],
        *,
        site_ids: Sequence[str] = (),
        import_limit_w: Watts | None = None,
        export_limit_w: Watts | None = None,
    ) -> None:
        """Begin with no orders.

        Args:
            nameplate: N records of `shoal.domain.fleet.NAMEPLATE`.
            site_ids: Names of the sites; their row numbers when left out.
            import_limit_w: Static limits at the connection point (N), never negative; none when left out.
            export_limit_w: The same for export.

        Raises:
            InvalidInputError: when the columns differ in length, or a limit is negative.
        """
        sites = len(nameplate)
        self.site_ids = tuple(site_ids) or tuple(str(row) for row in range(sites))
        self.version, self.battery_w, self.start_ns, self.end_ns, self.begin_ns = (
            np.zeros((2, sites), dtype=np.int64) for _ in range(5)
        )
        self.ramp_s, self.from_w = np.zeros((2, sites)), np.zeros((2, sites))
        self.from_frac = np.ones((2, sites))
        (
            self.latest_version,
            self.latest_fence,
            self.orders_version,
            self.price_start_ns,
            self.price_end_ns,
        ) = (np.zeros(sites, dtype=np.int64) for _ in range(5))
        self.halted, self.off, self.independent = (np.zeros(sites, dtype=np.bool_) for _ in range(3))
        self.raised_reserve_frac, self.asked_reserve_frac = np.zeros(sites), np.zeros(sites)
        self.droop: NDArray[Any] = np.zeros(sites, dtype=DROOP)
        self.events, self.event_id, self.event_program, self.envelopes, self.left = (
            np.zeros((0, sites), dtype=dtype) for dtype, _ in _GROWING.values()
        )
        self.import_limit_w = _limits("import_limit_w", import_limit_w, sites)
        self.export_limit_w = _limits("export_limit_w", export_limit_w, sites)
        if len(self.site_ids) != sites:
            raise InvalidInputError(field="site_ids", value=len(self.site_ids), fix=f"name {sites} sites")
        self.charge_limit_w = _whole_watts(nameplate["charge_limit_kw"])
        self.discharge_limit_w = _whole_watts(nameplate["discharge_limit_kw"])
        self.energy_capacity_kwh = np.array(nameplate["energy_capacity_kwh"], dtype=np.float64)
        self._plain_reserve_frac = np.array(nameplate["reserve_frac"], dtype=np.float64)
        self.reserve_kwh = self.energy_capacity_kwh * self._plain_reserve_frac
        self.charge_efficiency_frac = np.array(nameplate["charge_efficiency_frac"], dtype=np.float64)
        self.discharge_efficiency_frac = np.array(nameplate["discharge_efficiency_frac"], dtype=np.float64)

    def __len__(self) -> int:
        return len(self.latest_version)

    def grow(self, name: str, slots: int) -> None:
        """Make room for so many slots of ``events``, ``envelopes`` or ``left`` at every site."""
        together = ("events", "event_id", "event_program") if name == "events" else (name,)
        have = len(getattr(self, name))
        if slots <= have:
            return
        for column in together:
            dtype, most = _GROWING[column]
            grown = np.zeros((min(max(slots, 2 * have), most), len(self)), dtype=dtype)
            grown[:have] = getattr(self, column)
            setattr(self, column, grown)

    def void_leases(self, row: int) -> None:
        """Let no lease of a site count any more."""
        for name in ("version", "battery_w", "start_ns", "end_ns", "ramp_s"):
            getattr(self, name)[:, row] = 0

    def forget_ended(self, now_ns: int) -> None:
        """Forget what has ended and faded, so that a clock that is set back does not bring it to life again."""
        ended = (self.end_ns <= now_ns) & (self.end_ns <= now_ns - (self.ramp_s * NS_PER_S).astype(np.int64))
        # What a lease has replaced does not come back when it is forgotten itself.
        self.version[:, ended[PENDING] & (self.version[PENDING] > 0)] = 0
        self.version[ended] = 0
        if len(self.events):
            faded_ns = now_ns - (self.events["ramp_s"] * NS_PER_S).astype(np.int64)
            over = (self.events["end_ns"] <= now_ns) & (self.events["stop_ns"] <= faded_ns)
            self.events["kind"][over] = EventCode.NONE
        self.envelopes["end_ns"][self.envelopes["end_ns"] <= now_ns] = 0
        self.droop["end_ns"][self.droop["end_ns"] <= now_ns] = 0

    def raise_reserve(self, row: int, reserve_frac: float) -> None:
        """Set the reserve of a site: that of the nameplate or the owner's, whichever is more."""
        self.raised_reserve_frac[row] = reserve_frac
        self._work_out_reserve()

    def ask_reserve(self, row: int, reserve_frac: float) -> None:
        """Take what the plant says that the owner asked it to keep, in place of what it said before."""
        if self.asked_reserve_frac[row] != reserve_frac:
            self.asked_reserve_frac[row] = reserve_frac
            self._work_out_reserve()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of everything that a checkpoint must keep."""
        return {name: getattr(self, name).copy() for name in (*LEASED, *_PER_SITE, *_GROWING)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned; nothing changes when it does not fit.

        Raises:
            CorruptStateError: when a column is missing, of another type or for another number of sites.
        """
        sites = len(self)
        # kept before documents said it
        state = {"asked_reserve_frac": np.zeros(sites), **state}
        fits: dict[str, bool] = {}
        for name, dtype in (LEASED | _PER_SITE).items():
            shape = (2, sites) if name in LEASED else (sites,)
            fits[name] = name in state and state[name].shape == shape and state[name].dtype == dtype
        for name, (dtype, most) in _GROWING.items():
            column = state.get(name)
            fits[name] = (
                column is not None
                and column.ndim == 2
                and column.shape[1] == sites
                and len(column) <= most
                and column.dtype == dtype
            )
        for name, fit in fits.items():
            if not fit:
                raise CorruptStateError(
                    "agent state", f"column {name} is missing or does not fit {sites} sites"
                )
        if not len(state["events"]) == len(state["event_id"]) == len(state["event_program"]):
            raise CorruptStateError("agent state", "events and their names differ in number")
        for name in fits:
            setattr(self, name, state[name].copy())
        self._work_out_reserve()

    def _work_out_reserve(self) -> None:
        raised_frac = np.maximum(self.raised_reserve_frac, self.asked_reserve_frac)
        reserve_frac = np.maximum(self._plain_reserve_frac, raised_frac)
        self.reserve_kwh = self.energy_capacity_kwh * reserve_frac


def _limits(field: str, limit_w: Watts | None, sites: int) -> Watts:
    if limit_w is None:
        return np.full(sites, NO_LIMIT_W, dtype=np.int64)
    limits = np.minimum(np.asarray(limit_w, dtype=np.int64), NO_LIMIT_W)
    if limits.shape != (sites,) or bool((limits < 0).any()):
        raise InvalidInputError(field=field, value=limits.shape, fix=f"give {sites} limits of 0 W or more")
    return limits


def _whole_watts(limit_kw: Floats) -> Watts:
    # The hair undoes a product such as 1.001 * 1000 = 1000.9999999999999.
    return np.floor(limit_kw * 1_000.0 + 1e-6).astype(np.int64)
