"""Regulation on devices: armings and broadcasts of many sites, each broadcast turned into a short lease of the agent's own.

What is followed is a set-point like any other: limits, envelopes and the owner's reserve come last, and it ends by itself.
An arming that asks for nothing takes a site out. A site whose owner, kill switch, storm or emergency keeps it says so in its
readings instead of following.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from shoal.domain.desired import DesiredState
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.outcome import Rejected
from shoal.edge import agent
from shoal.edge.agent_columns import NEVER_NS, AgentColumns
from shoal.edge.signed import ForgedError, Verifier, payload_of
from shoal.services.regulation import RegulationSignal
from shoal.services.regulation_device import (
    RegulatedSite,
    RegulationArming,
    RegulationReading,
    lease_of,
)

ARMING: Final = "regulation"
"""Kind of an arming, in topics and signatures; what it is signed for is the site."""
BROADCAST: Final = "broadcast"
"""Kind of a broadcast in signatures; what it is signed for is the resource."""
OUTRANKING: Final = frozenset({b"storm", b"emergency"})
"""Programs whose events a site does not leave for regulation."""
MOST_ARMED_NS: Final = 2 * NS_PER_HOUR
MOST_HELD_NS: Final = 60 * NS_PER_S
"""No broadcast is followed for longer without another, whatever it says."""
MOST_W: Final = 10**9
_MOST_INT: Final = 2**62

_ARMING: Final = msgspec.json.Decoder(RegulationArming)
_SIGNAL: Final = msgspec.json.Decoder(RegulationSignal)


class Regulated:
    """What N sites remember of regulation; nothing of it outlives the process, for the plant arms again whom it misses.

    Attributes:
        count: What came: ``armed``, ``followed``, and refusals by reason.
    """

    def __init__(
        self, columns: AgentColumns, site_ids: Sequence[str], verifier: Verifier | None = None
    ) -> None:
        """Begin with nobody armed.

        Args:
            columns: The agents, which take the leases.
            site_ids: Their names.
            verifier: Opens signed messages, and then no others are taken; None to take all, unchecked.
        """
        self._columns, self._site_ids, self._verifier = columns, tuple(site_ids), verifier
        self._sites: dict[int, RegulatedSite] = {}
        self._followed_ns: dict[int, int] = {}
        self._last: tuple[str, bytes, RegulationSignal] | None = None
        self.count: Counter[str] = Counter()

    def take_arming(self, row: int, frame: bytes, now_ns: int) -> bool:
        """Take an arming of a site; False, and counted, when it is refused."""
        try:
            arming = _ARMING.decode(self._opened(self._site_ids[row], ARMING, frame, now_ns))
        except ForgedError as error:
            return self._refused(error.reason)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._refused("malformed")
        times_ns = (arming.start_ns, arming.end_ns, arming.version)
        if max(abs(watts) for watts in (arming.base_w, arming.up_w, arming.down_w)) > MOST_W or not all(
            0 <= one < _MOST_INT for one in times_ns
        ):
            return self._refused("out_of_range")
        if arming.end_ns - arming.start_ns > MOST_ARMED_NS:
            return self._refused("too_long")
        site = self._sites.setdefault(row, RegulatedSite())
        if not site.take_arming(arming, now_ns=now_ns):
            return self._refused("stale_version")
        self.count["armed"] += 1
        return True

    def take_signal(self, row: int, resource_id: str, frame: bytes, now_ns: int) -> DesiredState | None:
        """Follow a broadcast of a resource; return the lease, None when the site does not follow it."""
        arming = self.arming(row, now_ns)
        if arming is None or arming.resource_id != resource_id:
            return None
        signal = self._signal(resource_id, frame, now_ns)
        if signal is None or self.barred(row, now_ns):
            return None
        value_frac = self._sites[row].take_signal(signal, now_ns=now_ns)
        if value_frac is None:
            return None
        columns = self._columns
        desired = lease_of(
            arming,
            value_frac,
            start_ns=now_ns,
            end_ns=min(signal.end_ns, now_ns + MOST_HELD_NS),
            # newer than whatever the site was sent, and no claim to command it beyond this
            version=int(columns.latest_version[row]) + 1,
            issuer="regulation",
            fence=int(columns.latest_fence[row]),
        )
        outcome = agent.receive(columns, row, desired, now_ns)
        if isinstance(outcome, Rejected):
            self._refused(outcome.reason)
            return None
        self._followed_ns[row] = now_ns
        self.count["followed"] += 1
        return desired

    def arming(self, row: int, now_ns: int) -> RegulationArming | None:
        """Return what a site is armed for now; None when it is not, or was taken out."""
        site = self._sites.get(row)
        arming = None if site is None else site.in_force(now_ns)
        return arming if arming is not None and (arming.base_w or arming.up_w or arming.down_w) else None

    def barred(self, row: int, now_ns: int) -> str:
        """Return why a site follows no regulation now, empty when nothing keeps it."""
        columns = self._columns
        for reason in ("off", "halted", "independent"):
            if getattr(columns, reason)[row]:
                return reason
        if len(columns.events):
            events = columns.events[:, row]
            rules = (events["kind"] > 0) & ~events["opted_out"]
            rules &= (events["start_ns"] <= now_ns) & (now_ns < events["end_ns"])
            for program in columns.event_program[:, row][rules].tolist():
                if program in OUTRANKING:
                    return str(program.decode())
        return ""

    def reading(
        self, row: int, *, start_ns: int, end_ns: int, mean_w: float, stored_kwh: float
    ) -> bytes | None:
        """Return what an armed site says of its meter; None for one that is not armed."""
        arming = self.arming(row, end_ns)
        if arming is None or not start_ns < end_ns <= NEVER_NS:
            return None
        barred = self.barred(row, end_ns)
        # one that takes no broadcast, for its clock is wrong, is not to be counted on
        follows = not barred and end_ns - self._followed_ns.get(row, 0) <= MOST_HELD_NS
        return msgspec.json.encode(
            RegulationReading(
                start_ns=start_ns,
                end_ns=end_ns,
                mean_w=mean_w,
                stored_kwh=stored_kwh,
                version=arming.version if follows else 0,
                barred=barred,
            )
        )

    def _signal(self, resource_id: str, frame: bytes, now_ns: int) -> RegulationSignal | None:
        # all sites of a process hear the same bytes: they are read once
        last = self._last
        if last is not None and last[0] == resource_id and last[1] == frame:
            return last[2]
        try:
            signal = _SIGNAL.decode(self._opened(resource_id, BROADCAST, frame, now_ns))
        except ForgedError as error:
            self._refused(error.reason)
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._refused("malformed")
            return None
        if not all(0 <= one < _MOST_INT for one in (signal.seq, signal.t_ns, signal.end_ns)):
            self._refused("out_of_range")
            return None
        self._last = (resource_id, frame, signal)
        return signal

    def _opened(self, name: str, kind: str, frame: bytes, now_ns: int) -> bytes:
        if self._verifier is None:
            return payload_of(frame)
        return self._verifier.open(name, kind, frame, now_ns)

    def _refused(self, reason: str) -> bool:
        self.count[reason] += 1
        return False
