"""From a power that a person or a service asks for to the energy that a dispatch owes, hour by hour."""

from __future__ import annotations

from shoal.control.dispatch import AwardNow
from shoal.control.order_desk import SetPointNow
from shoal.domain.interval import NS_PER_HOUR, Interval


def award_of(now: SetPointNow, t_ns: int) -> AwardNow:
    """Return the energy that a set-point comes to in the hour of it that is under way.

    One that steers begins in each cycle: its power is what is asked for now, whatever was delivered before.
    """
    if now.steers:
        hour = Interval(start_ns=t_ns, end_ns=t_ns + NS_PER_HOUR)
        return AwardNow(interval=hour, energy_wh=now.power_w)
    passed = (t_ns - now.since_ns) // NS_PER_HOUR
    start_ns = now.since_ns + passed * NS_PER_HOUR
    interval = Interval(start_ns=start_ns, end_ns=min(start_ns + NS_PER_HOUR, now.order.end_ns))
    energy_wh = round(now.power_w * (interval.end_ns - interval.start_ns) / NS_PER_HOUR)
    return AwardNow(interval=interval, energy_wh=energy_wh)
