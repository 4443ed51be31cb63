"""What a site's documents of orders make right, as the referee sees it: bounds of power, not powers.

It shares no code with the agent. Where a device may choose its own place in time or is on a ramp, everything between
what is beneath and what is asked is right; elsewhere only what is asked. Nothing is right before an event's start, nor
after its end and one ramp.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import DroopArming, Envelope, PriceSeries, ScheduledEvent, SiteOrders

_MOST: Final = {"events": 8, "envelopes": 48, "prices": 4_096}
_SLOTS: Final = 16
_DAY_S: Final = 86_400.0
_END_NS: Final = 2**63 - 1
_BEYOND_W: Final = 10**9
_KINDS: Final = {"power": 1, "charge": 2, "hold": 3, "local": 4}
_ID: Final = "S64"
_EVENT: Final = np.dtype(
    [
        ("event_id", _ID),
        ("kind", "<u1"),
        ("solar_only", "?"),
        ("optional", "?"),
        ("start_ns", "<i8"),
        ("end_ns", "<i8"),
        ("placed_ns", "<i8"),  # by when a device has come to its place: only its ramp may be left
        ("asked_w", "<f8"),
        ("low_w", "<f8"),  # of what was asked before and may still be fading
        ("high_w", "<f8"),
        ("soc_frac", "<f8"),
        ("ramp_s", "<f8"),
        ("spread_s", "<f8"),
    ]
)
_LIMITS: Final = np.dtype([("start_ns", "<i8"), ("end_ns", "<i8"), ("in_w", "<f8"), ("out_w", "<f8")])
_DROOP: Final = np.dtype(
    [
        ("start_ns", "<i8"),
        ("end_ns", "<i8"),
        ("reference_hz", "<f8"),
        ("deadband_hz", "<f8"),
        ("full_hz", "<f8"),
        ("up_w", "<f8"),
        ("down_w", "<f8"),
    ]
)
_LEFT: Final = np.dtype([("event_id", _ID), ("until_ns", "<i8")])

Floats = NDArray[np.float64]


class Documents:
    """The documents of N sites.

    Attributes:
        halted: Where the kill switch is on (N).
        version: Of the document in force (N).
    """

    def __init__(self, sites: int) -> None:
        self.version = np.zeros(sites, dtype=np.int64)
        self.halted = np.zeros(sites, dtype=np.bool_)
        self._events = np.zeros((_SLOTS, sites), dtype=_EVENT)
        self._left = np.zeros((_SLOTS, sites), dtype=_LEFT)
        self._limits = np.zeros((_MOST["envelopes"], sites), dtype=_LIMITS)
        self._droop: NDArray[Any] = np.zeros(sites, dtype=_DROOP)
        self._price_ns = np.zeros((2, sites), dtype=np.int64)
        self._used = [0, 0]  # highest slots in use of events and limits

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return everything that a checkpoint must keep; the arrays themselves."""
        return {
            "orders_version": self.version,
            "halted": self.halted,
            "events": self._events,
            "left": self._left,
            "limits": self._limits,
            "droop": self._droop,
            "price_ns": self._price_ns,
        }

    def restored(self) -> None:
        """Look at all slots again after the arrays were written from outside."""
        self._used = [_SLOTS, _MOST["envelopes"]]

    def heard(
        self, row: int, payload: bytes, *, received_ns: int, fence: NDArray[np.int64], low_w: int, high_w: int
    ) -> SiteOrders | None:
        """Take a document when it is right to, and return it; `low_w` to `high_w` is what the battery can."""
        try:
            orders = msgspec.json.decode(payload, type=SiteOrders)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not (0 < orders.version <= _END_NS and fence[row] <= orders.fence <= _END_NS):
            return None
        fence[row] = orders.fence
        if orders.version <= self.version[row]:
            return None
        limits = [one for one in orders.envelopes if one.end_ns > received_ns]
        events = [one for one in orders.events if one.end_ns > received_ns]
        if orders.halted:
            limits = [one for one in limits if _sound_limits(one)][: _MOST["envelopes"]]
            events = []
        elif not _sound(orders, events, limits):
            return None
        self.version[row], self.halted[row] = orders.version, orders.halted
        self._take_events(row, events, received_ns, low_w, high_w, fade=not orders.halted)
        self._limits[:, row] = np.zeros((), dtype=_LIMITS)
        for slot, one in enumerate(limits):
            in_w, out_w = (min(limit_w, _BEYOND_W) for limit_w in (one.import_limit_w, one.export_limit_w))
            self._limits[slot, row] = (one.start_ns, one.end_ns, in_w, out_w)
        self._used[1] = max(self._used[1], len(limits))
        self._droop[row] = np.zeros((), dtype=_DROOP)
        self._price_ns[:, row] = 0
        if not orders.halted and orders.droop is not None:
            *curve, up_w, down_w = msgspec.structs.astuple(orders.droop)
            self._droop[row] = (*curve, min(up_w, _BEYOND_W), min(down_w, _BEYOND_W))
        if not orders.halted and orders.prices is not None:
            start_ns = orders.prices.start_ns
            steps = len(orders.prices.import_per_kwh)
            self._price_ns[:, row] = (start_ns, start_ns + steps * orders.prices.step_s * NS_PER_S)
        return orders

    def left(self, row: int, event_id: str, now_ns: int) -> None:
        """Note that the owner has left an event."""
        named = event_id.encode()
        for event in self._events[:, row]:
            if (
                event["kind"]
                and event["event_id"] == named
                and event["end_ns"] > now_ns
                and event["optional"]
            ):
                mine = self._left[:, row]
                mine["until_ns"][mine["event_id"] == named] = 0
                mine[int(mine["until_ns"].argmin())] = (named, event["end_ns"])

    def came_back(self, row: int, event_id: str, now_ns: int) -> None:
        """Note that the owner has come back to an event."""
        named = event_id.encode()
        mine = self._left[:, row]
        if not np.any((mine["event_id"] == named) & (mine["until_ns"] > now_ns)):
            return
        mine["until_ns"][mine["event_id"] == named] = 0
        for event in self._events[:, row]:
            if event["event_id"] == named:
                event["placed_ns"] = max(int(event["placed_ns"]), now_ns)
                event["low_w"] = event["high_w"] = event["asked_w"]

    def priced(self, start_ns: int) -> NDArray[np.bool_]:
        """Return where the plant's prices are in force (N)."""
        inside: NDArray[np.bool_] = (self._price_ns[0] <= start_ns) & (start_ns < self._price_ns[1])
        return inside & ~self.halted

    def droop_w(self, start_ns: int, frequency_hz: Floats) -> Floats:
        """Return what the armed droop adds (N), not rounded."""
        armed = self._droop
        off_hz = frequency_hz - armed["reference_hz"]
        span_hz = np.maximum(armed["full_hz"] - armed["deadband_hz"], 1e-12)
        share = np.clip((np.abs(off_hz) - armed["deadband_hz"]) / span_hz, 0.0, 1.0)
        added_w = np.where(off_hz < 0.0, -share * armed["up_w"], share * armed["down_w"])
        active = (armed["start_ns"] <= start_ns) & (start_ns < armed["end_ns"]) & np.isfinite(off_hz)
        answer: Floats = np.where(active & ~self.halted, added_w, 0.0)
        return answer

    def limits_w(self, start_ns: int, import_w: Floats, export_w: Floats) -> tuple[Floats, Floats]:
        """Return the limits at the connection point (N): the envelopes' where there are any, else the static ones."""
        in_w, out_w = np.full(len(import_w), np.inf), np.full(len(export_w), np.inf)
        bound = np.zeros(len(import_w), dtype=np.bool_)
        for limits in self._limits[: self._used[1]]:
            holds = (limits["start_ns"] <= start_ns) & (start_ns < limits["end_ns"])
            bound |= holds
            in_w = np.where(holds, np.minimum(in_w, limits["in_w"]), in_w)
            out_w = np.where(holds, np.minimum(out_w, limits["out_w"]), out_w)
        return np.where(bound, in_w, import_w), np.where(bound, out_w, export_w)

    def widen(
        self,
        low_w: Floats,
        high_w: Floats,
        *,
        start_ns: int,
        end_ns: int,
        obeys: NDArray[np.bool_],
        own_w: Floats,
        surplus_w: Floats,
        above_w: Any,
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return the bounds with events laid over them, and where one is surely in force (N).

        Args:
            low_w: Least of what is beneath (N).
            high_w: Most of it (N).
            start_ns: When the interval begins.
            end_ns: When it ends.
            obeys: Who follows events (N).
            own_w: What a site does by itself (N).
            surplus_w: Its surplus of solar power (N).
            above_w: Function of a state of charge (N): the powers that end at it, as the least and most discharging
                power and the least and most charging power.
        """
        surely = np.zeros(len(low_w), dtype=np.bool_)
        span_ns = end_ns - start_ns
        for slot in range(self._used[0] - 1, -1, -1):
            event = self._events[slot]
            ramp_ns = np.rint(event["ramp_s"] * NS_PER_S).astype(np.int64)
            spread_ns = np.rint(event["spread_s"] * NS_PER_S).astype(np.int64)
            gone_ns = np.minimum(event["end_ns"], _END_NS - ramp_ns) + ramp_ns
            may = (event["kind"] > 0) & (event["start_ns"] <= start_ns) & (start_ns < gone_ns) & obeys
            if not may.any():
                continue
            gone = np.zeros(len(may), dtype=np.bool_)
            for left in self._left:
                gone |= (left["until_ns"] > start_ns) & (left["event_id"] == event["event_id"])
            may &= ~gone
            settled_ns = np.minimum(event["placed_ns"], _END_NS - ramp_ns) + ramp_ns
            must = may & (settled_ns <= start_ns) & (end_ns <= event["end_ns"] - spread_ns)
            ask_low_w, ask_high_w = self._asked(event, low_w, high_w, own_w, surplus_w, above_w)
            ask_low_w = np.where(must, ask_low_w, np.minimum(ask_low_w, event["low_w"]))
            ask_high_w = np.where(must, ask_high_w, np.maximum(ask_high_w, event["high_w"]))
            # After its end only as much of the interval as is left of the ramp.
            share = np.where(
                event["end_ns"] <= start_ns, np.clip((gone_ns - start_ns) / span_ns, 0.0, 1.0), 1.0
            )
            far_low_w = low_w + share * (np.minimum(low_w, ask_low_w) - low_w)
            far_high_w = high_w + share * (np.maximum(high_w, ask_high_w) - high_w)
            low_w = np.where(must, ask_low_w, np.where(may, far_low_w, low_w))
            high_w = np.where(must, ask_high_w, np.where(may, far_high_w, high_w))
            surely |= must
        return low_w, high_w, surely

    def _asked(
        self,
        event: NDArray[Any],
        low_w: Floats,
        high_w: Floats,
        own_w: Floats,
        surplus_w: Floats,
        above_w: Any,
    ) -> tuple[Floats, Floats]:
        kind = event["kind"]
        out_near_w, out_far_w, in_near_w, in_far_w = above_w(event["soc_frac"])
        kept_low_w, kept_high_w = np.maximum(low_w, -out_far_w), np.maximum(high_w, -out_near_w)
        most_w = np.where(event["solar_only"], surplus_w, np.inf)
        speed_w = np.minimum(event["asked_w"], most_w)
        rest_low_w, rest_high_w = np.minimum(kept_low_w, most_w), np.minimum(kept_high_w, most_w)
        # A watt or two from the level it may do either.
        charge_low_w = np.where(in_near_w > 2.0, np.minimum(speed_w, in_near_w), np.minimum(rest_low_w, 0.0))
        charge_low_w = np.where(in_far_w > 0.0, charge_low_w, rest_low_w)
        charge_high_w = np.where(in_near_w > 2.0, np.minimum(speed_w, in_far_w), np.maximum(rest_high_w, 0.0))
        charge_high_w = np.where(in_far_w > 0.0, charge_high_w, rest_high_w)
        least = np.choose(kind, [low_w, event["asked_w"], charge_low_w, kept_low_w, own_w])
        most = np.choose(kind, [high_w, event["asked_w"], charge_high_w, kept_high_w, own_w])
        return least, most

    def _take_events(
        self, row: int, events: list[ScheduledEvent], now_ns: int, low_w: int, high_w: int, *, fade: bool
    ) -> None:
        places = list(enumerate(self._events[:, row]))
        old = {bytes(one["event_id"]): (slot, one.copy()) for slot, one in places if one["end_ns"] > now_ns}
        fading = {
            slot: one.copy()
            for slot, one in places
            if one["kind"]
            and one["end_ns"] <= now_ns < one["end_ns"] + round(float(one["ramp_s"]) * NS_PER_S)
        }
        gone = {bytes(one["event_id"]) for one in self._left[:, row] if one["until_ns"] > now_ns}
        fresh: list[Any] = []
        was_at: list[int] = []  # the old slot of each; none where nothing of it goes on
        for one in events:
            named = one.event_id.encode()
            was_at.append(old[named][0] if named in old and one.start_ns <= now_ns else -1)
            asked_w = min(max(one.battery_w, low_w), high_w)
            before = old.get(named, (0, None))[1]
            placed_ns = max(one.start_ns, now_ns) + round(one.spread_s * NS_PER_S)
            least_w = most_w = float(asked_w)
            if before is not None and one.start_ns <= now_ns and before["start_ns"] <= now_ns:
                del old[named]
                kind = _KINDS[one.kind]
                if kind == before["kind"] and (kind != 1 or asked_w == before["asked_w"]):
                    before_ns = int(before["placed_ns"])
                    placed_ns = before_ns if before_ns <= now_ns else max(before_ns, placed_ns)
                if named not in gone and before["kind"] == 1:
                    least_w, most_w = min(least_w, before["low_w"]), max(most_w, before["high_w"])
            fresh.append(
                (
                    *(named, _KINDS[one.kind], one.solar_only, one.may_opt_out, one.start_ns, one.end_ns),
                    *(
                        min(placed_ns, _END_NS),
                        asked_w,
                        least_w,
                        most_w,
                        one.soc_frac,
                        one.ramp_s,
                        one.spread_s,
                    ),
                )
            )
            for left in self._left[:, row]:
                if left["until_ns"] > now_ns and left["event_id"] == named:
                    left["until_ns"] = one.end_ns
        for named, (slot, one) in old.items():
            if one["kind"] and one["start_ns"] <= now_ns and one["ramp_s"] > 0 and named not in gone:
                one["end_ns"] = now_ns
                fading[slot] = one
        self._events[:, row] = np.zeros((), dtype=_EVENT)
        # What fades stays over what goes on and was beneath it: else all would step from the one to the other.
        over = sorted(fading)[: _SLOTS - len(fresh)] if fade else []
        kept: list[Any] = []
        for values, slot in zip(fresh, was_at, strict=True):
            kept += [fading[place] for place in over if place < slot]
            over = [place for place in over if place >= slot]
            kept.append(values)
        kept += [fading[place] for place in over]
        for slot, values in enumerate(kept):
            self._events[slot, row] = values
        self._used[0] = max(self._used[0], len(kept))


def _sound(orders: SiteOrders, events: list[ScheduledEvent], limits: list[Envelope]) -> bool:
    if len(events) > _MOST["events"] or len(limits) > _MOST["envelopes"]:
        return False
    names = [event.event_id for event in events]
    return (
        len(set(names)) == len(names)
        and 0.0 <= orders.reserve_frac <= 1.0
        and all(map(_sound_event, events))
        and all(map(_sound_limits, limits))
        and (orders.droop is None or _sound_droop(orders.droop))
        and (orders.prices is None or _sound_prices(orders.prices))
    )


def _sound_event(event: ScheduledEvent) -> bool:
    return (
        _name(event.event_id)
        and (event.program == "" or _name(event.program))
        and 0 <= event.start_ns < event.end_ns <= _END_NS
        and 0 <= event.soc_frac <= 1
        and 0 <= event.ramp_s <= _DAY_S
        and 0 <= event.spread_s <= _DAY_S
        and (event.kind != "charge" or event.battery_w >= 0)
    )


def _name(text: str) -> bool:
    return text != "" and text.isprintable() and len(text.encode()) <= 64


def _sound_limits(one: Envelope) -> bool:
    return 0 <= one.start_ns < one.end_ns <= _END_NS and one.import_limit_w >= 0 and one.export_limit_w >= 0


def _sound_droop(one: DroopArming) -> bool:
    return (
        0 <= one.start_ns < one.end_ns <= _END_NS
        and 0 < one.reference_hz < math.inf
        and 0 <= one.deadband_hz < one.full_deviation_hz < math.inf
        and one.up_w >= 0
        and one.down_w >= 0
    )


def _sound_prices(one: PriceSeries) -> bool:
    steps = len(one.import_per_kwh)
    return (
        0 < steps <= _MOST["prices"]
        and steps == len(one.export_per_kwh)
        and all(abs(price) < math.inf for price in (*one.import_per_kwh, *one.export_per_kwh))
        and 0 < one.step_s <= _DAY_S
        and 0 <= one.start_ns <= _END_NS // 2
    )
