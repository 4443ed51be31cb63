"""The plan of a load: every sample once, numbered without holes, in messages that the plant understands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.directory import Directory
from shoal.domain.errors import InvalidInputError
from shoal.domain.wire import decode
from shoal.simulate._load_kernel import POWER_STEPS, stamp
from shoal.simulate.load_fleet import LoadPlan, Transport, plan_load_fleet, prepare
from shoal.store.fleet_rows import check_fleet

PLANS = (
    LoadPlan(sites=60, gateways=4, samples_per_message=1, burst=4, probes=5),
    LoadPlan(sites=60, gateways=4, samples_per_message=5, burst=2, probes=5),
    LoadPlan(sites=50, gateways=3, samples_per_message=4, burst=16, probes=1, first_seq=9),
    LoadPlan(sites=7, gateways=0, samples_per_message=1, probes=3),
    LoadPlan(sites=7, gateways=0, samples_per_message=3, probes=7, transport=Transport.MQTT),
    LoadPlan(sites=12, gateways=2, samples_per_message=2, transport=Transport.MQTT, probes=0),
)


def sent_by(plan: LoadPlan, messages: int) -> list[tuple[int, int, int]]:
    """Row, sample and message of everything that the first messages bring, by counting burst after burst."""
    turns = [0] * len(plan.devices)
    out: list[tuple[int, int, int]] = []
    message = 0
    while message < messages:
        connection = message // plan.at_once % len(plan.devices)
        local = turns[connection]
        turns[connection] += 1
        for record in range(plan.samples_per_message):
            if plan.gateways:
                rounds, place = divmod(local, plan.ring)
                row = connection * plan.each + place * plan.samples_per_message + record
                out.append((row, plan.first_seq + rounds, message))
            else:
                out.append((connection, plan.first_seq + local * plan.samples_per_message + record, message))
        message += 1
    return out


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("messages", [0, 1, 7, 64, 333])
def test_plan_knows_what_was_sent(plan: LoadPlan, messages: int) -> None:
    last = np.full(len(plan.site_ids), plan.first_seq - 1)
    for row, seq, message in sent_by(plan, messages):
        assert seq == last[row] + 1
        last[row] = seq
        assert plan.message_of(row, seq) == message
    assert plan.last_seq(messages).tolist() == last.tolist()


@pytest.mark.parametrize("plan", PLANS)
def test_fleet_is_one_that_the_registry_takes(plan: LoadPlan) -> None:
    fleet = plan_load_fleet(plan)
    check_fleet(fleet)
    assert len(fleet.site_ids) >= plan.sites
    assert fleet.site_ids == plan.site_ids
    probed = fleet.leaf_group.get("load-probes")  # type: ignore[call-overload]
    if plan.probes:
        assert np.flatnonzero(probed >= 0).tolist() == plan.probe_rows.tolist()
        assert len(set(probed[plan.probe_rows].tolist())) == plan.probes
    else:
        assert probed is None


def payload_of(plan: LoadPlan, ring: NDArray[np.uint8], place: int, size: int) -> tuple[bytes, bytes]:
    """Cut one message out of its frame as the server would; return the address and the payload."""
    message = ring[place * size : (place + 1) * size].tobytes()
    if plan.transport is Transport.NATS:
        line, _, rest = message.partition(b"\r\n")
        verb, subject, length = line.split(b" ")
        assert verb == b"PUB" and rest.endswith(b"\r\n") and len(rest) == int(length) + 2
        return subject, rest[:-2]
    assert message[0] == 0x30
    at, shift, length_bytes = 1, 0, 0
    while True:
        length_bytes |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 0x80:
            break
    assert len(message) == at + length_bytes
    topic_bytes = int.from_bytes(message[at : at + 2], "big")
    return message[at + 2 : at + 2 + topic_bytes].replace(b"/", b"."), message[at + 2 + topic_bytes :]


@pytest.mark.parametrize("plan", PLANS)
def test_messages_say_who_when_and_which_sample(plan: LoadPlan) -> None:
    fleet = plan_load_fleet(plan)
    directory = Directory.of_fleet(fleet)
    rings, places = prepare(plan)
    meant_ns, step_ns = 1_700_000_000_123_456_789, 2_500_000.0
    seen: set[int] = set()
    for number, device in enumerate(plan.devices):
        stamp(rings[number], places, 0, plan.ring, 5_000, 0 if plan.gateways else 1, meant_ns, step_ns)
        for place in range(plan.ring):
            subject, payload = payload_of(plan, rings[number], place, places.message_bytes)
            assert subject == f"dev.{device}.tele".encode()
            records, oldest_seq, units = decode(payload)
            rows = [row_of(directory, device, unit) for unit in units.tolist()]
            expected_seq = [5_000 + (0 if plan.gateways else k) for k in range(plan.samples_per_message)]
            assert records["seq"].tolist() == oldest_seq.tolist() == expected_seq
            assert records["battery_w"].tolist() == [seq % POWER_STEPS for seq in expected_seq]
            assert records["import_wh"].tolist() == expected_seq
            assert set((records["ts_ns"] - meant_ns - int(place * step_ns)) // 1_000_000) <= {-1, 0}
            seen.update(rows)
    assert seen == set(range(len(fleet.site_ids)))


def row_of(directory: Directory, device: str, unit: int) -> int:
    gateway = directory.gateway(device.encode())
    return directory.row(device.encode()) if gateway < 0 else directory.unit_row(gateway, unit)


@pytest.mark.parametrize(
    "values",
    [{"sites": 0}, {"sites": 3, "gateways": 4}, {"sites": 100_000, "gateways": 1}, {"sites": 1, "burst": 0}],
)
def test_plan_out_of_range_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        LoadPlan(**{"probes": 0, "gateways": 1, **values}).each  # noqa: B018
