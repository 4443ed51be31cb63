"""History's rules against plain models: which files count, and what a roll-up says."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.telemetry import ALL_PRESENT, SUSPECT, TELEMETRY, mask_of
from shoal.store import history_layout as layout
from shoal.store.history_rollup import POWERS, REGISTER_NAMES, roll_up
from shoal.store.history_schema import NS_PER_MS, hour_order, to_stored

HOUR = "2021-02-10T06"
HOUR_NS = layout.hour_start_ns(HOUR)
HOLD_MS = 180_000


@given(st.lists(st.sampled_from(["write", "merge", "clean", "skip"]), max_size=30), st.randoms())
def test_every_position_counts_once_whatever_was_merged_and_removed(steps: list[str], random: Any) -> None:
    """Positions are written in order, merged up to some point, and files removed once what replaced them is there."""
    names: set[str] = set()
    written: list[range] = []
    position = 0
    for step in steps:
        if step == "skip":
            position += random.randint(1, 5)
        elif step == "write":
            span = range(position + 1, position + random.randint(1, 5) + 1)
            position = span[-1]
            names.add(f"p-a-{span[0]}-{span[-1]}.parquet")
            written.append(span)
        elif step == "merge" and written:
            names.add(f"c-a-{random.choice(written)[-1]}.parquet")
        elif step == "clean":
            counting = {f.path.rpartition("/")[2] for f in _visible(names)}
            gone = [name for name in names if name not in counting]
            names -= set(random.sample(gone, random.randint(0, len(gone))))
        seen: list[int] = []
        for file in _visible(names):
            for span in written:
                if span[-1] <= file.to_seq and span[0] >= file.from_seq:
                    seen += span
        assert sorted(seen) == [p for span in written for p in span]


def _visible(names: set[str]) -> list[layout.RawFile]:
    return layout.visible(layout.raw_files({f"hour={HOUR}": sorted(names)}))


_SAMPLE = st.fixed_dictionaries(
    {
        "site": st.integers(0, 3),
        "ms": st.integers(0, 3_599_999) | st.sampled_from([0, 299_999, 300_000, 3_300_000, 3_599_999]),
        "power": st.integers(-20_000, 20_000),
        "soc": st.integers(0, 10_000),
        "wh": st.integers(0, 2**40),
        "flags": st.sampled_from([0, 0, 0, 128, int(SUSPECT), 4]),
        "present": st.sampled_from([ALL_PRESENT, mask_of("load_w"), ALL_PRESENT & ~mask_of("soc_frac")]),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_SAMPLE, min_size=1, max_size=40, unique_by=lambda s: (s["site"], s["ms"])),
    st.sampled_from([300_000, 3_600_000]),
)
def test_roll_up_equals_a_plain_one(samples: list[dict[str, int]], every_ms: int) -> None:
    samples = sorted(samples, key=lambda s: (s["site"], s["ms"]))
    records = TELEMETRY.empty(len(samples))
    records["ts_ns"] = [HOUR_NS + s["ms"] * NS_PER_MS for s in samples]
    records["soc_frac"] = [s["soc"] / 10_000 for s in samples]
    for name in POWERS:
        records[name] = [s["power"] for s in samples]
    for name in REGISTER_NAMES:
        records[name] = [s["wh"] for s in samples]
    records["flags"] = [s["flags"] for s in samples]
    records["present"] = [s["present"] for s in samples]
    site_no = np.array([s["site"] for s in samples], dtype=np.int32)
    stored = to_stored(records, site_no, records["ts_ns"])
    rolled = roll_up(stored, hour_ns=HOUR_NS, every_ns=every_ms * NS_PER_MS, hold_ns=HOLD_MS * NS_PER_MS)
    expected = _plain(samples, every_ms)
    rows = rolled.to_pylist()
    assert [(r["site_no"], (r["start_ns"] - HOUR_NS) // NS_PER_MS // every_ms) for r in rows] == sorted(
        expected
    )
    for row in rows:
        want = expected[row["site_no"], (row["start_ns"] - HOUR_NS) // NS_PER_MS // every_ms]
        assert (row["samples"], row["suspect_samples"]) == (want["samples"], want["suspect"])
        assert row["coverage_frac"] == pytest.approx(float(want["covered"] / every_ms), rel=1e-6)
        for name in POWERS:
            if want["weight", name]:
                mean = float(want["sum", name] / want["weight", name])
                assert row[name] == pytest.approx(mean, rel=1e-6, abs=1e-3)
            else:
                assert row[name] is None
        socs, whs = want["socs"], want["whs"]
        assert row["soc_min_e4"] == min(socs, default=None)
        assert row["soc_max_e4"] == max(socs, default=None)
        assert row["soc_last_e4"] == (socs[-1] if socs else None)
        assert row["charge_first_wh"] == (whs[0] if whs else None)
        assert row["export_last_wh"] == (whs[-1] if whs else None)


def _plain(samples: list[dict[str, int]], every_ms: int) -> dict[tuple[int, int], dict[Any, Any]]:
    """Roll up millisecond by millisecond's worth, in fractions."""
    out: dict[tuple[int, int], dict[Any, Any]] = {}

    def cell(site: int, bucket: int) -> dict[Any, Any]:
        zero = {(kind, name): Fraction(0) for kind in ("sum", "weight") for name in POWERS}
        fresh: dict[Any, Any] = {
            "samples": 0,
            "suspect": 0,
            "covered": Fraction(0),
            "socs": [],
            "whs": [],
            **zero,
        }
        return out.setdefault((site, bucket), fresh)

    for sample, following in zip(samples, [*samples[1:], None], strict=True):
        here = cell(sample["site"], sample["ms"] // every_ms)
        here["samples"] += 1
        if sample["flags"] & int(SUSPECT):
            here["suspect"] += 1
            continue
        if sample["present"] & mask_of("soc_frac"):
            here["socs"].append(sample["soc"])
        if sample["present"] & mask_of("charge_wh"):
            here["whs"].append(sample["wh"])
        until = min(sample["ms"] + HOLD_MS, 3_600_000)
        if following is not None and following["site"] == sample["site"]:
            until = min(until, following["ms"])
        at = sample["ms"]
        while at < until:
            bucket = at // every_ms
            end = min(until, (bucket + 1) * every_ms)
            there = cell(sample["site"], bucket)
            there["covered"] += end - at
            for name in POWERS:
                if sample["present"] & mask_of(name):
                    there["sum", name] += sample["power"] * (end - at)
                    there["weight", name] += end - at
            at = end
    return out


@given(
    st.lists(
        st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**62), st.integers(0, 5)),
        min_size=1,
        max_size=50,
    )
)
def test_samples_are_ordered_by_hour_site_and_millisecond(rows: list[tuple[int, int, int]]) -> None:
    site = np.array([r[0] % (3 if r[2] else 2**31) for r in rows], dtype=np.int32)
    ts_ns = np.array(
        [r[1] if r[2] == 0 else HOUR_NS + r[1] % (3 * NS_PER_HOUR) for r in rows], dtype=np.int64
    )
    order, hour = hour_order(ts_ns, site)
    got = [(int(hour[i]), int(site[i]), int(ts_ns[i] // NS_PER_MS)) for i in order]
    assert got == sorted(got)
    assert sorted(order.tolist()) == list(range(len(rows)))
    assert (hour == ts_ns // NS_PER_HOUR).all()
