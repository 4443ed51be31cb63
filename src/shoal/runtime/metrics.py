"""From `statistics()` to metrics: every stage's frozen record becomes gauges and counters when asked for.

Nothing is counted twice or pushed anywhere: a scrape calls the stages, and each numeric field of what they
return is one metric, `shoal_<role>_<name>_<field>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeAlias

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shoal.domain.errors import InvalidInputError

Read: TypeAlias = Callable[[], object]

_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_]")


class StatisticsCollector(Collector):
    """Collects the statistics of a process's stages.

    Args:
        role: Who the process is; part of every metric's name.
    """

    def __init__(self, role: str) -> None:
        self._prefix = f"shoal_{_fit(role)}"
        self._sources: dict[str, tuple[Read, frozenset[str]]] = {}

    def register(self, name: str, read: Read, *, counters: Iterable[str] = ()) -> None:
        """Export what `read` returns: a dataclass, a msgspec Struct, a named tuple or a mapping.

        Numbers become metrics, true and false 1 and 0, a mapping of numbers one metric with the label `key`;
        everything else, and what is None, is left out.

        Args:
            name: The stage.
            read: Its `statistics`.
            counters: Fields that only grow, besides those named ``..._total``; every other field is a gauge.

        Raises:
            InvalidInputError: when the name is taken.
        """
        if name in self._sources:
            raise InvalidInputError(field="statistics", value=name, fix="register each stage once")
        self._sources[name] = (read, frozenset(counters))

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        for name, (read, counters) in self._sources.items():
            for field, value in _items(read()):
                full = f"{self._prefix}_{_fit(name)}_{_fit(field)}"
                counts = field in counters or field.endswith("_total")
                kind = CounterMetricFamily if counts else GaugeMetricFamily
                about = f"{field} of {name}"
                if isinstance(value, Mapping):
                    metric = kind(full, about, labels=("key",))
                    for key, inner in value.items():
                        if isinstance(inner, (int, float)):
                            metric.add_metric((str(key),), float(inner))
                    yield metric
                elif isinstance(value, (int, float)):
                    yield kind(full, about, value=float(value))


def _fit(name: str) -> str:
    return _UNFIT.sub("_", name)


def _items(record: object) -> Iterator[tuple[str, Any]]:
    if isinstance(record, Mapping):
        yield from ((str(name), value) for name, value in record.items())
    elif isinstance(record, msgspec.Struct):
        yield from ((name, getattr(record, name)) for name in record.__struct_fields__)
    elif is_dataclass(record):
        yield from ((f.name, getattr(record, f.name)) for f in fields(record))
    elif isinstance(record, tuple) and hasattr(record, "_fields"):
        yield from zip(record._fields, record, strict=True)
