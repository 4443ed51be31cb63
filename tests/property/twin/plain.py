"""The plainest twin: sets of numbers and dictionaries of values, one record at a time. What the kernels are held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.telemetry import OPTIONAL, Flag, mask_of
from shoal.twin.clockrule import ClockRule
from shoal.twin.plausible import Plausibility
from shoal.twin.row import BEHIND_NS, NEVER, STILL_STEPS
from shoal.twin.window import DEFERRED, DUPLICATE, MAX_SEQ, MOST_AHEAD, NEW, REFUSED, WINDOW

SIGNALS = ("battery_w", "solar_w", "load_w", "ev_w")
REGISTERS = ("charge_wh", "discharge_wh", "import_wh", "export_wh")
MS_NS = 1_000_000


@dataclass
class Judged:
    """What is to be written into a record."""

    verdict: int
    ts_ns: int
    flags: int
    lost: int = 0


@dataclass
class PlainTwin:
    """A site in plain Python."""

    limit: Any
    clock: ClockRule
    rule: Plausibility
    known: set[int] = field(default_factory=set)
    floor: int = 0
    lost: int = 0
    to_tell: bool = False
    newest: int = 0
    ts_ns: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    behind: dict[str, int] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    flags: int = 0
    still: int = 0
    in_parts: bool = False

    def base(self) -> int:
        self.known -= {seq for seq in self.known if seq <= self.floor}
        while self.floor + 1 in self.known:
            self.floor += 1
            self.known.discard(self.floor)
        return self.floor

    def top(self) -> int:
        return max(self.newest, self.base())

    def early(self) -> set[int]:
        self.base()
        return set(self.known)

    def take_message(self, sent: list[tuple[Any, int, bool]], arrival_ns: int) -> list[Judged]:
        """Take the records of one message as (record, oldest held, usable)."""
        usable = [record for record, _, is_usable in sent if is_usable]
        best = max(usable, key=lambda r: int(r["seq"]), default=None)
        shift_ns, is_live = None, False
        if best is not None:
            is_live = int(best["seq"]) > self.top()
            if not self.clock.is_plausible(int(best["ts_ns"]), arrival_ns):
                shift_ns = arrival_ns - int(best["ts_ns"])
        judged: list[Judged] = []
        for one in sent:
            before = self.lost
            judged.append(self.take(*one, arrival_ns, is_live, shift_ns))
            judged[-1].lost = self.lost - before
        return judged

    def take(
        self,
        record: Any,
        oldest_seq: int,
        is_usable: bool,
        arrival_ns: int,
        is_live: bool,
        shift_ns: int | None,
    ) -> Judged:
        seq, ts_ns, top = int(record["seq"]), int(record["ts_ns"]), self.top()
        flags = int(record["flags"]) & Flag.ESTIMATED
        verdict = self.count(seq, oldest_seq, is_usable)
        if verdict not in (NEW, DEFERRED):
            return Judged(verdict, ts_ns, flags)
        has_place = True
        if not self.clock.is_plausible(ts_ns, arrival_ns):
            moved_ns = None if shift_ns is None else ts_ns + shift_ns
            has_place = moved_ns is not None and self.clock.floor_ns <= moved_ns <= arrival_ns
            ts_ns = moved_ns if has_place and moved_ns is not None else arrival_ns
            flags |= Flag.CLOCK_CORRECTED if has_place and is_live else Flag.CLOCK_DOUBTFUL
        if arrival_ns - ts_ns > self.clock.backfill_ns:
            flags |= Flag.BACKFILL
        is_newest = seq > top
        if self.ts_ns:
            earlier_ns, later_ns = (ts_ns, self.ts_ns) if is_newest else (self.ts_ns, ts_ns)
            if later_ns - earlier_ns > self.clock.step_ns:
                flags |= Flag.CLOCK_DOUBTFUL
        found, suspects = self.alone(record)
        flags |= found
        if is_newest and has_place and seq - self.base() <= MOST_AHEAD:
            still = 0
            if self.ts_ns:
                more_flags, more_suspects, still = self.beside(record, ts_ns)
                flags |= more_flags
                suspects |= more_suspects
            self.store(record, ts_ns, flags, suspects, still)
        return Judged(verdict, ts_ns, flags)

    def count(self, seq: int, oldest_seq: int, is_usable: bool) -> int:
        if not 1 <= seq <= MAX_SEQ:
            return REFUSED
        before = self.base()
        floor = min(oldest_seq, seq) - 1 if is_usable else 0
        if floor > before:
            if before or self.known:
                self.lost += sum(number not in self.known for number in range(before + 1, floor + 1))
            self.floor = floor
        base, verdict = self.base(), NEW
        if seq <= base or seq in self.known:
            verdict = DUPLICATE
        elif seq > base + WINDOW:
            verdict = DEFERRED
        else:
            self.known.add(seq)
        if self.base() != before or (verdict == DUPLICATE and is_usable):
            self.to_tell = True
        return verdict if is_usable else REFUSED

    def alone(self, record: Any) -> tuple[int, set[str]]:
        flags, suspects = 0, set()
        battery, solar, load, ev = (int(record[name]) for name in SIGNALS)
        for name, is_wrong, flag in (
            ("solar_w", solar > self.rule.sign_tolerance_w, Flag.SIGN),
            ("load_w", load < -self.rule.sign_tolerance_w, Flag.SIGN),
            ("battery_w", battery > self.limit["most_charge_w"], Flag.OVER_NAMEPLATE),
            ("battery_w", -battery > self.limit["most_discharge_w"], Flag.OVER_NAMEPLATE),
            ("solar_w", -solar > self.limit["most_solar_w"], Flag.OVER_NAMEPLATE),
            ("ev_w", abs(ev) > self.limit["most_ev_w"], Flag.OVER_NAMEPLATE),
        ):
            if is_wrong:
                flags |= flag
                suspects.add(name)
        return flags, suspects

    def beside(self, record: Any, ts_ns: int) -> tuple[int, set[str], int]:
        flags, suspects = 0, set()
        came = measured(record)
        grown = {n: int(record[n]) - self.values[n] for n in REGISTERS if n in came and n in self.values}
        for name, change_wh in grown.items():
            if change_wh < 0:
                flags |= Flag.REGISTER_BACKWARDS
                if name in ("charge_wh", "discharge_wh"):
                    suspects.add("battery_w")
                else:
                    suspects |= {"load_w"} if "load_w" in self.values else set(self.values) & set(SIGNALS)
        if ts_ns >= self.ts_ns and not self.in_parts:
            hours = (ts_ns - self.ts_ns + self.rule.register_slack_ns) * (1.0 / 3.6e12)
            for name in ("charge_wh", "discharge_wh"):
                rated_w = float(self.limit[name.replace("_wh", "_w")])
                most_wh = rated_w * (hours * self.rule.nameplate_frac) + self.rule.register_slack_wh
                if grown.get(name, 0) > most_wh:
                    flags |= Flag.OVER_NAMEPLATE
                    suspects.add("battery_w")
        resting, told = self.resting(record, came, grown)
        still = self.still
        if resting:
            step_ns = self.rule.still_ns // STILL_STEPS
            still = min(still + (ts_ns // step_ns > self.ts_ns // step_ns), 15)
            if still >= STILL_STEPS:
                flags |= Flag.STUCK
                suspects |= resting
        elif told:
            still = 0
        return flags, suspects, still

    def resting(self, record: Any, came: frozenset[str], grown: dict[str, int]) -> tuple[set[str], bool]:
        both = came & set(self.values)
        resting, told = set(), False
        if "load_w" in self.values:
            told = "load_w" in both
            if told and record["load_w"] != 0 and record["load_w"] == self.values["load_w"]:
                resting.add("load_w")
        elif "solar_w" in both:
            told = True
            is_clipping = -int(record["solar_w"]) >= self.limit["clipping_w"]
            if record["solar_w"] != 0 and record["solar_w"] == self.values["solar_w"] and not is_clipping:
                resting.add("solar_w")
        for signal, registers in (("battery_w", REGISTERS[:2]), ("ev_w", REGISTERS[2:])):
            if signal == "ev_w" and {"battery_w", "solar_w", "load_w"} & set(self.values):
                continue
            if signal in both and any(name in both for name in registers):
                told = True
                moved = any(grown.get(name, 0) != 0 for name in registers)
                if abs(int(record[signal])) >= self.rule.moving_w and not moved:
                    resting.add(signal)
        return resting, told

    def store(self, record: Any, ts_ns: int, flags: int, suspects: set[str], still: int) -> None:
        came = measured(record)
        columns = came | set(self.values)
        if came != columns:
            self.in_parts = True
            older = max(ts_ns // BEHIND_NS - self.ts_ns // BEHIND_NS, 0)
            for name in SIGNALS:
                if name not in came and name in self.behind:
                    self.behind[name] = min(self.behind[name] + older, NEVER)
        for name in came:
            self.values[name] = record[name].item()
            if name in SIGNALS:
                self.behind[name] = 0
        self.suspects = (suspects & set(self.values)) | (self.suspects - came)
        self.flags, self.still = flags, still
        self.ts_ns = ts_ns // MS_NS * MS_NS
        self.newest = int(record["seq"])


def measured(record: Any) -> frozenset[str]:
    return _columns(int(record["present"]))


@cache
def _columns(present: int) -> frozenset[str]:
    return frozenset(name for name in OPTIONAL if present & mask_of(name))


def apply_plainly(
    twins: list[PlainTwin],
    rows: NDArray[np.int64],
    records: NDArray[Any],
    oldest_seq: NDArray[np.int64],
    arrival_ns: NDArray[np.int64],
    usable: NDArray[np.bool_],
) -> list[Judged]:
    """Take a batch, message by message."""
    judged: list[Judged] = []
    start = 0
    while start < len(rows):
        end = start
        while end < len(rows) and (rows[end], arrival_ns[end]) == (rows[start], arrival_ns[start]):
            end += 1
        sent = [(records[i], int(oldest_seq[i]), bool(usable[i])) for i in range(start, end)]
        judged += twins[rows[start]].take_message(sent, int(arrival_ns[start]))
        start = end
    return judged
