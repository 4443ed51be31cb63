"""A site's part in the search for prices: it answers what it would do, as often as it is asked and no oftener than it can.

A question changes nothing. Of several that wait only the newest is answered, one that comes too late is let go, and a site
that would not follow prices now, or does not know its own state, is silent: others' mean stands for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

import structlog

from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.interval import NS_PER_S
from shoal.edge import price_round
from shoal.edge.downlink import Message
from shoal.edge.planner_answer import SiteNow, answer
from shoal.edge.signed import ForgedError
from shoal.edge.site import Site

Sharing = Literal["off", "group", "alone"]
"""What the owner lets others see of what the site would do: nothing, only the sum of a group, or the site by itself."""

LASTS_NS: Final = 600 * NS_PER_S
"""So long a search may last; then it is answered from what is known later."""
_LONGEST_SHARE: Final = 0.5
"""At most so much of the time goes into answers: whoever asks faster is answered less often."""
_log = structlog.get_logger(__name__)


class SitePrices:
    """Answers at one site.

    Args:
        site: The agent.
        sharing: See `Sharing`.
        wall_s: A clock that is never set, for the share of time.

    Attributes:
        on_answer: Called with what is to be said.
        count: ``answered``, and why others were not: ``off``, ``blind``, ``late``, ``replaced``, or a refusal's reason.
        answer_ms: How long the last answer took.
    """

    def __init__(
        self, site: Site, *, sharing: Sharing, wall_s: Callable[[], float] = time.perf_counter
    ) -> None:
        self._site, self._sharing, self._wall_s = site, sharing, wall_s
        self._waiting: price_round.PriceAsk | None = None
        self._task: asyncio.Handle | None = None
        self._free_s = 0.0
        self._seen: tuple[str, int, SiteNow] | None = None
        """Which search, when it was first heard of, and what was known then."""
        self.on_answer: Callable[[bytes], object] = lambda answer: None
        self.count: Counter[str] = Counter()
        self.answer_ms = 0.0

    def hear(self, message: Message) -> None:
        """Take a question; it is answered when what else has come was looked at."""
        if self._sharing == "off":
            self.count["off"] += 1
            return
        now_ns = self._site.now_ns()
        try:
            ask = price_round.decode_ask(self._site.mind.opened("prices", message.payload, now_ns))
        except (ForgedError, WireFormatError) as error:
            self.count[error.reason] += 1
            _log.warning("question refused", reason=error.reason, detail=error.detail)
            return
        if not now_ns <= ask.until_ns <= now_ns + price_round.LONGEST_NS:
            self.count["late"] += 1
            return
        self.count["replaced"] += self._waiting is not None
        self._waiting = ask
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.call_later(max(self._free_s - self._wall_s(), 0.0), self.work)

    def close(self) -> None:
        """Answer nothing more."""
        if self._task is not None:
            self._task.cancel()

    def work(self) -> None:
        """Answer the question that waits."""
        self._task = None
        ask, self._waiting = self._waiting, None
        if ask is None:
            return
        began_s = self._wall_s()
        said = self._answer(ask)
        took_s = self._wall_s() - began_s
        self._free_s = began_s + took_s / _LONGEST_SHARE
        if said is not None:
            self.answer_ms = 1e3 * took_s
            self.count["answered"] += 1
            self.on_answer(price_round.encode(said))

    def _answer(self, ask: price_round.PriceAsk) -> price_round.PriceAnswer | None:
        site = self._site
        now_ns = site.now_ns()
        if now_ns > ask.until_ns:
            self.count["late"] += 1
            return None
        if self._seen is not None and self._seen[0] == ask.search and now_ns - self._seen[1] < LASTS_NS:
            return self._answer_from(ask, self._seen[1], self._seen[2])
        seen = site.fresh(site.monotonic_s())
        if seen is None or seen.soc_frac is None or not site.battery.capacity_kwh or not site.mind.obeys:
            self.count["blind"] += 1
            return None
        now = SiteNow(
            soc_frac=min(max(seen.soc_frac, 0.0), 1.0),
            reserve_frac=site.mind.reserve_frac,
            ev_w=float(seen.ev_w or 0),
            prices=site.mind.prices(now_ns),
        )
        self._seen = (ask.search, now_ns, now)
        return self._answer_from(ask, now_ns, now)

    def _answer_from(
        self, ask: price_round.PriceAsk, now_ns: int, now: SiteNow
    ) -> price_round.PriceAnswer | None:
        """Answer from what was known when the search began: its rounds must speak of one and the same site."""
        site = self._site
        try:
            said = answer(site.planner, ask, now, now_ns=now_ns, alone=self._sharing == "alone")
        except InvalidInputError as error:
            self.count["no_plan"] += 1
            _log.error("no answer", why=str(error))
            return None
        if said is None or ask.start_ns > now_ns + NS_PER_S * 86_400:
            self.count["too_far"] += 1
            return None
        return said
