"""How many machines a fleet takes, what they cost and what breaks first: reckoned from figures that were measured.

The figures stand in `_scaling_measured.toml`, each with the command that gives it; `probe` measures those that no other
benchmark gives. `shoal bench scaling --docs` prints the tables of docs/scaling.md.
"""

from __future__ import annotations

from typing import Final, Literal

from shoal.cli.bench import Benchmark, Result
from shoal.cli.benches._scaling_inputs import provenance
from shoal.cli.benches._scaling_limits import MOST_SITES, limits, step
from shoal.cli.benches._scaling_model import Model
from shoal.cli.benches._scaling_text import document

SIZES: Final = {"100k": 100_000, "1M": 1_000_000, "10M": 10_000_000, "100M": 100_000_000}
_PROBE: Final = "probe"
_LIMITS: Final = "limits"


def run(case: str | None, quick: bool) -> list[Result]:
    """Return the rows of a case, of every reckoned one when None; nothing is measured but by `probe`."""
    if case == _PROBE:
        from shoal.cli.benches._scaling_probe import probe

        return probe(quick)
    model = Model(provenance().measured())
    rows = [row for name in SIZES if case in (None, name) for row in _fleet(model, name)]
    return rows + (_breaking(model) if case in (None, _LIMITS) else [])


def _fleet(model: Model, case: str) -> list[Result]:
    said = step(model, SIZES[case])
    plant, plants = said.plant, said.plants

    def row(size: str, value: float, unit: str, better: Literal["higher", "lower"] = "lower") -> Result:
        return Result(case=case, size=size, value=value, unit=unit, better=better)

    return [
        row("plants side by side", plants, "plants"),
        row("messages", plants * plant.messages_per_s, "messages/s"),
        row("samples", plants * plant.samples_per_s, "samples/s"),
        row("engine", plants * plant.engine_cores, "cores"),
        row("telemetry", plants * plant.telemetry_cores, "cores"),
        row("history", plants * plant.history_cores, "cores"),
        row("connections", plants * plant.connections, "connections"),
        row("memory of connections", plants * plant.connection_bytes / 1e9, "GB"),
        row("all of a plant's devices back", plant.sign_in_s, "s"),
        row("memory of twins", plants * plant.twin_bytes / 1e9, "GB"),
        row(f"sums in one of {plant.shards} shards of a plant", plant.refresh_ms, "ms"),
        row("history", plants * plant.history_bytes_per_day / 1e9, "GB/day"),
        row("from devices", plants * plant.in_bytes_per_s / 1e6, "MB/s"),
        row("written by the engine, one copy", plants * plant.disk_bytes_per_s / 1e6, "MB/s"),
        row("machines", plants * plant.machines, "machines"),
        row("cost a site", plants * plant.cost_usd_per_month / said.sites, "USD/month"),
        row(f"next to break: {said.next.name}", said.next.breaks_at(), "sites", "higher"),
    ]


def _breaking(model: Model) -> list[Result]:
    return [
        Result(
            case=_LIMITS,
            size=f"{limit.name} ({limit.kind})",
            value=limit.breaks_at(),
            unit="sites",
            better="higher",
        )
        for limit in limits(model)
        if limit.breaks_at() < MOST_SITES
    ]


def docs() -> str:
    """Return the tables of docs/scaling.md."""
    return document(provenance(), Model(provenance().measured()), tuple(SIZES.values()))


BENCHMARK: Final = Benchmark(
    name="scaling",
    about="machines, cost and the first thing to break at 100k to 100M sites, reckoned from what was measured",
    cases=(*SIZES, _LIMITS, _PROBE),
    run=run,
    docs=docs,
)
