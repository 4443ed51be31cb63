"""What the status page says: words and arrows instead of signs, local time, and nothing that the agent does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final
from zoneinfo import ZoneInfo

from shoal.domain.interval import NS_PER_HOUR, to_datetime
from shoal.edge.agent_owner import EventView
from shoal.edge.drivers.protocol import Measurement
from shoal.edge.modes import WORDS, Mode
from shoal.edge.page_chart import plan_chart
from shoal.edge.planner import SitePlan
from shoal.edge.store_forward import StoreStatistics

_NOTHING_W: Final = 15
_OLD_PLAN_NS: Final = NS_PER_HOUR // 4
_MODE_WORDS: Final = {
    Mode.OFF: "Off: the battery is left to itself",
    Mode.DIRECT: "The plant commands the battery",
    Mode.SCHEDULE: "A scheduled event runs",
    Mode.PRICE: "Answers to the plant's prices",
    Mode.LOCAL: "Decides by itself",
}
_KIND_WORDS: Final = {
    "POWER": "the battery follows a set power",
    "CHARGE": "the battery charges and holds",
    "HOLD": "the battery keeps what it has",
    "LOCAL": "the home uses its own solar power",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything that the page shows.

    Attributes:
        site: The site's id.
        zone: Its local time.
        now_ns: The device's clock.
        mode: Who decides.
        reason: Why, as a stable code.
        seen: The last measurement; None before the first.
        age_s: How old it is.
        fresh: Whether it is fresh enough to act on.
        capacity_kwh: Of the battery.
        reserve_frac: What the owner keeps.
        least_reserve_frac: The least that can be chosen.
        switched_off: Whether the owner has switched the battery off.
        independent: Whether the owner lets nobody command the site.
        plan: The plan that is followed where the site decides.
        events: Under way or ahead.
        plant: The plant's address; empty for a site without one.
        connected: Whether the plant is reached now.
        contact_age_s: Since the plant was last heard; None when it never was.
        why_down: Why it is out of reach.
        store: What waits for it.
        driver_fault: Why the devices do not answer; empty when they do.
        currency: Of prices.
    """

    site: str
    zone: ZoneInfo
    now_ns: int
    mode: Mode
    reason: str
    seen: Measurement | None
    age_s: float
    fresh: bool
    capacity_kwh: float
    reserve_frac: float
    least_reserve_frac: float
    switched_off: bool
    independent: bool
    plan: SitePlan | None
    events: Sequence[EventView]
    plant: str
    connected: bool
    contact_age_s: float | None
    why_down: str
    store: StoreStatistics
    driver_fault: str
    currency: str


def live_html(status: Status) -> str:
    """Return the part of the page that is renewed every few seconds."""
    return f'<div id="live">{_mode(status)}<div class="cards">{_now(status)}</div>{_plan(status)}{_plant(status)}</div>'


def page_html(status: Status, token: str, *, needs_pin: bool) -> str:
    """Return the whole page; `token` is what its forms must send back."""
    return _frame(
        status.site,
        f'<header><h1>{escape(status.site)}</h1><p id="said" class="warn" role="status"></p></header>'
        f"<main>{live_html(status)}{_events(status, token, needs_pin)}{_controls(status, token, needs_pin)}</main>"
        '<footer class="soft">This page comes from the box at your site and works without the internet.</footer>',
    )


def sign_in_html(site: str, token: str, message: str) -> str:
    """Return the page that asks for the PIN."""
    return _frame(
        site,
        f"<header><h1>{escape(site)}</h1></header><main><section><h2>PIN</h2>"
        f'<p class="warn" role="alert">{escape(message)}</p>'
        f'<form method="post" action="/sign-in"><input type="hidden" name="token" value="{token}">'
        '<label>PIN<input name="pin" type="password" inputmode="numeric" autocomplete="current-password" required></label>'
        "<button>Show the page</button></form></section></main>",
    )


def power_words(power_w: int | None, taking: str, giving: str, nothing: str) -> str:
    """Return a power in kW and what it does: one word for each direction, one for next to nothing."""
    if power_w is None:
        return "not measured"
    if abs(power_w) < _NOTHING_W:
        return nothing
    return f"{abs(power_w) / 1e3:.1f} kW {taking if power_w > 0 else giving}"


def age_words(age_s: float | None) -> str:
    """Return how long ago something was."""
    if age_s is None:
        return "never"
    if age_s < 90:
        return f"{max(age_s, 0):.0f} s ago"
    if age_s < 5_400:
        return f"{age_s / 60:.0f} min ago"
    return f"{age_s / 3_600:.0f} h ago"


def _frame(site: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(site)}: battery</title><link rel="stylesheet" href="/style.css">'
        f'<script src="/script.js" defer></script></head><body>{body}</body></html>'
    )


def _mode(status: Status) -> str:
    reason = WORDS.get(status.reason, status.reason)
    warn = ' class="warn"' if status.mode is Mode.OFF else ' class="soft"'
    measured = age_words(status.age_s if status.seen else None)
    fault = (
        f'<p class="warn">The devices do not answer: {escape(status.driver_fault)}</p>'
        if status.driver_fault
        else ""
    )
    return (
        f'<section aria-live="polite"><p class="lead" data-testid="mode">{_MODE_WORDS[status.mode]}</p>'
        f'<p{warn} data-testid="reason">{escape(reason[:1].upper() + reason[1:])}.</p>{fault}'
        f'<p class="soft">{_clock(status.now_ns, status.zone, day=True)}, measured {measured}</p>'
        "</section>"
    )


def _now(status: Status) -> str:
    seen = status.seen if status.fresh else None
    seen = Measurement() if seen is None else seen
    solar = power_words(None if seen.solar_w is None else -seen.solar_w, "↓", "↓", "nothing")
    cards = [
        ("Roof", solar, ""),
        ("Home", power_words(seen.load_w, "used", "given", "nothing used"), ""),
        (
            "Battery",
            power_words(seen.battery_w, "↑ charging", "↓ discharging", "resting"),
            _charge(seen.soc_frac, status),
        ),
        ("Grid", power_words(seen.grid_w, "← from the grid", "→ to the grid", "nothing either way"), ""),
    ]
    if seen.ev_w is not None:
        cards.insert(2, ("Car", power_words(seen.ev_w, "↑ charging", "↓ giving", "not charging"), ""))
    return "".join(
        f'<section><h2>{title}</h2><p class="figure" data-testid="{title.lower()}">{figure}</p>{more}</section>'
        for title, figure, more in cards
    )


def _charge(soc_frac: float | None, status: Status) -> str:
    if soc_frac is None:
        return '<p class="warn">It does not say how full it is.</p>'
    full, kept = 100 * min(max(soc_frac, 0.0), 1.0), 100 * status.reserve_frac
    return (
        '<svg viewBox="0 0 200 14" role="img" aria-hidden="true"><rect class="track" width="200" height="14" rx="4"/>'
        f'<rect class="fill" width="{2 * full:.1f}" height="14" rx="4"/>'
        f'<line class="mark" x1="{2 * kept:.1f}" x2="{2 * kept:.1f}" y1="0" y2="14"/></svg>'
        f"<p>{full:.0f} % full, {full / 100 * status.capacity_kwh:.1f} kWh; {kept:.0f} % kept for you</p>"
    )


def _plan(status: Status) -> str:
    plan = status.plan
    if plan is None or status.now_ns - plan.made_ns > _OLD_PLAN_NS:
        return "<section><h2>Plan</h2><p>None now: the battery uses surplus solar power and covers the home.</p></section>"
    unit = f"{escape(status.currency)}/kWh".lstrip("/") if status.currency else "per kWh"
    source = "your own tariff"
    if plan.from_plant_until_ns > status.now_ns:
        source = f"the plant's prices until {_clock(plan.from_plant_until_ns, status.zone, day=True)}, then your own tariff"
    price = f"{plan.import_per_kwh[0]:.3g} to buy, {plan.export_per_kwh[0]:.3g} to sell {unit}"
    return (
        f"<section><h2>Plan</h2><p>{_next_words(plan, status)}</p>{plan_chart(plan, status.zone)}"
        '<p class="key"><span><i class="dot up"></i>charging</span><span><i class="dot down"></i>discharging</span>'
        '<span><i class="dot price"></i>price to buy</span><span><i class="dot level"></i>how full</span></p>'
        f'<p class="soft">Prices: {source}. Now {price}. Made {age_words((status.now_ns - plan.made_ns) / 1e9)}.</p></section>'
    )


def _next_words(plan: SitePlan, status: Status) -> str:
    """Return the next stretches of charging and discharging in words."""
    stretches: list[tuple[str, int, int]] = []
    for t, power_kw in enumerate(plan.home.battery_kw):
        if plan.start_ns[t] > plan.made_ns + 24 * NS_PER_HOUR:
            break
        doing = "charges" if power_kw > 0.05 else "discharges" if power_kw < -0.05 else ""
        if stretches and stretches[-1][0] == doing:
            stretches[-1] = (doing, stretches[-1][1], plan.start_ns[t + 1])
        else:
            stretches.append((doing, plan.start_ns[t], plan.start_ns[t + 1]))
    said = [
        f"{doing} {_clock(begin_ns, status.zone)} to {_clock(end_ns, status.zone)}"
        for doing, begin_ns, end_ns in stretches
        if doing and end_ns - begin_ns >= NS_PER_HOUR // 4
    ]
    return f"The battery {', '.join(said[:4])}." if said else "The battery rests."


def _plant(status: Status) -> str:
    if not status.plant:
        contact = "this site belongs to no plant"
    elif status.connected:
        contact = f'<span class="good">connected</span>, last heard {age_words(status.contact_age_s)}'
    else:
        why = escape(status.why_down)
        contact = (
            f'<span class="warn">out of reach</span> ({why}), last heard {age_words(status.contact_age_s)}'
        )
    disk = (
        f'<span class="warn">{escape(status.store.disk_fault)}</span>' if status.store.disk_fault else "works"
    )
    lost = f", {status.store.lost_by_overflow} lost" if status.store.lost_by_overflow else ""
    return (
        "<section><h2>Plant</h2><dl>"
        f'<dt>Contact</dt><dd data-testid="contact">{contact}</dd>'
        f'<dt>Samples waiting</dt><dd data-testid="waiting">{status.store.waiting} of {status.store.capacity}{lost}</dd>'
        f"<dt>Disk</dt><dd>{disk}</dd></dl></section>"
    )


def _events(status: Status, token: str, needs_pin: bool) -> str:
    if not status.events:
        return ""
    rows = []
    for event in status.events:
        when = f"{_clock(event.start_ns, status.zone, day=True)} to {_clock(event.end_ns, status.zone)}"
        what = _KIND_WORDS.get(event.kind.name, "")
        state = "you have left it" if event.opted_out else "runs now" if event.running else "ahead"
        button = ""
        if event.opted_out:
            button = _form("come-back", "Come back", token, needs_pin, event_id=event.event_id)
        elif event.may_opt_out:
            button = _form("leave", "Leave this event", token, needs_pin, event_id=event.event_id)
        rows.append(
            f"<li><p><strong>{escape(event.program)}</strong>, {when}: {what} ({state})</p>{button}</li>"
        )
    return f"<section><h2>Events</h2><ul>{''.join(rows)}</ul></section>"


def _controls(status: Status, token: str, needs_pin: bool) -> str:
    least, kept = round(100 * status.least_reserve_frac), round(100 * status.reserve_frac)
    choices = sorted({least, kept, 100, *range(5 * -(-least // 5), 101, 5)})
    options = "".join(
        f'<option value="{pct}"{" selected" if pct == kept else ""}>{pct} %</option>' for pct in choices
    )
    reserve = (
        '<form method="post" action="/owner"><input type="hidden" name="do" value="reserve">'
        f'<input type="hidden" name="token" value="{token}">'
        f'<label>Always keep for me<select name="reserve_pct">{options}</select></label>'
        f"{_pin(needs_pin)}<button>Keep it</button></form>"
    )
    alone = (
        _form("join", "Take part in programs again", token, needs_pin)
        if status.independent
        else _form("alone", "Leave all programs for now", token, needs_pin, plain=True)
    )
    switch = (
        _form("on", "Switch the battery's control on", token, needs_pin)
        if status.switched_off
        else _form("off", "Switch the battery's control off", token, needs_pin, plain=True)
    )
    return f"<section><h2>Yours to decide</h2>{reserve}{alone}{switch}</section>"


def _form(
    do: str, label: str, token: str, needs_pin: bool, *, event_id: str = "", plain: bool = False
) -> str:
    event = (
        f'<input type="hidden" name="event_id" value="{escape(event_id, quote=True)}">' if event_id else ""
    )
    look = ' class="plain"' if plain else ""
    return (
        f'<form method="post" action="/owner"><input type="hidden" name="do" value="{do}">'
        f'<input type="hidden" name="token" value="{token}">{event}{_pin(needs_pin)}'
        f"<button{look}>{label}</button></form>"
    )


def _pin(needs_pin: bool) -> str:
    if not needs_pin:
        return ""
    return (
        '<label>PIN<input name="pin" type="password" inputmode="numeric" autocomplete="off" required></label>'
    )


def _clock(t_ns: int, zone: ZoneInfo, *, day: bool = False) -> str:
    local = to_datetime(t_ns, zone)
    return local.strftime("%a %H:%M") if day else local.strftime("%H:%M")
