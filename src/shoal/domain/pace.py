"""The pace that the plant asks of its devices: how seldom to report for a while, and how slowly to come back.

Sent as JSON to everybody. It ends by itself, as a lease does, so a plant that dies does not keep its fleet quiet. Only
reports follow it: what a device is asked to do it does at once.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shoal.domain.errors import WireFormatError

MOST_EVERY_S: Final = 3_600.0
"""A device never reports less often than this, whatever it is asked."""
MOST_SPREAD_S: Final = 900.0
LONGEST_NS: Final = 24 * 3_600 * 1_000_000_000
"""A word about more than a day ahead is not believed."""


class Pace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How fast devices may speak.

    Attributes:
        every_s: Each device reports at most this often, in seconds, with everything that has gathered; 0 for no limit.
        until_ns: Until when, exclusive; each device goes back to its own pace some time within `every_s` after it.
        issued_ns: When it was said; of two, the later one counts.
        spread_s: Over how many seconds devices come back when they all lose the plant at once; it holds until another
            one is said. 0 leaves it to the device.
    """

    every_s: float
    until_ns: int
    issued_ns: int
    spread_s: float = 0.0


_DECODER: Final = msgspec.json.Decoder(Pace)


def encode_pace(pace: Pace) -> bytes:
    """Return the message that devices receive."""
    return msgspec.json.encode(pace)


def decode_pace(payload: bytes) -> Pace:
    """Return the pace of one message.

    Raises:
        WireFormatError: with reason ``pace``; also for one that no plant would mean.
    """
    try:
        pace = _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("pace", str(error)) from error
    # written so that what is no number at all fails too
    if not (0 <= pace.every_s <= MOST_EVERY_S and 0 <= pace.spread_s <= MOST_SPREAD_S):
        raise WireFormatError("pace", f"every {pace.every_s} s, spread {pace.spread_s} s")
    if not 0 <= pace.issued_ns <= pace.until_ns <= pace.issued_ns + LONGEST_NS or pace.until_ns >= 2**63:
        raise WireFormatError("pace", f"from {pace.issued_ns} until {pace.until_ns}")
    return pace


def spread_for(devices: int, sign_ins_per_s: float) -> float:
    """Return over how many seconds so many devices are to come back to be signed in at a rate, at most `MOST_SPREAD_S`."""
    return min(devices / sign_ins_per_s, MOST_SPREAD_S)
