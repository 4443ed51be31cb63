"""Desired state: what the plant asks of a site, as a lease that ends by itself.

Sent as JSON on the site's own subject. A device applies it at most once (by `version`), refuses what is expired,
older than what it has, or from a fenced-out issuer, and falls back to its local mode when the lease ends.
"""

from __future__ import annotations

import msgspec


class DesiredState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A leased set-point of one site. What has its default value is left out on the wire; devices skip what they do not know.

    Attributes:
        version: Grows with each new desired state of the site.
        battery_w: Battery power asked for, charging positive, in watts.
        start_ns: When the lease begins.
        end_ns: When it ends, exclusive; after it the device decides by itself.
        issuer: Who sends it.
        fence: Token of the issuer; a device refuses a smaller one than it has seen.
        resource_id: For whom the power is meant.
        program: Which program asks.
        ramp_s: From what the battery did before to the set-point, in a straight line over so long.
    """

    version: int
    battery_w: int
    start_ns: int
    end_ns: int
    issuer: str
    fence: int
    resource_id: str = ""
    program: str = ""
    ramp_s: float = 0.0


class DurableUpTo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The plant's acknowledgement: every sample up to `seq` is safe, the device may forget it.

    Attributes:
        seq: The number.
        resend: Whether the sample after it has been missing for long: the device sends again from there.
    """

    seq: int
    resend: bool = False
