"""Orders: all that the plant wants of a site beyond the power of the moment, as one document.

Each document replaces the one before, so a device that was away learns what still applies and nothing else. What is in
it ends by itself: events, prices, envelopes and armings have an end each, after which the device decides alone. Powers
are load-positive whole watts; a limit with a direction in its name is never negative.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

EventKind: TypeAlias = Literal["power", "charge", "hold", "local"]
"""``power``: the battery follows `battery_w`. ``charge``: it charges up to `soc_frac`, with `battery_w` at most, and holds.
``hold``: it does not discharge below `soc_frac`. ``local``: the site uses its own solar power, whatever else is asked."""

ReportOutcome: TypeAlias = Literal["applied", "curtailed", "refused"]


class ScheduledEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stretch of time in which a program asks something of a site; runs on the device's own clock.

    Attributes:
        event_id: The same id in a newer document is the same event, changed, extended or cut short; one that is no
            longer named is cancelled.
        program: Which program asks.
        kind: See `EventKind`.
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        battery_w: See `EventKind`, charging positive.
        soc_frac: See `EventKind`, of the energy capacity.
        solar_only: Charge from surplus solar power alone, never from the grid.
        ramp_s: From what the battery did before to what is asked, and back afterwards, in a straight line over so long.
        spread_s: Begin, and end, at a place of the device's own within so long, so that thousands do not step together.
        may_opt_out: Whether the owner may leave it while it runs.
    """

    event_id: str
    program: str
    kind: EventKind
    start_ns: int
    end_ns: int
    battery_w: int = 0
    soc_frac: float = 0.0
    solar_only: bool = False
    ramp_s: float = 0.0
    spread_s: float = 0.0
    may_opt_out: bool = True


class PriceSeries(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Prices that the site plans against by itself; the last ones known stay in use until they end.

    Attributes:
        start_ns: When the first interval begins.
        step_s: Length of each.
        import_per_kwh: What a kWh from the grid costs, by interval.
        export_per_kwh: What a kWh into the grid earns, by interval.
        added: Whether both are added to the site's own tariff, instead of taking its place.
        rows: Of added prices, rows that the site plans against one by one, to keep to the mean of these plans by stored
            energy; the prices above are then the rows' mean, for who plans against one row only.
        weights: How much each row counts, adding up to 1.
    """

    start_ns: int
    step_s: int
    import_per_kwh: tuple[float, ...]
    export_per_kwh: tuple[float, ...]
    added: bool = False
    rows: tuple[tuple[float, ...], ...] = ()
    weights: tuple[float, ...] = ()


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Limits at the connection point for a while; afterwards the site's own static limits hold again."""

    start_ns: int
    end_ns: int
    import_limit_w: int
    export_limit_w: int


class DroopArming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A response to the frequency that the device measures itself, added to whatever else it does.

    Power grows in a straight line from 0 at the edge of the deadband to its limit at `full_deviation_hz`.

    Attributes:
        start_ns: When it is armed.
        end_ns: Until when, exclusive.
        reference_hz: Where nothing is done.
        deadband_hz: Distance from it within which nothing is done.
        full_deviation_hz: Distance at which the whole power is given; above the deadband.
        up_w: Most given when the frequency is low: less charging, more discharging.
        down_w: Most taken when it is high.
    """

    start_ns: int
    end_ns: int
    reference_hz: float
    deadband_hz: float
    full_deviation_hz: float
    up_w: int
    down_w: int = 0


class SiteOrders(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All orders of a site.

    Attributes:
        version: Grows with each new document of the site; counted apart from set-points.
        issued_ns: When it was made.
        issuer: Who sends it.
        fence: Token of the issuer; the same count as of set-points.
        halted: The kill switch: neither set-points nor events nor prices are followed until a newer document.
        events: What is scheduled, under way or ahead.
        prices: What a kWh costs and earns; None for the site's own tariff.
        envelopes: Limits at the connection point.
        droop: Response to the frequency; None when it is not armed.
        reserve_frac: State of charge that the owner asked the plant to keep; the device keeps the most of this, of what its
            owner set at the device, and of its own least. 0 when the plant knows of nothing beyond that.
    """

    version: int
    issued_ns: int
    issuer: str
    fence: int
    halted: bool = False
    events: tuple[ScheduledEvent, ...] = ()
    prices: PriceSeries | None = None
    envelopes: tuple[Envelope, ...] = ()
    droop: DroopArming | None = None
    reserve_frac: float = 0.0


class OrderReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device says of a set-point or a document that it was sent.

    Attributes:
        kind: Of which.
        version: Its version; 0 when it could not be read.
        outcome: What the device does with it.
        reason: A stable code when it was not simply applied.
        t_ns: When, by the device's clock.
        mode: What the device follows now: ``off``, ``direct``, ``schedule``, ``price`` or ``local``.
        opted_out: Events that the owner has left.
    """

    kind: Literal["desired", "orders"]
    version: int
    outcome: ReportOutcome
    t_ns: int
    reason: str = ""
    mode: str = ""
    opted_out: tuple[str, ...] = ()
