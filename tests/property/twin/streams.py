"""Streams of messages from devices that lose, repeat, delay and disorder them, whose clocks are wrong, or whose meters lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import ALL_PRESENT, OPTIONAL, PRESENT_OF, TELEMETRY, mask_of
from tests.property.twin.plain import REGISTERS, SIGNALS

START_NS = 1_700_000_000 * NS_PER_S


class Batch(NamedTuple):
    """The arguments of `Twins.apply`."""

    rows: NDArray[np.int64]
    records: NDArray[Any]
    oldest_seq: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    usable: NDArray[np.bool_]

    def copy(self) -> Batch:
        return self.part(0, len(self.rows))

    def part(self, start: int, end: int) -> Batch:
        """Return some of the records, on their own."""
        return self.chosen(np.arange(start, end))

    def chosen(self, at: NDArray[np.int64]) -> Batch:
        """Return the records at these positions, on their own."""
        return Batch(
            self.rows[at], self.records[at], self.oldest_seq[at], self.arrival_ns[at], self.usable[at]
        )


def joined(batches: list[Batch]) -> Batch:
    """Return all batches as one."""
    return Batch(
        rows=np.concatenate([batch.rows for batch in batches]),
        records=np.concatenate([batch.records for batch in batches]),
        oldest_seq=np.concatenate([batch.oldest_seq for batch in batches]),
        arrival_ns=np.concatenate([batch.arrival_ns for batch in batches]),
        usable=np.concatenate([batch.usable for batch in batches]),
    )


@dataclass
class Device:
    """One device: its clock's error, what it measures, and how it counts."""

    row: int
    random: np.random.Generator
    seq: int = 0
    clock_ns: int = 0
    sends_in_parts: bool = False
    idleness: float = 0.0

    def __post_init__(self) -> None:
        self.present = int(
            self.random.choice([*PRESENT_OF.values(), ALL_PRESENT, ALL_PRESENT & ~mask_of("ev_w")])
        )
        self.sends_in_parts = bool(self.random.random() < 0.2)
        self.idleness = float(self.random.choice([0.0, 0.4, 0.97]))
        self.last = TELEMETRY.empty(1)[0]
        self.last["present"] = self.present
        for name in REGISTERS:
            self.last[name] = self.random.choice([50_000, 2**32 - 20, 2**35])

    def sample(self, t_ns: int) -> Any:
        """Return the next sample; now and then something about it is wrong."""
        random, record = self.random, self.last
        self.seq += 1
        record["seq"], record["ts_ns"] = self.seq, max(t_ns + self.clock_ns, 0)
        is_frozen = random.random() < self.idleness
        if not is_frozen:
            for name, low, high in zip(
                SIGNALS, (-5_500, -6_700, -120, -200), (5_500, 120, 3_000, 12_300), strict=True
            ):
                record[name] = random.integers(low, high) if random.random() < 0.9 else 0
            for name in REGISTERS:
                record[name] += random.choice(
                    [0, 1, 9, 9, 9, 1_100, -30], p=[0.1, 0.2, 0.2, 0.2, 0.2, 0.09, 0.01]
                )
            record["soc_frac"] = random.integers(-10, 10_011) / 10_000
            record["command_version"] = random.integers(0, 9)
        record["flags"] = random.choice([0, 0, 0, 64, 255])
        sent = record.copy()
        sent["present"] = (
            self.present & int(random.integers(0, 1_024)) if self.sends_in_parts else self.present
        )
        for bit, name in enumerate(OPTIONAL):
            if not int(sent["present"]) >> bit & 1:
                sent[name] = 0
        return sent


def make_stream(seed: int, *, devices: int = 4, steps: int = 30, honest: bool = False) -> Iterator[Batch]:
    """Yield batches; an honest stream loses and disorders, but clocks are right and every record is usable."""
    random = np.random.default_rng(seed)
    every = [Device(row, np.random.default_rng([seed, row])) for row in range(devices)]
    held: list[list[Any]] = [[] for _ in every]
    t_ns = START_NS
    waiting: list[tuple[int, int, list[Any]]] = []
    for step in range(steps):
        t_ns += int(random.choice([1, 4, 10, 60, 900], p=[0.2, 0.2, 0.4, 0.15, 0.05])) * NS_PER_S + 1_234_567
        for device in every:
            if not honest and random.random() < 0.03:
                device.clock_ns = (
                    int(random.choice([0, 30, -3, -40, -3_600, 7_200, 10**9, -(10**9)])) * NS_PER_S
                )
            taken = [
                device.sample(t_ns + k * NS_PER_S)
                for k in range(int(random.choice([0, 1, 3, 40], p=[0.2, 0.6, 0.15, 0.05])))
            ]
            held[device.row] += taken
            t_ns += len(taken) * NS_PER_S
            fate = random.random()
            if fate < 0.7:
                waiting.append((step, device.row, taken))
            elif fate < 0.8:
                waiting.append((step + int(random.integers(1, 9)), device.row, taken))
            if random.random() < 0.15 and held[device.row]:  # sends again from somewhere
                first = int(random.integers(0, len(held[device.row])))
                waiting.append((step, device.row, held[device.row][first : first + 50]))
            if random.random() < 0.05:  # and lets go of its oldest
                del held[device.row][: int(random.integers(0, 40))]
        random.shuffle(waiting)
        due, waiting = [w for w in waiting if w[0] <= step], [w for w in waiting if w[0] > step]
        yield _batch(due, held, t_ns + NS_PER_S, random, honest=honest)


def _batch(
    due: list[tuple[int, int, list[Any]]],
    held: list[list[Any]],
    arrival_ns: int,
    random: np.random.Generator,
    *,
    honest: bool,
) -> Batch:
    rows, records, oldest, arrivals = [], [], [], []
    for number, (_, row, taken) in enumerate(due):
        claims = random.random() < 0.5 and held[row]
        for record in taken:
            rows.append(row)
            records.append(record)
            oldest.append(min(int(held[row][0]["seq"]), int(record["seq"])) if claims else 0)
            arrivals.append(arrival_ns + number)
    columns = np.array(records, dtype=TELEMETRY.dtype) if records else TELEMETRY.empty(0)
    return Batch(
        rows=np.array(rows, dtype=np.int64),
        records=columns,
        oldest_seq=np.array(oldest, dtype=np.int64),
        arrival_ns=np.array(arrivals, dtype=np.int64),
        usable=np.ones(len(rows), dtype=np.bool_) if honest else random.random(len(rows)) > 0.02,
    )
