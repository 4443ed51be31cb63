"""Which version of telemetry each of many devices sends: asked once, remembered for the life of the process.

A hello costs the plant as much as a report, so a device that comes back after an outage does not say it again, except
to a plant that has refused something. Without an answer the newest version stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import WireFormatError
from shoal.domain.negotiate import choose_version, decode_answer, encode_hello
from shoal.domain.wire import VERSIONS


class Negotiation:
    """The agreements of N devices.

    Attributes:
        answered: Answers that could be read.
        refused: Those that were refusals.
    """

    def __init__(self, devices: int, versions: Sequence[int] = VERSIONS) -> None:
        """Begin with nothing said; `versions` are those that a device can send, the newest first."""
        self._versions = tuple(versions)
        self._said = np.zeros(devices, dtype=np.bool_)
        self.hello = encode_hello(self._versions)
        self.answered = 0
        self.refused = 0

    def to_say(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of the devices that came up have a hello to say."""
        return rows[~self._said[rows]]

    def said(self, row: int) -> None:
        """Note that a device has said it."""
        self._said[row] = True

    def heard(self, row: int, payload: bytes) -> int | None:
        """Return the version that a device sends from now on, None when the answer changes nothing.

        After a refusal the device asks again when it comes up the next time: the plant may be another one by then.
        """
        try:
            answer = decode_answer(payload)
        except WireFormatError:
            return None
        self.answered += 1
        if answer.version is None:
            self.refused += 1
            self._said[row] = False
        elif answer.version in self._versions:
            return answer.version
        return choose_version(answer, self._versions)
