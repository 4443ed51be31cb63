"""The plan of the next day as a small picture: what the battery does, what a kWh costs, how full it gets."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

from shoal.domain.interval import NS_PER_HOUR, to_datetime
from shoal.edge.planner import SitePlan

_WIDE: Final = 720
_HIGH: Final = 190
_LEFT, _TOP, _BOTTOM = 8, 10, 26
_MIDDLE: Final = (_HIGH - _BOTTOM + _TOP) / 2
_SPAN_NS: Final = 24 * NS_PER_HOUR
_EVERY_H: Final = 6


def plan_chart(plan: SitePlan, zone: ZoneInfo) -> str:
    """Return the picture as SVG without styles of its own, so that a strict page may show it."""
    shown = [t for t in range(len(plan.load_kw)) if plan.start_ns[t] < plan.made_ns + _SPAN_NS]
    most_kw = max(*(abs(plan.home.battery_kw[t]) for t in shown), 0.5)
    prices = [plan.import_per_kwh[t] for t in shown]
    lowest, highest = min(*prices, 0.0), max(*prices, 1e-9)
    usable_kwh = max(plan.battery.usable_kwh, 1e-9)
    bars, price, level = [], [], []
    for t in shown:
        left, right = _x(plan, plan.start_ns[t]), _x(plan, plan.start_ns[t + 1])
        height = abs(plan.home.battery_kw[t]) / most_kw * (_MIDDLE - _TOP)
        if height >= 0.5:
            charging = plan.home.battery_kw[t] > 0
            top = _MIDDLE - height if charging else _MIDDLE
            look = "up" if charging else "down"
            width = max(right - left - 0.5, 0.5)
            place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
            bars.append(f'<rect class="{look}" {place}/>')
        y = _y((plan.import_per_kwh[t] - lowest) / (highest - lowest))
        price += [f"{left:.1f},{y:.1f}", f"{right:.1f},{y:.1f}"]
        level.append(f"{left:.1f},{_y(plan.home.energy_kwh[t] / usable_kwh):.1f}")
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="Plan of the next 24 hours">'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDE - _LEFT}" y1="{_MIDDLE}" y2="{_MIDDLE}"/>'
        f"{''.join(bars)}"
        f'<polyline class="price" points="{" ".join(price)}"/><polyline class="level" points="{" ".join(level)}"/>'
        f"{_hours(plan, zone)}</svg>"
    )


def _hours(plan: SitePlan, zone: ZoneInfo) -> str:
    marks = []
    t_ns = (plan.made_ns // NS_PER_HOUR + 1) * NS_PER_HOUR
    while t_ns < plan.made_ns + _SPAN_NS:
        local = to_datetime(t_ns, zone)
        if local.hour % _EVERY_H == 0 and local.minute == 0:
            x = _x(plan, t_ns)
            marks.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HIGH - _BOTTOM}"/>'
                f'<text class="label" x="{x:.1f}" y="{_HIGH - 8}" text-anchor="middle">{local:%H:%M}</text>'
            )
        t_ns += NS_PER_HOUR
    return "".join(marks)


def _x(plan: SitePlan, t_ns: int) -> float:
    share = min((t_ns - plan.made_ns) / _SPAN_NS, 1.0)
    return _LEFT + share * (_WIDE - 2 * _LEFT)


def _y(share: float) -> float:
    return _HIGH - _BOTTOM - min(max(share, 0.0), 1.0) * (_HIGH - _BOTTOM - _TOP)
