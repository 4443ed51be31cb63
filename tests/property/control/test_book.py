"""Whatever is asked, lost and answered: in the end every device has what stands, and nothing else."""

from __future__ import annotations

import json

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.control.desired_book import DesiredBook, Entry
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.orders import OrderReport, ScheduledEvent, SiteOrders
from tests.unit.control.plants import START_NS

SITES = 5
MINUTES = 24
rows = st.sets(st.integers(0, SITES - 1), max_size=SITES)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), rows, st.integers(-3, 3), st.integers(1, 2 * MINUTES)),
        st.tuples(st.just("drop"), st.integers(0, 3)),
        st.tuples(st.just("halt"), rows),
        st.tuples(st.just("restart")),
        st.tuples(st.just("pass")),
    ),
    max_size=MINUTES,
)


class Device:
    """Takes documents as a device does: newer versions alone."""

    def __init__(self) -> None:
        self.document = SiteOrders(version=0, issued_ns=0, issuer="", fence=0)

    def take(self, payload: bytes) -> OrderReport:
        document = msgspec.json.decode(payload, type=SiteOrders)
        newer = document.version > self.document.version
        if newer:
            self.document = document
        return OrderReport(
            kind="orders",
            version=document.version,
            outcome="applied" if newer else "refused",
            reason="" if newer else "stale_version",
            t_ns=0,
        )


@settings(max_examples=150, deadline=None)
@given(plan=steps, seed=st.integers(0, 2**16))
def test_devices_converge_to_what_stands(plan: list[tuple[object, ...]], seed: int) -> None:
    random = np.random.default_rng(seed)
    book = DesiredBook(SITES)
    devices = [Device() for _ in range(SITES)]
    wanted: dict[str, Entry] = {}
    halted = np.zeros(SITES, dtype=np.bool_)
    t_ns = START_NS

    def exchange(*, lossless: bool) -> None:
        book.forget_ended(t_ns)
        due = book.due(t_ns, spoke_ns=np.full(SITES, t_ns), patience_ns=10 * NS_PER_S)
        made = book.documents(due, t_ns, issuer="control", fence=1)
        for row, payload in zip(due.tolist(), made.payloads, strict=True):
            if lossless or random.random() < 0.6:
                report = devices[row].take(payload)
                if lossless or random.random() < 0.6:
                    book.report(row, report)

    for step in [*plan, *[("pass",)] * 3]:
        t_ns += NS_PER_MINUTE
        if step[0] == "put":
            _, number, named, power_w, minutes = step
            key, end_ns = f"e{number}", t_ns + minutes * NS_PER_MINUTE  # type: ignore[operator]
            item = ScheduledEvent(
                event_id=key,
                program="peak",
                kind="power",
                start_ns=START_NS,
                end_ns=end_ns,
                battery_w=power_w,  # type: ignore[arg-type]
            )
            entry = Entry(key=key, item=item, end_ns=end_ns, rows=np.array(sorted(named), dtype=np.int64))  # type: ignore[call-overload]
            wanted[key] = entry
            book.put(entry)
        elif step[0] == "drop":
            wanted.pop(f"e{step[1]}", None)
            book.drop(f"e{step[1]}")
        elif step[0] == "halt":
            halted = np.isin(np.arange(SITES), sorted(step[1]))  # type: ignore[call-overload]
            book.halt(halted)
        elif step[0] == "restart":
            heir = DesiredBook(SITES)
            heir.restore(json.loads(json.dumps(book.state())))
            for entry in wanted.values():
                if entry.end_ns > t_ns:
                    heir.put(entry)
            heir.halt(halted)
            book = heir
        exchange(lossless=False)
    for _ in range(3):
        t_ns += 2 * 3_600 * NS_PER_S // 3
        exchange(lossless=True)
    for row, device in enumerate(devices):
        standing = {key for key, entry in wanted.items() if row in entry.rows and entry.end_ns > t_ns}
        alive = {event.event_id for event in device.document.events if event.end_ns > t_ns}
        assert alive == standing
        assert device.document.halted == bool(halted[row])
    assert len(book.unheard()) == 0
