"""What twins are asked, and the decoder in front of them: one site by its name, all sites, and messages of the journal."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from shoal.cli.bench import Result
from shoal.cli.benches._timing import timed
from shoal.cli.benches._twin_inputs import DELAY_NS, START_NS, STEP_NS, make_fleet
from shoal.domain.directory import Directory
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.telemetry import PRESENT_OF, TELEMETRY, DeviceType
from shoal.domain.twins import AskTwins, ShardAnswer, merge_answers
from shoal.domain.wire import encode_messages
from shoal.fabric.batch import JournalBatch
from shoal.fabric.subjects import journal_subject
from shoal.runtime.clock import SystemClock
from shoal.telemetry.decode import Decoder
from shoal.telemetry.shard import Shard
from shoal.twin.clockrule import ClockRule
from shoal.twin.layout import Layout

_ASKED: Final = 500
_MESSAGES: Final = {1: 8_192, 25: 2_048}
"""Messages of a batch, by records in each."""


def make_shard(fleet: Fleet, layout: Layout) -> Shard:
    """Return a shard of the whole fleet."""
    rows = np.arange(len(fleet.site_ids))
    return Shard(number=0, fleet=fleet, rows=rows, layout=layout, time=SystemClock(), clock_rule=ClockRule())


def ask(quick: bool) -> list[Result]:
    """Return how long the latest record of one site by its name takes, and those of all."""
    sites = 10_000 if quick else 100_000
    fleet = make_fleet(sites)
    shard, directory = make_shard(fleet, Layout.of(fleet)), Directory.of_fleet(fleet)
    shard.take(_journal(fleet, messages=sites, records=1)[0])
    names = [
        fleet.site_ids[row].encode() for row in np.random.default_rng(4).integers(0, sites, _ASKED).tolist()
    ]

    def one_by_one(names: list[bytes]) -> None:
        for name in names:
            question = AskTwins(rows=np.array([directory.row(name)]).tobytes())
            answer = shard.answer(question, t_ns=0, token=1)
            if np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)["seq"][0] != 1:
                raise RuntimeError(f"the twin of {name.decode()} is not what was sent")

    def all_at_once(sites: int) -> None:
        parts: list[ShardAnswer] = []
        first = 0
        while first < sites:
            said = msgspec.msgpack.encode(shard.answer(AskTwins(first=first), t_ns=0, token=1))
            parts.append(msgspec.msgpack.decode(said, type=ShardAnswer))
            first += len(parts[-1].rows) // 8
        merge_answers(parts, sites)

    one, every = timed(one_by_one, ready=lambda: names), timed(all_at_once, ready=lambda: sites)
    about = f"all {sites:,} sites, encoded, decoded and put together; {every.about_ms()}"
    return [
        Result(
            case="ask",
            size=f"one of {sites:,} sites by name",
            value=1e6 * one.took_s / _ASKED,
            unit="us",
            better="lower",
        ),
        Result(case="ask", size=about, value=1e3 * every.took_s, unit="ms", better="lower"),
    ]


def decode(quick: bool) -> list[Result]:
    """Return how many messages a second are decoded: of own connections, and of gateways with many samples."""
    sites = 10_000 if quick else 100_000
    rows: list[Result] = []
    for records, most in _MESSAGES.items():
        fleet = make_fleet(sites, gateways=sites // records if records > 1 else 0)
        messages = min(most, sites // records)
        batch, message_bytes = _journal(fleet, messages=messages, records=records)
        decoder = Decoder(directory=Directory.of_fleet(fleet), reuse=True)
        if decoder.decode(batch).usable.sum() != messages * records:
            raise RuntimeError("the decoder did not take every record")
        timing = timed(decoder.decode, ready=lambda batch=batch: batch, repeats=21)  # type: ignore[misc]
        about = (
            f"{records} records a message of {message_bytes} bytes, {messages:,} messages at once, "
            f"{sites:,} known sites; {timing.about(messages)}"
        )
        for unit, count in (("messages/s", messages), ("records/s", messages * records)):
            rows.append(
                Result(case="decode", size=about, value=count / timing.took_s, unit=unit, better="higher")
            )
    return rows


def _journal(fleet: Fleet, *, messages: int, records: int) -> tuple[JournalBatch, int]:
    """Return messages of random senders as a reader of the journal gives them, and the size of one."""
    random = np.random.default_rng(6)
    senders = fleet.gateway_ids or fleet.site_ids
    chosen = random.permutation(len(senders))[:messages].tolist()
    sent = TELEMETRY.empty(messages * records).reshape(messages, records)
    sent["ts_ns"], sent["seq"] = START_NS + STEP_NS, 1
    for name, low, high in (("battery_w", -5_000, 5_001), ("solar_w", -4_000, 1), ("load_w", 100, 6_001)):
        sent[name] = random.integers(low, high, sent.shape)
    for name in ("charge_wh", "discharge_wh", "import_wh", "export_wh"):
        sent[name] = random.integers(0, 10_000_000, sent.shape)
    sent["soc_frac"] = random.integers(0, 10_001, sent.shape) / 1e4
    payloads = encode_messages(
        sent,
        oldest_seq=sent["seq"],
        present=PRESENT_OF[DeviceType.HOME],
        units=np.arange(1, records + 1) if fleet.gateway_ids else None,
    )
    pairs = [
        (journal_subject(SiteId(senders[number])).encode(), payload.tobytes())
        for number, payload in zip(chosen, payloads, strict=True)
    ]
    arrival_ns = np.full(messages, START_NS + STEP_NS + DELAY_NS)
    return JournalBatch.of(pairs, timestamp_ns=arrival_ns), int(payloads.itemsize)
