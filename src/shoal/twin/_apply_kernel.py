"""The compiled part of `Twins.apply`: window, clock, plausibility and update, one record after another.

The ordinary record (the next one of its device, whole, on time and nowhere strange) takes a short way; every other the
long one, which comes to the same result for both. All of it lives in one file because the compiled code is kept on disk
for as long as this file stays the same; that is also why its constants are repeated here (a test compares them).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.twin.clockrule import ClockRule
from shoal.twin.plausible import Plausibility

NEW: Final = 0
DUPLICATE: Final = 1
DEFERRED: Final = 2
REFUSED: Final = 3
WINDOW: Final = 32
MAX_SEQ: Final = 2**32 - 2
MOST_AHEAD: Final = 2**16 - 1
NO_SHIFT: Final = -(2**62)

CLOCK_CORRECTED: Final = 1
CLOCK_DOUBTFUL: Final = 2
SIGN: Final = 4
STUCK: Final = 8
REGISTER_BACKWARDS: Final = 16
OVER_NAMEPLATE: Final = 32
ESTIMATED: Final = 64
BACKFILL: Final = 128
FLAGS: Final = 8

BATTERY: Final = 1
SOLAR: Final = 2
LOAD: Final = 4
EV: Final = 8
SOC: Final = 16
COMMAND: Final = 32
CHARGE: Final = 64
DISCHARGE: Final = 128
IMPORT: Final = 256
EXPORT: Final = 512
COLUMNS: Final = 1_023
SIGNALS: Final = 15

WIDE_SHIFT: Final = 10
IN_PARTS: Final = 1 << 14
TO_TELL: Final = 1 << 15
SUSPECT_SHIFT: Final = 8
STILL_SHIFT: Final = 12
STILL_STEPS: Final = 14
MOST_STILL: Final = 15
STRANGE: Final = -1
BEHIND_NS: Final = 4_000_000_000
NEVER: Final = 255
EXACT_BITS: Final = 36
SOC_SCALE: Final = 60_000.0
SOC_OFFSET: Final = 100.0

_NS_PER_MS: Final = 1_000_000
_H_PER_NS: Final = 1.0 / 3.6e12
_BLOCK: Final = 64

Int: TypeAlias = int | np.integer[Any]
"""A whole number within a kernel."""


@kernel
def apply(
    rows: NDArray[np.int64],
    records: NDArray[Any],
    oldest_seq: NDArray[np.int64],
    arrival_ns: NDArray[np.int64],
    usable: NDArray[np.bool_],
    twins: NDArray[Any],
    plate_of: NDArray[np.integer[Any]],
    limits: NDArray[Any],
    clock: ClockRule,
    rule: Plausibility,
    verdict: NDArray[np.int8],
    flag_counts: NDArray[np.int64],
    position_lost: NDArray[np.int64],
) -> tuple[Int, Int]:
    """Take the records in order; fill `verdict`, add to `flag_counts`; return at how many samples were lost, and nothing of use.

    Each of these is a row of `position_lost`: the position of the record, and how many were lost for good.
    """
    losing: Int = 0
    touched: Int = 0
    count = rows.shape[0]
    run_end: Int = 0
    shift_ns: Int = NO_SHIFT
    is_live = False
    for i in range(count):
        if i % _BLOCK == 0:
            # rows lie anywhere in memory: ask for many at once, then work on them
            for j in range(i, min(i + _BLOCK, count)):
                touched += np.int64(twins[rows[j]].base) + np.int64(plate_of[rows[j]])
        row = rows[i]
        twin = twins[row]
        if i >= run_end:
            run_end = i + 1
            is_live = records[i].seq > np.int64(twin.base) + np.int64(twin.ahead)
            shift_ns = arrival_ns[i] - records[i].ts_ns
            if run_end < count and rows[run_end] == row and arrival_ns[run_end] == arrival_ns[i]:
                top = np.int64(twin.base) + np.int64(twin.ahead)
                run_end, is_live, shift_ns = _judge_run(i, rows, records, arrival_ns, usable, top, clock)
        record = records[i]
        limit = limits[plate_of[row]]
        still: Int = STRANGE
        if usable[i]:
            still = _ordinary(record, oldest_seq[i], arrival_ns[i], twin, limit, clock, rule)
        if still != STRANGE:
            outcome: Int = NEW
            flags: Int = np.int64(record.flags) & ESTIMATED
            if arrival_ns[i] - record.ts_ns > clock.backfill_ns:
                flags |= BACKFILL
            _store_ordinary(record, flags | still << STILL_SHIFT, twin)
        else:
            outcome, gone, flags = _take(
                record, oldest_seq[i], arrival_ns[i], usable[i], is_live, shift_ns, twin, limit, clock, rule
            )
            if gone:
                position_lost[losing, 0] = i
                position_lost[losing, 1] = gone
                losing += 1
        verdict[i] = outcome
        record.flags = np.uint16(flags)
        if flags and outcome == NEW:
            for bit in range(FLAGS):
                flag_counts[bit] += flags >> bit & 1
    return losing, touched


@kernel
def _judge_run(
    start: Int,
    rows: NDArray[np.int64],
    records: NDArray[Any],
    arrival_ns: NDArray[np.int64],
    usable: NDArray[np.bool_],
    top: Int,
    clock: ClockRule,
) -> tuple[Int, bool, Int]:
    """Return where a site's records in one message end, whether they hold its newest one, and by how much it is off.

    That is `NO_SHIFT` when the newest one's time may be right.
    """
    newest: Int = -1
    end: Int = start
    while end < rows.shape[0] and rows[end] == rows[start] and arrival_ns[end] == arrival_ns[start]:
        if usable[end] and (newest < 0 or records[end].seq > records[newest].seq):
            newest = end
        end += 1
    if newest < 0:
        return end, False, NO_SHIFT
    ts_ns = records[newest].ts_ns
    is_wrong = ts_ns < clock.floor_ns or ts_ns > arrival_ns[start] + clock.max_ahead_ns
    return end, records[newest].seq > top, arrival_ns[start] - ts_ns if is_wrong else NO_SHIFT


@kernel
def _time_ns(twin: Any) -> Int:
    return (np.int64(twin.ms_high) << 32 | np.int64(twin.ms_low)) * _NS_PER_MS


@kernel
def _ordinary(
    record: Any, oldest_seq: Int, arrival_ns: Int, twin: Any, limit: Any, clock: ClockRule, rule: Plausibility
) -> Int:
    """Return for how many steps of time its values stand still if nothing about it is to be judged, else `STRANGE`.

    Then it is the next record of a device without holes, whole, and on time.
    """
    base = np.int64(twin.base)
    if (
        record.seq != base + 1
        or twin.mask != 0
        or twin.ahead != 0
        or oldest_seq > record.seq
        or base >= MAX_SEQ
    ):
        return STRANGE
    if (twin.present ^ record.present) & ~TO_TELL != 0 or base == 0:
        return STRANGE
    ts_ns = record.ts_ns
    if ts_ns < clock.floor_ns or ts_ns > arrival_ns + clock.max_ahead_ns:
        return STRANGE
    heard_ns = _time_ns(twin)
    if ts_ns < heard_ns - clock.step_ns:
        return STRANGE
    battery_w, solar_w, load_w, ev_w = record.battery_w, record.solar_w, record.load_w, record.ev_w
    if (
        battery_w > limit.most_charge_w
        or -battery_w > limit.most_discharge_w
        or -solar_w > limit.most_solar_w
        or solar_w > rule.sign_tolerance_w
        or load_w < -rule.sign_tolerance_w
        or abs(ev_w) > limit.most_ev_w
    ):
        return STRANGE
    high = np.int64(twin.high)
    charged_wh = record.charge_wh - ((high & 15) << 32 | np.int64(twin.charge_low))
    discharged_wh = record.discharge_wh - ((high >> 4 & 15) << 32 | np.int64(twin.discharge_low))
    imported_wh = record.import_wh - ((high >> 8 & 15) << 32 | np.int64(twin.import_low))
    exported_wh = record.export_wh - ((high >> 12) << 32 | np.int64(twin.export_low))
    if (charged_wh | discharged_wh | imported_wh | exported_wh) < 0:
        return STRANGE
    if charged_wh > rule.register_slack_wh or discharged_wh > rule.register_slack_wh:
        return STRANGE
    if (record.charge_wh | record.discharge_wh | record.import_wh | record.export_wh) >> EXACT_BITS != 0:
        return STRANGE
    if record.present & LOAD == 0 and (
        (solar_w == twin.solar_w and solar_w != 0)
        or (imported_wh | exported_wh == 0 and abs(ev_w) >= rule.moving_w)
    ):
        return STRANGE
    if (load_w != 0 and load_w == twin.load_w) or (
        charged_wh | discharged_wh == 0
        and abs(battery_w) >= rule.moving_w
        and record.present & (CHARGE | DISCHARGE) != 0
    ):
        still = _longer_still(twin, ts_ns, heard_ns, rule)
        return still if still < STILL_STEPS else STRANGE
    return 0


@kernel
def _longer_still(twin: Any, ts_ns: Int, heard_ns: Int, rule: Plausibility) -> Int:
    """Return for how many steps of time values have stood still, this sample included."""
    still = np.int64(twin.flags) >> STILL_SHIFT
    step_ns = rule.still_ns // STILL_STEPS
    if still < MOST_STILL and ts_ns // step_ns > heard_ns // step_ns:
        still += 1
    return still


@kernel
def _store_ordinary(record: Any, flags: Int, twin: Any) -> None:
    """Let the values be the twin's; what the device does not measure is 0 here and there."""
    ms = np.uint64(record.ts_ns) // np.uint64(_NS_PER_MS)
    twin.ms_low = np.uint32(ms)
    twin.ms_high = np.uint16(ms >> np.uint64(32))
    twin.base = np.uint32(record.seq)
    twin.command_version = record.command_version
    twin.battery_w = record.battery_w
    twin.solar_w = record.solar_w
    twin.load_w = record.load_w
    twin.ev_w = record.ev_w
    twin.charge_low = np.uint32(record.charge_wh)
    twin.discharge_low = np.uint32(record.discharge_wh)
    twin.import_low = np.uint32(record.import_wh)
    twin.export_low = np.uint32(record.export_wh)
    twin.high = np.uint16(
        record.charge_wh >> 32
        | record.discharge_wh >> 32 << 4
        | record.import_wh >> 32 << 8
        | record.export_wh >> 32 << 12
    )
    twin.soc = _soc(record.soc_frac)
    twin.present |= np.uint16(TO_TELL)
    twin.flags = np.uint16(flags)


@kernel
def _soc(soc_frac: float) -> Int:
    return np.uint16(min(max(soc_frac, -0.001), 1.001) * SOC_SCALE + SOC_OFFSET + 0.5)


@kernel
def _take(
    record: Any,
    oldest_seq: Int,
    arrival_ns: Int,
    is_usable: bool,
    is_live: bool,
    shift_ns: Int,
    twin: Any,
    limit: Any,
    clock: ClockRule,
    rule: Plausibility,
) -> tuple[Int, Int, Int]:
    """Take any record; return its verdict, how many samples are lost for good, and its flags."""
    seq = record.seq
    top = np.int64(twin.base) + np.int64(twin.ahead)
    outcome, lost = _tick_off(twin, seq, oldest_seq, is_usable)
    ahead = top - np.int64(twin.base)
    twin.ahead = np.uint16(ahead if ahead > 0 else 0)
    flags = np.int64(record.flags) & ESTIMATED
    if outcome != NEW and outcome != DEFERRED:
        return outcome, lost, flags
    ts_ns = record.ts_ns
    has_place = True
    if ts_ns < clock.floor_ns or ts_ns > arrival_ns + clock.max_ahead_ns:
        has_place = shift_ns != NO_SHIFT and clock.floor_ns <= ts_ns + shift_ns <= arrival_ns
        ts_ns = ts_ns + shift_ns if has_place else arrival_ns
        flags |= CLOCK_CORRECTED if has_place and is_live else CLOCK_DOUBTFUL
        record.ts_ns = ts_ns
    if arrival_ns - ts_ns > clock.backfill_ns:
        flags |= BACKFILL
    is_newest = seq > top
    heard_ns = _time_ns(twin)
    if heard_ns:
        contradiction_ns = heard_ns - ts_ns if is_newest else ts_ns - heard_ns
        if contradiction_ns > clock.step_ns:
            flags |= CLOCK_DOUBTFUL
    found, suspects = _judge_alone(record, limit, rule)
    flags |= found
    if is_newest and has_place and seq - np.int64(twin.base) <= MOST_AHEAD:
        still: Int = 0
        if heard_ns:
            found, more, still = _judge_step(record, ts_ns, heard_ns, twin, limit, rule)
            flags |= found
            suspects |= more
        _store(record, ts_ns, heard_ns, flags, suspects, still, twin)
    return outcome, lost, flags


@kernel
def _tick_off(twin: Any, seq: Int, oldest_seq: Int, is_usable: bool) -> tuple[Int, Int]:
    """Tick a sample off in its device's window; return the verdict and how many samples are lost for good."""
    if seq < 1 or seq > MAX_SEQ:
        return REFUSED, 0
    one = np.uint64(1)
    base: Int = np.int64(twin.base)
    mask: Int = np.uint64(twin.mask)
    before = base
    lost: Int = 0
    # what an unusable record says of its device's store is not believed either
    floor = min(oldest_seq, seq) - 1 if is_usable else 0
    if floor > base:  # the device has let go of these: what is missing below will never come
        if base == 0 and mask == np.uint64(0):  # first contact: what was before does not concern this plant
            base = floor
        elif floor - base > WINDOW:
            held: Int = 0
            while mask != np.uint64(0):
                held += np.int64(mask & one)
                mask >>= one
            lost = floor - base - held
            base = floor
        else:
            while base < floor:
                if mask & one == np.uint64(0):
                    lost += 1
                mask >>= one
                base += 1
        while mask & one != np.uint64(0):
            mask >>= one
            base += 1
    ahead = seq - base
    outcome = NEW
    if ahead <= 0:
        outcome = DUPLICATE
    elif ahead > WINDOW:
        outcome = DEFERRED
    else:
        bit = one << np.uint64(ahead - 1)
        if mask & bit != np.uint64(0):
            outcome = DUPLICATE
        mask |= bit
        while mask & one != np.uint64(0):
            mask >>= one
            base += 1
    # a device that repeats itself has not heard what is complete
    if base != before or (outcome == DUPLICATE and is_usable):
        twin.present = np.uint16(twin.present | TO_TELL)
    twin.base = np.uint32(base)
    twin.mask = np.uint32(mask)
    return outcome if is_usable else REFUSED, lost


@kernel
def _judge_alone(record: Any, limit: Any, rule: Plausibility) -> tuple[Int, Int]:
    """Return flags and suspect signals that the values show by themselves; what is not measured is 0."""
    flags = 0
    suspects = 0
    if record.solar_w > rule.sign_tolerance_w:
        flags |= SIGN
        suspects |= SOLAR
    if record.load_w < -rule.sign_tolerance_w:
        flags |= SIGN
        suspects |= LOAD
    if (record.charge_wh | record.discharge_wh) < 0:
        flags |= SIGN
        suspects |= BATTERY
    if (record.import_wh | record.export_wh) < 0:
        flags |= SIGN
        suspects |= LOAD
    if record.battery_w > limit.most_charge_w or -record.battery_w > limit.most_discharge_w:
        flags |= OVER_NAMEPLATE
        suspects |= BATTERY
    if -record.solar_w > limit.most_solar_w:
        flags |= OVER_NAMEPLATE
        suspects |= SOLAR
    if abs(record.ev_w) > limit.most_ev_w:
        flags |= OVER_NAMEPLATE
        suspects |= EV
    return flags, suspects


@kernel
def _grown_wh(register_wh: Int, low: Int, high: Int, present: Int, both: Int, number: Int) -> Int:
    """Return by how much a register has grown; 0 unless it was measured before and now."""
    if both & CHARGE << number == 0:
        return 0
    value = (np.int64(high) >> 4 * number & 15) << 32 | np.int64(low)
    return register_wh - (value * 1_000 if present >> (WIDE_SHIFT + number) & 1 else value)


@kernel
def _judge_step(
    record: Any, ts_ns: Int, heard_ns: Int, twin: Any, limit: Any, rule: Plausibility
) -> tuple[Int, Int, Int]:
    """Return flags and suspect signals that the newest values show beside those before, and for how long they stand still."""
    flags = 0
    suspects: Int = 0
    known = np.int64(twin.present)
    both = np.int64(record.present) & known & COLUMNS
    charged_wh = _grown_wh(record.charge_wh, twin.charge_low, twin.high, known, both, 0)
    discharged_wh = _grown_wh(record.discharge_wh, twin.discharge_low, twin.high, known, both, 1)
    imported_wh = _grown_wh(record.import_wh, twin.import_low, twin.high, known, both, 2)
    exported_wh = _grown_wh(record.export_wh, twin.export_low, twin.high, known, both, 3)
    if charged_wh < 0 or discharged_wh < 0:
        flags |= REGISTER_BACKWARDS
        suspects |= BATTERY
    if imported_wh < 0 or exported_wh < 0:
        flags |= REGISTER_BACKWARDS
        suspects |= LOAD if known & LOAD else known & SIGNALS
    # registers that come now and then have grown for an unknown time
    if ts_ns >= heard_ns and known & IN_PARTS == 0:
        hours = (ts_ns - heard_ns + rule.register_slack_ns) * _H_PER_NS * rule.nameplate_frac
        slack_wh = rule.register_slack_wh
        if (
            charged_wh > limit.charge_w * hours + slack_wh
            or discharged_wh > limit.discharge_w * hours + slack_wh
        ):
            flags |= OVER_NAMEPLATE
            suspects |= BATTERY
    still: Int = np.int64(twin.flags) >> STILL_SHIFT
    resting = 0
    told = False
    if known & LOAD:  # nobody's load is the same to the watt for long
        if both & LOAD:
            told = True
            if record.load_w != 0 and record.load_w == twin.load_w:
                resting |= LOAD
    elif both & SOLAR:
        told = True
        if record.solar_w != 0 and record.solar_w == twin.solar_w and -record.solar_w < limit.clipping_w:
            resting |= SOLAR
    # power flows, and yet its registers do not move
    if both & BATTERY and both & (CHARGE | DISCHARGE):
        told = True
        if abs(record.battery_w) >= rule.moving_w and charged_wh | discharged_wh == 0:
            resting |= BATTERY
    if known & (BATTERY | SOLAR | LOAD) == 0 and both & EV and both & (IMPORT | EXPORT):
        told = True
        if abs(record.ev_w) >= rule.moving_w and imported_wh | exported_wh == 0:
            resting |= EV
    if resting:
        still = _longer_still(twin, ts_ns, heard_ns, rule)
        if still >= STILL_STEPS:
            flags |= STUCK
            suspects |= resting
    elif told:
        still = 0
    return flags, suspects, still


@kernel
def _behind(behind: Int, came: Int, older: Int) -> Int:
    """Return how far a signal is behind once the newest time has moved on by `older`."""
    if came:
        return np.uint8(0)
    return np.uint8(min(np.int64(behind) + older, NEVER))


@kernel
def _store(record: Any, ts_ns: Int, heard_ns: Int, flags: Int, suspects: Int, still: Int, twin: Any) -> None:
    """Let what the newest sample brought be the twin's; the rest keeps its value and grows older."""
    came = np.int64(record.present) & COLUMNS
    known: Int = np.int64(twin.present) | came
    older: Int = 0
    if came != known & COLUMNS:
        older = max(ts_ns // BEHIND_NS - heard_ns // BEHIND_NS, 0)
        known |= IN_PARTS
    twin.battery_behind = _behind(twin.battery_behind, came & BATTERY, older)
    twin.solar_behind = _behind(twin.solar_behind, came & SOLAR, older)
    twin.load_behind = _behind(twin.load_behind, came & LOAD, older)
    twin.ev_behind = _behind(twin.ev_behind, came & EV, older)
    # what was suspect stays so until it is heard again
    suspects = (suspects & known | np.int64(twin.flags) >> SUSPECT_SHIFT & ~came) & SIGNALS
    twin.flags = np.uint16(flags | suspects << SUSPECT_SHIFT | still << STILL_SHIFT)
    if came & BATTERY:
        twin.battery_w = record.battery_w
    if came & SOLAR:
        twin.solar_w = record.solar_w
    if came & LOAD:
        twin.load_w = record.load_w
    if came & EV:
        twin.ev_w = record.ev_w
    if came & SOC:
        twin.soc = _soc(record.soc_frac)
    if came & COMMAND:
        twin.command_version = record.command_version
    high: Int = np.int64(twin.high)
    if came & CHARGE:
        twin.charge_low, high, known = _split(record.charge_wh, high, known, 0)
    if came & DISCHARGE:
        twin.discharge_low, high, known = _split(record.discharge_wh, high, known, 1)
    if came & IMPORT:
        twin.import_low, high, known = _split(record.import_wh, high, known, 2)
    if came & EXPORT:
        twin.export_low, high, known = _split(record.export_wh, high, known, 3)
    twin.high = np.uint16(high)
    twin.present = np.uint16(known)
    ms = max(ts_ns // _NS_PER_MS, 0)
    twin.ms_low = np.uint32(ms & 0xFFFF_FFFF)
    twin.ms_high = np.uint16(ms >> 32)
    twin.ahead = np.uint16(max(record.seq - np.int64(twin.base), 0))


@kernel
def _split(register_wh: Int, high: Int, present: Int, number: Int) -> tuple[Int, Int, Int]:
    """Return a register's low part, and the common high part and `present` with its share."""
    value = min(max(register_wh, 0), (1_000 << EXACT_BITS) - 1)
    bit = 1 << (WIDE_SHIFT + number)
    if value >> EXACT_BITS:
        value //= 1_000
        present |= bit
    else:
        present &= ~bit
    high = high & ~(15 << 4 * number) | (value >> 32) << 4 * number
    return np.uint32(value & 0xFFFF_FFFF), high, present
