"""Conflation before decoding: of large messages that come often only the newest is kept, and read at a bounded cost.

Reading may take a small share of the time, with a little in hand for bursts. So a small plant's every message is read as
it comes, and a large plant's as many as the share allows: what comes between is replaced without having been looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHARE_FRAC: Final = 0.1
IN_HAND_S: Final = 0.25


class Newest:
    """Room for one message.

    Args:
        share_frac: The share of the time that reading may take.
        in_hand_s: How much time may be saved up for it, in seconds.
        now_s: A clock that only goes forward.
    """

    def __init__(
        self,
        *,
        share_frac: float = SHARE_FRAC,
        in_hand_s: float = IN_HAND_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share_frac = share_frac
        self._in_hand_s = in_hand_s
        self._now_s = now_s
        self._payload: bytes | None = None
        self._left_s = in_hand_s
        self._at_s = now_s()
        self.replaced = 0

    @property
    def waits(self) -> bool:
        """Whether a message is here."""
        return self._payload is not None

    def put(self, payload: bytes) -> None:
        """Keep a message in place of the one before."""
        self.replaced += self._payload is not None
        self._payload = payload

    def take(self) -> bytes | None:
        """Return the message when there is one and time to read it; then say with `spent` how long that took."""
        now_s = self._now_s()
        self._left_s = min(self._left_s + (now_s - self._at_s) * self._share_frac, self._in_hand_s)
        self._at_s = now_s
        if self._left_s <= 0.0:
            return None
        payload, self._payload = self._payload, None
        return payload

    def spent(self, took_s: float) -> None:
        """Take off the time that reading took."""
        self._left_s -= took_s
