"""Sites that somebody else has or will have, for bidding: orders, kill switches and weather alerts as control reads them."""

from __future__ import annotations

import threading
from typing import Final, Protocol

import msgspec
import numpy as np
import structlog

from shoal.bidding.offered import Hold, HoldReason
from shoal.control.event_calls import STATE
from shoal.control.kill import rows_of_stop
from shoal.control.regulation_sites import PROGRAM as REGULATION
from shoal.control.regulation_sites import rows_of_resource
from shoal.control.schedule import rows_of_order
from shoal.control.storm import PROGRAM as STORM
from shoal.control.storm import StormPolicy, standing_alert
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_S
from shoal.programs.enrolment import FOREVER_NS
from shoal.store.order_records import DroopSpec, EnvelopeSpec, Order, PriceSpec, Stop
from shoal.store.records import ControllerState
from shoal.store.weather_alerts import KeptAlert
from shoal.twin.zones import ZoneIndex

LOOK_AGAIN_NS: Final = 10 * NS_PER_S
"""So long what was read of alerts serves; orders and switches are read when there is a new line about them."""
_log = structlog.get_logger(__name__)


class OrderStore(Protocol):
    """Where orders are kept; see `shoal.store.orders.Orders`."""

    def newest(self) -> int: ...
    def orders(self, *, after_ns: int) -> list[Order]: ...
    def stops(self) -> list[Stop]: ...


class AlertStore(Protocol):
    """Where weather alerts are kept; see `shoal.store.weather_alerts.WeatherAlertLog`."""

    def standing(self, now_ns: int) -> list[KeptAlert]: ...


class StateStore(Protocol):
    """Where control keeps what must survive it; see `shoal.store.ledger.Ledger`."""

    def load_state(self, resource_id: ResourceId) -> ControllerState | None: ...


class HeldSites:
    """Tells what of the fleet is held; threads may share it.

    An order holds every site that it may mean: who of them gives how much is decided when it runs.

    Args:
        fleet: The fleet.
        orders: Where orders are kept.
        alerts: Where weather alerts are kept.
        storm_policy: How the plant gets ready for weather; as control does when None.
        states: Where control keeps who has no grid; nobody is known to have none when None.
        regulation: The resource whose sites follow a regulation signal; empty for none.
    """

    def __init__(
        self,
        fleet: Fleet,
        orders: OrderStore,
        alerts: AlertStore,
        storm_policy: StormPolicy | None = None,
        *,
        states: StateStore | None = None,
        regulation: str = "",
    ) -> None:
        self._fleet = fleet
        self._orders = orders
        self._alerts = alerts
        self._policy = storm_policy or StormPolicy()
        self._states = states
        self._by_regulation = _hold_of_regulation(fleet, regulation)
        self._by_grid: tuple[Hold, ...] = ()
        self._index: ZoneIndex | None = None
        self._newest = -1
        self._asked_ns: int | None = None
        self._by_order: tuple[Hold, ...] = ()
        self._by_alert: dict[str, tuple[KeptAlert, Hold | None]] = {}
        self._lock = threading.Lock()

    def __call__(self, as_of_ns: int, /) -> list[Hold]:
        """Return what is held now or will be, as known at an instant.

        Raises:
            UnavailableError: when nothing was ever read; later the last word counts.
        """
        with self._lock:
            try:
                self._read(as_of_ns)
            except UnavailableError as error:
                if self._asked_ns is None:
                    raise
                _log.warning("orders or alerts cannot be read", why=str(error))
            of_alerts = [hold for _, hold in self._by_alert.values() if hold is not None]
            held = (*self._by_order, *of_alerts, *self._by_grid, *self._by_regulation)
            return [hold for hold in held if hold.end_ns > as_of_ns]

    def _read(self, as_of_ns: int) -> None:
        newest = self._orders.newest()
        if newest != self._newest:
            orders = [_hold_of_order(order, self._fleet) for order in self._orders.orders(after_ns=as_of_ns)]
            stops = [_hold_of_stop(stop, self._fleet) for stop in self._orders.stops()]
            self._by_order = (*(hold for hold in orders if hold is not None), *stops)
            self._newest = newest
        if self._asked_ns is None or not 0 <= as_of_ns - self._asked_ns < LOOK_AGAIN_NS:
            alerts = self._alerts.standing(as_of_ns)
            known = self._by_alert
            self._by_alert = {}
            for kept in alerts:
                before = known.get(kept.key)
                same = before is not None and before[0] == kept
                self._by_alert[kept.key] = before if same and before else (kept, self._hold_of_alert(kept))
            self._by_grid = self._held_by_grid(as_of_ns)
            self._asked_ns = as_of_ns

    def _held_by_grid(self, as_of_ns: int) -> tuple[Hold, ...]:
        """Return who has no grid now: nobody knows when it is back, so nothing of it is offered."""
        kept = None if self._states is None else self._states.load_state(ResourceId(STATE))
        if kept is None:
            return ()
        islands = msgspec.json.decode(kept.state).get("islands", {})
        rows = np.array(sorted(int(row) for row in islands), dtype=np.int64)
        if not len(rows):
            return ()
        hold = Hold(
            reason="islanded",
            name="grid lost",
            program="",
            rows=rows,
            start_ns=as_of_ns,
            end_ns=FOREVER_NS,
        )
        return (hold,)

    def _hold_of_alert(self, kept: KeptAlert) -> Hold | None:
        if self._index is None:
            self._index = ZoneIndex(self._fleet.latitude_deg, self._fleet.longitude_deg)
        try:
            alert = standing_alert(
                key=kept.key,
                alert=kept.alert,
                taken_ns=kept.taken_ns,
                until_ns=kept.until_ns,
                index=self._index,
                policy=self._policy,
            )
        except InvalidInputError as error:
            _log.warning("a weather alert cannot be followed", alert=kept.key, why=str(error))
            return None
        if alert is None:
            return None
        return Hold(
            reason="storm",
            name=kept.key,
            program=STORM,
            rows=alert.rows,
            start_ns=alert.hold.start_ns,
            # devices end at places of their own
            end_ns=alert.hold.end_ns + int(self._policy.spread_s * NS_PER_S),
        )


def _hold_of_order(order: Order, fleet: Fleet) -> Hold | None:
    """Return what an order holds; prices, limits and an armed droop leave a site to the market."""
    if isinstance(order.spec, PriceSpec | EnvelopeSpec | DroopSpec):
        return None
    reason: HoldReason = "storm" if order.program == STORM else "event"
    # of an event that was called sites get ready from the call on
    called_ns = getattr(order.spec, "called_ns", order.start_ns)
    return Hold(
        reason=reason,
        name=order.order_id,
        program=order.program,
        rows=rows_of_order(order, fleet),
        start_ns=min(order.start_ns, called_ns),
        end_ns=order.end_ns,
    )


def _hold_of_stop(stop: Stop, fleet: Fleet) -> Hold:
    return Hold(
        reason="stopped",
        name=stop.stop_id,
        program="",
        rows=rows_of_stop(stop, fleet).astype(np.int64),
        start_ns=stop.since_ns,
        end_ns=FOREVER_NS,
    )


def _hold_of_regulation(fleet: Fleet, resource_id: str) -> tuple[Hold, ...]:
    """Return what regulation holds: its sites, as long as its role is among the plant's."""
    if not resource_id:
        return ()
    hold = Hold(
        reason="regulation",
        name=f"{REGULATION}:{resource_id}",
        program=REGULATION,
        rows=rows_of_resource(fleet, resource_id),
        start_ns=0,
        end_ns=FOREVER_NS,
    )
    return (hold,)
