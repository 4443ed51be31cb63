"""The tables of docs/scaling.md as Markdown: what each step takes, what breaks, and what both were reckoned from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from shoal.cli.benches._scaling_inputs import Assumptions, Provenance
from shoal.cli.benches._scaling_limits import MOST_SITES, Limit, Step, largest_plant, limits, step
from shoal.cli.benches._scaling_model import Model, Plant

_STEPS: Final[tuple[tuple[str, Callable[[int, Plant], float], str], ...]] = (
    ("messages from devices", lambda n, p: n * p.messages_per_s, "/s"),
    ("samples in them", lambda n, p: n * p.samples_per_s, "/s"),
    ("from devices", lambda n, p: n * p.in_bytes_per_s, "B/s"),
    ("to devices", lambda n, p: n * p.out_bytes_per_s, "B/s"),
    ("between machines", lambda n, p: n * p.between_bytes_per_s, "B/s"),
    ("engine", lambda n, p: n * p.engine_cores, " cores"),
    ("telemetry", lambda n, p: n * p.telemetry_cores, " cores"),
    ("history", lambda n, p: n * p.history_cores, " cores"),
    ("control, aggregate, api", lambda n, p: n * p.other_cores, " cores"),
    ("connections", lambda n, p: n * p.connections, ""),
    ("their memory", lambda n, p: n * p.connection_bytes, "B"),
    ("memory of twins", lambda n, p: n * p.twin_bytes, "B"),
    ("the journal, one copy", lambda n, p: n * p.journal_bytes, "B"),
    ("written by the engine, one copy", lambda n, p: n * p.disk_bytes_per_s, "B/s"),
    ("samples in history, a day", lambda n, p: n * p.history_bytes_per_day, "B"),
    ("history when full", lambda n, p: n * p.history_bytes, "B"),
)
_OTHERWISE: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("as above", {}),
    ("every site has a connection of its own", {"direct_frac": 1.0}),
    ("every site is behind a gateway", {"direct_frac": 0.0}),
    ("own connections, each sample sent at once", {"direct_frac": 1.0, "report_s": 10.0}),
    ("a sample a minute", {"sample_s": 60.0, "gateway_s": 60.0}),
    ("a sample a second, sent every 10 s", {"sample_s": 1.0, "report_s": 10.0, "gateway_s": 1.0}),
    ("groups of 500 sites", {"sites_per_group": 500}),
    ("one copy of the journal", {"replicas": 1}),
)
_PREFIXES: Final = ("", "k", "M", "G", "T", "P")


def document(source: Provenance, model: Model, sizes: Sequence[int]) -> str:
    """Return the tables for fleets of these sizes."""
    steps = [step(model, sites) for sites in sizes]
    parts = (
        _steps(steps),
        "## What breaks first",
        _first(steps),
        "## Every limit",
        _every(model, sizes),
        "## If it is otherwise",
        _otherwise(model, sizes),
        "## What was measured",
        f"On a {source.machine}, {source.date}.",
        _measured(source),
        "## What is assumed",
        _assumed(model.assumed),
    )
    return "\n\n".join(parts) + "\n"


def quantity(value: float, unit: str = "") -> str:
    """Return a figure with two or three digits and a prefix of thousands."""
    if unit.strip() in ("cores", "servers", "machines", "s", "ms", "processes") or abs(value) < 1e3:
        return f"{_digits(value)} {unit.strip()}".rstrip()
    power = min(int(math.log10(abs(value)) / 3 + 1e-12), len(_PREFIXES) - 1)
    short = f"{_digits(value / 1e3**power)} {_PREFIXES[power]}{unit.strip()}"
    return short.rstrip()


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    decimals = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}" if decimals == 0 else f"{value:.{decimals}f}".rstrip("0").rstrip(".")


def _table(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _steps(steps: Sequence[Step]) -> str:
    rows = [["", *(f"{quantity(one.sites)} sites" for one in steps)]]
    rows.append(["plants side by side", *(f"{one.plants:,}" for one in steps)])
    rows += [
        [name, *(quantity(get(one.plants, one.plant), unit) for one in steps)] for name, get, unit in _STEPS
    ]
    rows.append(["shards of a plant", *(str(one.plant.shards) for one in steps)])
    rows.append(["sums in one shard", *(quantity(one.plant.refresh_ms, "ms") for one in steps)])
    rows.append(["a dead shard's owner replaced", *(quantity(one.plant.takeover_s, "s") for one in steps)])
    rows.append(["all of a plant's devices back", *(quantity(one.plant.sign_in_s, "s") for one in steps)])
    rows.append(["cores that this takes", *(quantity(one.plant.sign_in_cores, "cores") for one in steps)])
    rows.append(
        [
            "machines: engine, others",
            *(f"{one.plants * one.plant.servers:,}, {one.plants * one.plant.workers:,}" for one in steps),
        ]
    )
    rows.append(
        ["cost, USD a month", *(f"{one.plants * one.plant.cost_usd_per_month:,.0f}" for one in steps)]
    )
    rows.append(
        [
            "cost a site, US cents a month",
            *(f"{_cents_a_site(one):.2f}" for one in steps),
        ]
    )
    return _table(rows)


def _first(steps: Sequence[Step]) -> str:
    rows = [["sites", "as one plant, it has outgrown", "next to break, at", "to raise in each plant"]]
    for one in steps:
        outgrown = "; ".join(f"{limit.name} ({_sites(limit)})" for limit in one.outgrown[1:])
        if one.outgrown:
            outgrown = f"**{one.outgrown[0].name}** ({_sites(one.outgrown[0])}); {outgrown}".rstrip("; ")
        raised = "; ".join(limit.name for limit in one.settings) or "nothing"
        coming = f"**{one.next.name}**" if not one.outgrown else one.next.name
        rows.append([quantity(one.sites), outgrown or "nothing", f"{coming}, {_sites(one.next)}", raised])
    return _table(rows)


def _every(model: Model, sizes: Sequence[int]) -> str:
    used = [f"used at {quantity(sites)}" for sites in sizes]
    rows = [["limit", "kind", "breaks at, sites", *used, "where", "then"]]
    for limit in limits(model):
        shares = [_used(limit, sites) for sites in sizes]
        rows.append([limit.name, limit.kind.value, _sites(limit), *shares, limit.where, limit.remedy])
    return _table(rows)


def _otherwise(model: Model, sizes: Sequence[int]) -> str:
    rows = [["", "one plant is full at", *(f"{quantity(sites)}: machines, cents a site" for sites in sizes)]]
    for name, changes in _OTHERWISE:
        other = Model(model.measured, replace(model.assumed, **changes), model.settings)
        full = largest_plant(other)
        each = [step(other, sites) for sites in sizes]
        said = [f"{one.plants * one.plant.machines:,}, {_cents_a_site(one):.2f}" for one in each]
        rows.append([name, f"{_sites(full)}: {full.name}", *said])
    return _table(rows)


def _cents_a_site(one: Step) -> float:
    return 100 * one.plants * one.plant.cost_usd_per_month / one.sites


def _used(limit: Limit, sites: int) -> str:
    frac = limit.used_frac(sites)
    return f"{_digits(100 * frac)} %" if frac <= 1 else f"{_digits(frac)} times"


def _source(text: str) -> str:
    return f"`{text}`" if text.startswith("shoal ") else text


def _sites(limit: Limit) -> str:
    at = limit.breaks_at()
    return quantity(at) if at < MOST_SITES else "2.1 G"


def _measured(source: Provenance) -> str:
    rows = [["constant", "value", "what", "command"]]
    for one in source.constants:
        rows.append([f"`{one.name}`", f"{one.value:,.12g} {one.unit}", one.about, _source(one.source)])
    return _table(rows)


def _assumed(assumed: Assumptions) -> str:
    about = dict(_attributes(Assumptions.__doc__ or ""))
    rows = [["assumption", "value", "what"]]
    for field in fields(assumed):
        rows.append([f"`{field.name}`", f"{getattr(assumed, field.name):,.12g}", about[field.name]])
    return _table(rows)


def _attributes(docstring: str) -> Iterable[tuple[str, str]]:
    """Yield the attributes of a docstring and what it says of them."""
    for line in docstring.partition("Attributes:")[2].splitlines():
        name, colon, text = line.strip().partition(": ")
        if colon:
            yield name, text.rstrip(".")
