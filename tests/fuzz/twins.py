"""The target that applies records of extreme values to twins, and compares them with the plainest ones after each batch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import numpy as np

from shoal.domain.telemetry import OPTIONAL, TELEMETRY, Flag
from shoal.twin.window import MAX_SEQ, NEW
from tests.fuzz.target import Choices, Target
from tests.property.twin.plain import REGISTERS, PlainTwin, apply_plainly
from tests.property.twin.streams import START_NS, Batch
from tests.property.twin.test_columns import CLOCK, DEVICES, assert_same_state, make_twins, plain_twins

_EXACT_WH: Final = 2**36
_MOST_WH: Final = 1_000 * _EXACT_WH - 1
_STEPS_NS: Final = (1, 10**6, 10**9, 4 * 10**9, 28 * 10**9 // 14, 3_600 * 10**9, 10**17)
_POWERS: Final = (
    *(0, 0, 1, -1, 100, 101, -100, -101, 999, 1_000, -1_000, 5_000, -5_000, 5_550, 5_551, -5_550, -5_551),
    *(-5_400, -6_650, -6_651, 12_150, 12_151, 10**9, -(10**9), 500, 500, 500),
)
_PRESENT: Final = (1_023, 1_023, 1_023, 0x3F7, 0x328, 0x304, 0x0F1, 0, 1, 0x3C0)
_ALL: Final = 1_023
_WILD: Final = (0, -1, 2**31 - 1, -(2**31))


class ExtremePlainTwin(PlainTwin):
    """A plain twin that keeps registers as coarsely as the row does: beyond 2^36 Wh in whole kWh, up to 68 TWh."""

    def count(self, seq: int, oldest_seq: int, is_usable: bool) -> int:
        """Let go of what the device no longer holds at once, not number by number: there may be billions."""
        before, floor = self.base(), min(oldest_seq, seq) - 1
        if is_usable and 1 <= seq <= MAX_SEQ and floor - before > 100:
            there = sum(number <= floor for number in self.known)
            self.lost += floor - before - there if before or self.known else 0
            self.floor = floor
            self.to_tell = True
        return super().count(seq, oldest_seq, is_usable)

    def store(self, record: Any, ts_ns: int, flags: int, suspects: set[str], still: int) -> None:
        super().store(record, ts_ns, flags, suspects, still)
        for name in REGISTERS:
            value = min(max(self.values.get(name, 0), 0), _MOST_WH)
            if name in self.values:
                self.values[name] = value if value < _EXACT_WH else value // 1_000 * 1_000


@dataclass
class _Device:
    seq: int = 0
    ts_ns: int = START_NS
    last: Any = None


def check_apply(data: bytes) -> Hashable:
    """Apply whatever the bytes say; verdicts, times, flags and state are those of the plain twins."""
    choices = Choices(data)
    twins = make_twins()
    plain: list[PlainTwin] = [ExtremePlainTwin(site.limit, site.clock, site.rule) for site in plain_twins()]
    devices = [_Device() for _ in range(DEVICES)]
    arrival_ns = START_NS
    happened: set[int] = set()
    for _ in range(8):
        if choices.is_over:
            break
        batch, arrival_ns = _batch(choices, devices, arrival_ns)
        lost_before = sum(site.lost for site in plain)
        expected = apply_plainly(plain, *batch.copy())
        applied = twins.apply(*batch)
        assert applied.verdict.tolist() == [one.verdict for one in expected]
        assert batch.records["ts_ns"].tolist() == [one.ts_ns for one in expected]
        assert batch.records["flags"].tolist() == [one.flags for one in expected]
        assert applied.lost == sum(site.lost for site in plain) - lost_before
        new = [one for one in expected if one.verdict == NEW]
        assert applied.flagged() == {flag: sum(bool(one.flags & flag) for one in new) for flag in Flag}
        assert_same_state(twins, plain)
        happened |= {one.verdict << 8 | one.flags for one in expected}
    return frozenset(happened)


def _batch(choices: Choices, devices: list[_Device], arrival_ns: int) -> tuple[Batch, int]:
    rows: list[int] = []
    sent: list[Any] = []
    oldest: list[int] = []
    arrivals: list[int] = []
    usable: list[bool] = []
    for _ in range(1 + choices.below(6)):
        row = choices.below(DEVICES)
        if arrival_ns < 2**63 - 2 * 10**17:
            arrival_ns += choices.pick(_STEPS_NS)
        else:
            arrival_ns += 1
        for _ in range(choices.pick((1, 1, 1, 2, 3, 40))):
            is_usable = choices.below(16) != 15
            record = _record(choices, devices[row], arrival_ns, is_usable)
            seq = int(record["seq"])
            claimed = choices.pick((0, 1, seq, seq - 1, seq - 40, devices[row].seq, seq - 70_000))
            rows.append(row)
            sent.append(record)
            oldest.append(min(max(claimed, 0), seq))
            arrivals.append(arrival_ns)
            usable.append(is_usable)
    batch = Batch(
        rows=np.array(rows, dtype=np.int64),
        records=np.array(sent, dtype=TELEMETRY.dtype),
        oldest_seq=np.array(oldest, dtype=np.int64),
        arrival_ns=np.array(arrivals, dtype=np.int64),
        usable=np.array(usable, dtype=np.bool_),
    )
    return batch, arrival_ns


def _record(choices: Choices, device: _Device, arrival_ns: int, is_usable: bool) -> Any:
    record = TELEMETRY.empty(1)[0]
    after = device.seq + 1
    seq = choices.pick(
        (
            *(
                after,
                after,
                after,
                after,
                after,
                after,
                after,
                after,
                after - 1,
                after - 2,
                after + 1,
                after + 31,
            ),
            *(
                after + 32,
                after + 33,
                after + 65_534,
                after + 65_535,
                1,
                2**31,
                2**32 - 3,
                2**32 - 2,
                2**32 - 1,
            ),
        )
    )
    device.seq = record["seq"] = min(max(seq, 1), 2**32 - 1)
    last_ns = device.ts_ns
    ts_ns = choices.pick(
        (
            *(arrival_ns, arrival_ns - 1, arrival_ns - 10**9, last_ns + 10**9, last_ns, last_ns + 4 * 10**9),
            *(
                last_ns - 5 * 10**9,
                last_ns - 5 * 10**9 - 1,
                arrival_ns - 180 * 10**9,
                arrival_ns - 180 * 10**9 - 1,
            ),
            *(arrival_ns + CLOCK.max_ahead_ns, arrival_ns + CLOCK.max_ahead_ns + 1, CLOCK.floor_ns),
            *(CLOCK.floor_ns - 1, 0, 1, 2**63 - 1, 2**62, last_ns + 2 * 10**9),
        )
    )
    device.ts_ns = record["ts_ns"] = min(max(ts_ns, 0), 2**63 - 1)
    present = choices.pick(_PRESENT)
    record["present"], record["flags"] = present, choices.pick((0, 0, 64, 255, 65_535))
    changes = choices.whole(2) if device.last is not None else _ALL
    for bit, name in enumerate(OPTIONAL):
        if not present >> bit & 1:
            continue
        record[name] = _value(choices, name, device.last) if changes >> bit & 1 else device.last[name]
    if not is_usable and choices.below(2):
        record["ts_ns"] = choices.pick((-1, -(2**63), 0))
        for name in OPTIONAL[:4]:
            record[name] = choices.pick(_WILD)
        record["soc_frac"] = choices.pick((float("nan"), float("inf"), -7.0))
    else:
        device.last = record.copy()
    return record


def _value(choices: Choices, name: str, last: Any) -> Any:
    if name.endswith("_w"):
        return choices.pick(_POWERS)
    if name == "soc_frac":
        return choices.pick((0.0, 1.0, 0.5, np.float32(-0.001), np.float32(1.001), 1e-30))
    if name == "command_version":
        return choices.pick((0, 1, 2**32 - 1))
    before = 0 if last is None else int(last[name])
    register = choices.pick(
        (
            *(
                before,
                before + 1,
                before + 9,
                before + 1_000,
                before + 1_001,
                before - 1,
                0,
                2**32 - 1,
                2**32,
            ),
            *(2**36 - 1, 2**36, 2**36 + 1_999, before + 6_900, _MOST_WH, _MOST_WH + 1, 2**53),
        )
    )
    return min(max(register, 0), 2**53)


_SEEDS: Final = (
    *(Random(number).randbytes(size) for number in range(12) for size in (60, 300, 1_500)),
    bytes(200),
    bytes((0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0)) * 40,
)

TARGETS: Final = (
    Target(
        name="apply",
        check=check_apply,
        seeds=_SEEDS,
        words=(bytes(30), b"\0\5\5\5", b"\xff\3"),
        compiled=True,
    ),
)
