"""The peers of ingest: they read the plant's messages, the sum to expect is right, and who is absent is named."""

from __future__ import annotations

import importlib
import io
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shoal.cli.bench import Result
from shoal.cli.benches import _journal_peers, telemetry
from shoal.cli.benches._journal_peers import Followed, Shown, expected_sum_w, journal_peers
from shoal.cli.benches._peers import PEERS, READER_PINS, SCRIPTS, Absent
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.wire import V2_HEADER_BYTES, decode, encode
from shoal.simulate._load_kernel import stamp
from shoal.simulate.load_fleet import PRESENT, LoadPlan, prepare

PLAN = LoadPlan(sites=24, gateways=2, samples_per_message=3, burst=2, probes=0)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("journal")


def message_of(device: str, units: list[int], seq: int) -> Any:
    """A message of homes as it comes out of the journal."""
    records = TELEMETRY.empty(len(units))
    at = np.array(units)
    records["seq"] = seq
    records["ts_ns"] = (1_700_000_000_000 + 7 * at) * 1_000_000
    records["battery_w"], records["solar_w"], records["load_w"] = -100 * at, -3 * at, 5 * at
    records["soc_frac"], records["command_version"] = 0.25, 9 + at
    records["import_wh"] = 123_456_789
    payload = encode(
        records, oldest_seq=np.full(len(units), seq), present=PRESENT, units=at.astype(np.uint16)
    )
    return SimpleNamespace(subject=f"tele.3.{device}", data=payload)


def test_peers_decode_what_the_plant_sends(journal: ModuleType) -> None:
    job = SimpleNamespace(first_row={"gw-1": 0, "gw-2": 10})
    messages = [message_of("gw-2", [1, 4], 6), message_of("gw-1", [2, 3], 70_000)]
    updates = [update for message in messages for update in journal.decode(job, message)]
    assert updates == [
        (10, 6, 1_700_000_000_007, -100, -3, 5, 2_500, 10),
        (13, 6, 1_700_000_000_028, -400, -12, 20, 2_500, 13),
        (1, 70_000, 1_700_000_000_014, -200, -6, 10, 2_500, 11),
        (2, 70_000, 1_700_000_000_021, -300, -9, 15, 2_500, 12),
    ]
    rows, records = journal.decode_all(job, messages)
    names = ("seq", "battery_w", "solar_w", "load_w", "soc", "command_version")
    assert rows.tolist() == [update[0] for update in updates]
    for at, name in zip((1, 3, 4, 5, 6, 7), names, strict=True):
        assert records[name].tolist() == [update[at] for update in updates]


@pytest.mark.parametrize("byte", [0, 2, 6, 8])
def test_peers_refuse_what_they_do_not_know(journal: ModuleType, byte: int) -> None:
    job = SimpleNamespace(first_row={"gw-1": 0})
    message = message_of("gw-1", [1], 1)
    payload = bytearray(message.data)
    payload[byte] ^= 1
    message.data = bytes(payload)
    with pytest.raises(ValueError, match="homes"):
        journal.decode(job, message)
    with pytest.raises(ValueError, match="homes"):
        journal.decode_all(job, [message])


@pytest.mark.parametrize("first", [0, 3, 16])
@pytest.mark.parametrize("messages", [1, 5, 8, 37])
def test_expected_sum_is_that_of_all_messages_sent(first: int, messages: int) -> None:
    rings, places = prepare(PLAN)
    power_w: dict[int, int] = {}
    for number in range(first, first + messages):
        block, inside = divmod(number, PLAN.at_once)
        turn, connection = divmod(block, len(PLAN.devices))
        rounds, place = divmod(turn * PLAN.at_once + inside, PLAN.ring)
        stamp(rings[connection], places, place, 1, 1 + rounds, 0, 10**18, 0.0)
        begin = place * places.message_bytes + places.records_at
        payload = rings[connection][begin - V2_HEADER_BYTES : begin + places.records * places.record_bytes]
        records, _, units = decode(payload.tobytes())
        for record, unit in zip(records, units.tolist(), strict=True):
            row = connection * PLAN.each + unit - 1
            power_w[row] = int(record["battery_w"]) + int(record["solar_w"]) + int(record["load_w"])
    before, after = PLAN.last_seq(first), PLAN.last_seq(first + messages)
    assert expected_sum_w(PLAN, before, after) == sum(power_w.values())


def test_every_peer_can_read_the_journal_in_its_environment() -> None:
    peers = journal_peers()
    assert [one.label for one in peers] == [peer.label for peer in PEERS]
    for one in peers:
        assert set(READER_PINS) <= set(one.peer.pins)
        assert (SCRIPTS / f"{one.peer.module}.py").is_file()
    of_twins = {peer.name: peer.pins for peer in PEERS}
    assert all(of_twins.get(one.peer.name, one.peer.pins) == one.peer.pins for one in peers)


def test_shown_takes_the_last_line_and_ends_with_the_output() -> None:
    shown = Shown(io.StringIO("a warning\nshown 0 0 5\nshown 30 -12 9\n"))
    assert shown.wait(lambda: shown.has(30), 10.0)
    assert (shown.samples, shown.sum_w, shown.times_ns) == (30, -12, [5, 9])
    waited = threading.Event()
    assert not shown.wait(lambda: waited.is_set() or shown.has(31), 600.0)


def test_absent_peers_have_rows_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ours = Result(case="ingest_k1", size="s", value=1_000.0, unit="samples/s", better="higher")
    monkeypatch.setattr(telemetry, "_ingest", lambda case, plan, quick: [ours])
    own, *rows = telemetry.ingest_k1(quick=True)
    assert own == ours
    assert [row.peer for row in rows] == [peer.label for peer in PEERS]
    assert all(row.peer_value is None and row.ratio is None and row.value == 1_000.0 for row in rows)
    assert all("absent: it is not installed" in row.size for row in rows)


def test_rows_have_the_peers_values(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = journal_peers()

    async def measure(plan: LoadPlan, duration_s: float, *, install: bool) -> list[Any]:
        followed = Followed(rate_per_s=250.0, slowest_refresh_ms=31.0)
        return [(first, followed), (second, Absent("its sum is wrong"))]

    ours = Result(case="ingest_k25", size="s", value=1_000.0, unit="samples/s", better="higher")
    monkeypatch.setattr(telemetry, "_ingest", lambda case, plan, quick: [ours])
    monkeypatch.setattr(_journal_peers, "measure_peers", measure)
    _, there, absent = telemetry.ingest_k25(quick=True)
    assert (there.peer, there.peer_value, there.ratio) == (first.label, 250.0, 4.0)
    assert "slowest refresh 31 ms" in there.size
    assert absent.peer_value is None and "absent: its sum is wrong" in absent.size
