"""A site's part in regulation: a broadcast is acted on when it comes, and after each step its meter is spoken of.

Between broadcasts the agent goes on at its own pace. What a broadcast asks is a short lease in the site's memory: there is
nothing to keep, and nothing to undo when the plant falls silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shoal.edge.downlink import Message
from shoal.edge.regulated import MOST_HELD_NS
from shoal.edge.site import Site

_ROW: Final = 0


class SiteRegulation:
    """Regulation at one site.

    Attributes:
        on_reading: Called with what is to be said of the meter.
    """

    def __init__(self, site: Site, *, wake: Callable[[], object]) -> None:
        """Begin with nothing armed.

        Args:
            site: The agent.
            wake: Called when a step should come at once.
        """
        self._site, self._wake = site, wake
        self._said_ns = 0
        self._heard = False
        self.on_reading: Callable[[bytes], object] = lambda reading: None

    def hear(self, message: Message) -> None:
        """Take an arming, or follow a broadcast."""
        regulated, now_ns = self._site.mind.regulated, self._site.now_ns()
        if message.kind == "regulation":
            regulated.take_arming(_ROW, message.payload, now_ns)
        elif message.kind == "broadcast":
            self._heard |= regulated.arming(_ROW, now_ns) is not None
            if regulated.take_signal(_ROW, message.name, message.payload, now_ns) is not None:
                self._wake()

    def say(self) -> None:
        """Say what the meter has shown until now: call it after a step, which has read it before it acted.

        An agent that hears of no broadcast between two steps says nothing more than once for each that came.
        """
        site = self._site
        seen = site.fresh(site.monotonic_s())
        heard, self._heard = self._heard, False
        if not heard or seen is None or seen.battery_w is None or seen.soc_frac is None:
            return
        assert site.seen_at_s is not None, "what is fresh was seen"
        end_ns = site.now_ns() - round((site.monotonic_s() - site.seen_at_s) * 1e9)
        start_ns, self._said_ns = self._said_ns, end_ns
        if not 0 < end_ns - start_ns <= MOST_HELD_NS:
            return  # since when it was so is not known yet
        reading = site.mind.regulated.reading(
            _ROW,
            start_ns=start_ns,
            end_ns=end_ns,
            mean_w=float(seen.battery_w),
            stored_kwh=seen.soc_frac * site.battery.capacity_kwh,
        )
        if reading is not None:
            self.on_reading(reading)
