"""What was set aside: counted by reason, the latest shown, and the bytes kept as long as that is no flood."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import msgspec

from shoal.domain.interval import NS_PER_S
from shoal.domain.live import Quarantined, QuarantineState
from shoal.telemetry.contract import Publish

RECENT: Final = 50
TELL_EVERY_S: Final = 30.0
"""The counts are told again so often although they are the same: who listens may have begun since."""
MOST_EVIDENCE: Final = 200
"""How many set-aside messages are kept with their bytes between two refreshes; the others are counted."""


class SetAside:
    """The messages and records that shards set aside.

    Args:
        publish: Sends a message on a subject.
        state_subject: Subject of the counts and the latest.
        evidence_subject: Subject under which one set aside for a reason is kept.
        member: This process: a name that no other has, nor one that was before it.
    """

    def __init__(
        self,
        *,
        publish: Publish,
        state_subject: str,
        evidence_subject: Callable[[str], str],
        member: str,
    ) -> None:
        self._publish = publish
        self._state_subject = state_subject
        self._evidence_subject = evidence_subject
        self._member = member
        self._waiting: deque[Quarantined] = deque()
        self._recent: deque[Quarantined] = deque(maxlen=RECENT)
        self._reasons: Counter[str] = Counter()
        self._told_total = 0
        self._told_ns = 0
        self.skipped = 0

    def put(self, rejected: list[Quarantined]) -> None:
        """Take what a shard set aside."""
        for one in rejected:
            self._reasons[one.reason] += one.count
            self._recent.appendleft(one)
            if len(self._waiting) < MOST_EVIDENCE:
                self._waiting.append(one)
            else:
                self.skipped += 1

    async def send(self, t_ns: int, *, anyway: bool) -> None:
        """Send what waits, and the counts when they have changed, now and again, or anyway when there are any."""
        while self._waiting:
            one = self._waiting.popleft()
            await self._publish(self._evidence_subject(one.reason), msgspec.json.encode(one))
        total = self._reasons.total()
        is_due = t_ns - self._told_ns >= TELL_EVERY_S * NS_PER_S
        if total and (anyway or is_due or total != self._told_total):
            self._told_total, self._told_ns = total, t_ns
            state = QuarantineState(
                t_ns=t_ns,
                total=total,
                by_reason=dict(sorted(self._reasons.items())),
                recent=list(self._recent),
                member=self._member,
            )
            await self._publish(self._state_subject, msgspec.json.encode(state))
