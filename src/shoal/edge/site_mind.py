"""What one site has been asked and decides: the agent of `shoal.edge.agent` with one row, its signatures and its modes.

Everything that comes down passes here once: opened when the site has a root key, decoded, taken or refused, and answered with
a report. Nothing here waits or reads a clock.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import numpy as np

from shoal.domain.errors import CorruptStateError, WireFormatError
from shoal.domain.ids import SiteId
from shoal.domain.orders import OrderReport, PriceSeries
from shoal.domain.outcome import Accepted, Outcome, Rejected
from shoal.edge import agent, agent_owner
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.edge.drivers.protocol import Measurement
from shoal.edge.modes import Facts, Mode, Transition, next_mode
from shoal.edge.orders_report import report_of
from shoal.edge.regulated import Regulated
from shoal.edge.signed import ForgedError, Verifier, payload_of

_ROW: Final = 0
Kind = Literal["desired", "orders"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDecision:
    """What the battery does from now on.

    Attributes:
        battery_w: Charging positive.
        mode: Who decided it, and why.
        following_version: Version of the lease that is followed; 0 for none.
    """

    battery_w: int
    mode: Transition
    following_version: int


class SiteMind:
    """The memory and the decision of one site.

    Args:
        site: Its id.
        nameplate: One record with the columns of `shoal.domain.fleet.NAMEPLATE` that `AgentColumns` takes.
        import_limit_w: Static limit of the connection; None for none.
        export_limit_w: Likewise.
        verifier: Opens signed frames; None to take all messages, unchecked.
    """

    def __init__(
        self,
        site: SiteId,
        nameplate: Any,
        *,
        import_limit_w: int | None = None,
        export_limit_w: int | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        self._site = site
        self._verifier = verifier
        self.columns = AgentColumns(
            nameplate,
            site_ids=(site,),
            import_limit_w=None if import_limit_w is None else np.array([import_limit_w]),
            export_limit_w=None if export_limit_w is None else np.array([export_limit_w]),
        )
        self.regulated = Regulated(self.columns, (site,), verifier)
        self.mode = Transition(mode=Mode.LOCAL, reason="no_orders", before=Mode.LOCAL)
        self._prices: PriceSeries | None = None
        self.refused = 0

    def hear(self, kind: Kind, frame: bytes, now_ns: int) -> OrderReport:
        """Take or refuse a set-point or a document, and return what is to be said of it."""
        version = 0
        try:
            payload = self.opened(kind, frame, now_ns)
            outcome: Outcome
            if kind == "desired":
                desired = agent.decode_desired(payload)
                version = desired.version
                outcome = agent.receive(self.columns, _ROW, desired, now_ns)
            else:
                orders = decode_orders(payload)
                version = orders.version
                outcome = receive_orders(self.columns, _ROW, orders, now_ns)
                if not isinstance(outcome, Rejected):
                    self._prices = None if orders.halted else orders.prices
        except (ForgedError, WireFormatError) as error:
            outcome = Rejected(reason=error.reason, detail=error.detail)
        self.refused += isinstance(outcome, Rejected)
        return self._report(kind, version, outcome, now_ns)

    def mode_report(self, now_ns: int) -> OrderReport:
        """Return what is to be said when the mode has changed."""
        return self._report(
            "orders", int(self.columns.orders_version[_ROW]), Accepted(), now_ns, self.mode.reason
        )

    def prices(self, now_ns: int) -> PriceSeries | None:
        """Return the plant's prices as long as they last and are to be followed."""
        columns = self.columns
        lasts = bool(columns.price_start_ns[_ROW] <= now_ns < columns.price_end_ns[_ROW])
        return self._prices if self.obeys and lasts else None

    def decide(
        self,
        seen: Measurement | None,
        *,
        now_ns: int,
        horizon_s: float,
        hold_s: float,
        plan_w: int | None,
    ) -> SiteDecision:
        """Return what the battery does from now on, and remember the mode.

        Args:
            seen: A fresh measurement; None when there is none, and then the battery does nothing.
            now_ns: The device's time.
            horizon_s: How long the decision may be held without crossing the reserve or full.
            hold_s: For how long it will be held.
            plan_w: What the site's own plan asks for; None without one.
        """
        self.columns.forget_ended(now_ns)
        stored_kwh = math.nan
        if seen is not None and seen.soc_frac is not None:
            stored_kwh = min(max(seen.soc_frac, 0.0), 1.0) * float(self.columns.energy_capacity_kwh[_ROW])
        power = Measurement() if seen is None else seen
        decided = agent.decide(
            self.columns,
            now_ns=now_ns,
            load_w=_watts(power.load_w),
            solar_w=_watts(power.solar_w),
            ev_w=_watts(power.ev_w),
            stored_kwh=np.array([stored_kwh]),
            horizon_s=horizon_s,
            hold_s=hold_s,
            frequency_hz=np.array([math.nan if power.frequency_hz is None else power.frequency_hz]),
            plan_w=np.array([math.nan if plan_w is None else float(plan_w)]),
        )
        followed = agent.MODE_NAMES[agent.Mode(int(decided.mode[_ROW]))]
        events = agent_owner.events_of(self.columns, _ROW, now_ns)
        facts = Facts(
            switched_off=bool(self.columns.off[_ROW]),
            measured=seen is not None,
            readable=not math.isnan(stored_kwh),
            halted=bool(self.columns.halted[_ROW]),
            independent=bool(self.columns.independent[_ROW]),
            lease=followed == "direct",
            event=followed == "schedule",
            opted_out=any(event.opted_out and event.start_ns <= now_ns for event in events),
            prices=followed == "price",
        )
        self.mode = next_mode(self.mode.mode, facts, reason_before=self.mode.reason)
        return SiteDecision(
            battery_w=int(decided.battery_w[_ROW]),
            mode=self.mode,
            following_version=int(decided.following_version[_ROW]),
        )

    @property
    def fence(self) -> int:
        """The highest fence ever seen."""
        return int(self.columns.latest_fence[_ROW])

    @property
    def orders_version(self) -> int:
        """The version of the document that is in force; 0 for none."""
        return int(self.columns.orders_version[_ROW])

    @property
    def reserve_frac(self) -> float:
        """What the owner keeps, of the capacity."""
        capacity_kwh = float(self.columns.energy_capacity_kwh[_ROW])
        return float(self.columns.reserve_kwh[_ROW]) / capacity_kwh if capacity_kwh else 0.0

    def events(self, now_ns: int) -> list[agent_owner.EventView]:
        """Return the events that are under way or ahead."""
        return agent_owner.events_of(self.columns, _ROW, now_ns)

    def opt_out(self, event_id: str, now_ns: int) -> Outcome:
        """Let the owner leave an event."""
        return agent_owner.opt_out(self.columns, _ROW, event_id, now_ns)

    def opt_in(self, event_id: str, now_ns: int) -> Outcome:
        """Let the owner come back to an event."""
        return agent_owner.opt_in(self.columns, _ROW, event_id, now_ns)

    def set_reserve(self, reserve_frac: float) -> Outcome:
        """Let the owner set the reserve; the installer's is the least."""
        return agent_owner.set_reserve(self.columns, _ROW, reserve_frac)

    def set_off(self, off: bool) -> None:
        """Let the owner switch the battery off, or on again."""
        agent_owner.set_off(self.columns, _ROW, off)

    def set_independent(self, independent: bool) -> None:
        """Let the owner command the site alone, or give it back."""
        agent_owner.set_independent(self.columns, _ROW, independent)

    def state(self) -> dict[str, Any]:
        """Return everything that must survive a restart, as JSON and bytes."""
        columns = {}
        for name, column in self.columns.state().items():
            content = io.BytesIO()
            np.save(content, column, allow_pickle=False)
            columns[name] = content.getvalue()
        prices = None if self._prices is None else msgspec.to_builtins(self._prices)
        return {
            "columns": columns,
            "prices": prices,
            "mode": self.mode.mode.value,
            "reason": self.mode.reason,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned.

        Raises:
            CorruptStateError: when it is not that.
        """
        try:
            columns = {
                name: np.load(io.BytesIO(content), allow_pickle=False)
                for name, content in state["columns"].items()
            }
            mode = Mode(state["mode"])
            prices = None if state["prices"] is None else msgspec.convert(state["prices"], PriceSeries)
            self.columns.restore(columns)
        except (KeyError, ValueError, TypeError, AttributeError, EOFError, msgspec.ValidationError) as error:
            raise CorruptStateError("agent state", str(error)) from error
        self._prices = prices
        self.mode = Transition(mode=mode, reason=str(state.get("reason", "")), before=mode)

    @property
    def obeys(self) -> bool:
        """Whether the site follows the plant at all: neither switched off, nor halted, nor left by its owner."""
        columns = self.columns
        return not (columns.halted[_ROW] or columns.independent[_ROW] or columns.off[_ROW])

    def opened(self, kind: str, frame: bytes, now_ns: int) -> bytes:
        """Return what a message of the plant says.

        Raises:
            ForgedError: when the site takes signed messages only, and this is none for it.
        """
        if self._verifier is not None:
            return self._verifier.open(self._site, kind, frame, now_ns)
        return payload_of(frame)

    def _report(
        self, kind: Kind, version: int, outcome: Outcome, now_ns: int, reason: str = ""
    ) -> OrderReport:
        return report_of(
            self.columns,
            _ROW,
            kind=kind,
            version=version,
            outcome=outcome,
            now_ns=now_ns,
            mode=self.mode.mode.value,
            reason=reason,
        )


def _watts(power_w: int | None) -> agent.Watts:
    return np.array([power_w or 0], dtype=np.int64)
