"""What was set aside is counted in full, shown in part, and its evidence is bounded."""

from __future__ import annotations

import asyncio

import msgspec

from shoal.domain.interval import NS_PER_S
from shoal.domain.live import Quarantined, QuarantineState
from shoal.telemetry.setaside import MOST_EVIDENCE, RECENT, TELL_EVERY_S, SetAside


class Outlet:
    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    async def publish(self, subject: str, payload: bytes) -> None:
        self.sent.append((subject, payload))

    def states(self) -> list[QuarantineState]:
        return [msgspec.json.decode(p, type=QuarantineState) for s, p in self.sent if s == "state"]

    def evidence(self) -> list[str]:
        return [s for s, _ in self.sent if s != "state"]


def make(outlet: Outlet) -> SetAside:
    return SetAside(
        publish=outlet.publish,
        state_subject="state",
        evidence_subject=lambda reason: f"evidence.{reason}",
        member="one",
    )


def bad(number: int, *, reason: str = "magic", count: int = 1) -> Quarantined:
    return Quarantined(
        arrival_ns=number,
        site_id=f"site-{number}",
        reason=reason,
        detail="",
        size_bytes=1,
        payload_b64="",
        record=-1,
        count=count,
    )


def test_flood_is_counted_in_full_and_kept_in_part() -> None:
    async def body() -> None:
        outlet = Outlet()
        aside = make(outlet)
        for start in range(0, 100_000, 1_000):
            aside.put([bad(number) for number in range(start, start + 1_000)])
        await aside.send(5, anyway=False)
        (state,) = outlet.states()
        assert (state.t_ns, state.total, state.by_reason) == (5, 100_000, {"magic": 100_000})
        assert [one.arrival_ns for one in state.recent] == list(range(99_999, 99_999 - RECENT, -1))
        assert len(outlet.evidence()) == MOST_EVIDENCE
        assert aside.skipped == 100_000 - MOST_EVIDENCE
        aside.put([bad(1)])
        await aside.send(6, anyway=False)
        assert len(outlet.evidence()) == MOST_EVIDENCE + 1, "once the flood is over evidence is kept again"

    asyncio.run(body())


def test_counts_are_told_when_they_change_or_anyway_and_never_when_there_are_none() -> None:
    async def body() -> None:
        outlet = Outlet()
        aside = make(outlet)
        await aside.send(1, anyway=True)
        assert outlet.sent == []
        aside.put([bad(1), bad(2, reason="length", count=7)])
        for t_ns, anyway in ((2, False), (3, False), (4, True)):
            await aside.send(t_ns, anyway=anyway)
        assert [(s.t_ns, s.total, s.by_reason) for s in outlet.states()] == [
            (2, 8, {"length": 7, "magic": 1}),
            (4, 8, {"length": 7, "magic": 1}),
        ]
        assert outlet.evidence() == ["evidence.magic", "evidence.length"]
        late_ns = 4 + int(TELL_EVERY_S * NS_PER_S)
        await aside.send(late_ns - 1, anyway=False)
        await aside.send(late_ns, anyway=False)
        assert [s.t_ns for s in outlet.states()] == [2, 4, late_ns], "who listens may have begun since"
        assert {s.member for s in outlet.states()} == {"one"}

    asyncio.run(body())
