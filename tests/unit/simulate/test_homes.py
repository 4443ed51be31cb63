"""The simulated homes on connections in memory: what they say, how often, and what their own books make of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from nacl.signing import SigningKey

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.negotiate import answer_hello, refuse_versions
from shoal.domain.orders import DroopArming, ScheduledEvent, SiteOrders
from shoal.domain.pace import Pace, encode_pace
from shoal.domain.telemetry import DeviceType, mask_of
from shoal.domain.wire import decode
from shoal.edge.downlink import Message
from shoal.edge.signed import Issuer, Verifier, make_certificate
from shoal.simulate.fleet import devices_of, plan_fleet, present_of
from shoal.simulate.owners import OwnerAct
from tests.unit.simulate.stand import FLEET, SITES, START_NS, Minute, Stand, lease


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.wires.release()


def test_every_site_says_every_minute_once(stand: Stand) -> None:
    stand.run(5)
    assert stand.wires.samples() == {row: [1, 2, 3, 4, 5] for row in range(SITES)}
    assert stand.released() == [SITES * minute for minute in range(1, 6)]
    assert len(stand.wires.sent) == 5 * SITES
    for row, payload in stand.wires.sent:
        records, oldest_seq, _ = decode(payload)
        assert oldest_seq == 1, row
        assert records["ts_ns"][0] == START_NS + records["seq"][0] * NS_PER_MINUTE


def test_reports_of_several_minutes_carry_each_of_them() -> None:
    stand = Stand(report_steps=3)
    stand.run(12)
    stand.wires.release()
    arrived = stand.wires.samples()
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in arrived.values())
    assert all(10 <= len(numbers) <= 12 for numbers in arrived.values())
    assert sum(map(len, arrived.values())) == stand.released()[-1]
    assert {len(decode(payload)[0]) for _, payload in stand.wires.sent[SITES:]} == {3}


def test_cut_off_site_says_everything_when_it_is_back(stand: Stand) -> None:
    stand.network.offline = {minute: [2] for minute in (2, 3, 4)}
    stand.run(6)
    assert stand.wires.samples()[2] == [1, 2, 3, 4, 5, 6]
    assert stand.released() == [7, 13, 19, 25, 35, 42]
    assert stand.homes.statistics().created == 6 * SITES


def test_repeated_message_counts_once(stand: Stand) -> None:
    stand.network.twice = {(2, 0), (2, 5)}
    stand.run(3)
    assert stand.wires.samples()[0] == [1, 2, 2, 3]
    assert stand.released() == [7, 14, 21]
    assert stand.homes.statistics().repeated == 2


def test_late_message_is_released_when_it_is_due(stand: Stand) -> None:
    stand.network.late = {(2, 3): 2}
    stand.run(5)
    assert stand.wires.samples()[3] == [1, 3, 2, 4, 5]
    assert stand.released() == [7, 13, 20, 28, 35]
    assert stand.homes.statistics().late == 1


def test_late_message_waits_for_its_site_to_be_online(stand: Stand) -> None:
    stand.network.late = {(2, 3): 1}
    stand.network.offline = {3: [3], 4: [3]}
    stand.run(5)
    assert sorted(stand.wires.samples()[3]) == [1, 2, 3, 4, 5]
    assert stand.released() == [7, 13, 19, 25, 35]


def test_draining_brings_everything_out(stand: Stand) -> None:
    stand.network.late = {(3, row): 60 for row in range(SITES)}
    stand.network.offline = {minute: [1, 4] for minute in range(2, 99)}
    stand.run([(1, {}), (2, {}), (3, {}), (3, {"draining": 1}), (3, {"draining": 1, "closing": 1})])
    assert stand.released()[-1] == 3 * SITES == stand.clock.accounts["released"]
    assert {row: sorted(numbers) for row, numbers in stand.wires.samples().items()} == {
        row: [1, 2, 3] for row in range(SITES)
    }


def test_draining_releases_reports_that_are_not_yet_due() -> None:
    stand = Stand(report_steps=5)
    stand.run([(1, {}), (2, {}), (3, {}), (3, {"draining": 1, "closing": 1})])
    stand.wires.release()
    assert stand.released()[-1] == 3 * SITES
    assert all(numbers == [1, 2, 3] for numbers in stand.wires.samples().values())


def test_broken_connection_is_followed_by_what_may_be_lost(stand: Stand) -> None:
    def cut() -> None:
        stand.durable(6, 1)
        stand.wires.cut([6], lose=1)
        stand.wires.raise_up([6])

    stand.acts = {4: cut}
    stand.run(5)
    assert sorted(set(stand.wires.samples()[6])) == [1, 2, 3, 4, 5]
    assert decode(stand.wires.lost[0][1])[0]["seq"].tolist() == [3]
    assert stand.released() == [7, 14, 21, 28, 35], "what is said again is not released again"
    assert stand.homes.statistics().resent == 2, "the first is durable"


def test_connection_that_breaks_while_its_site_is_cut_off_loses_nothing(stand: Stand) -> None:
    """The engine dies with a sample in a buffer; when it is back, the site's own network is down."""

    def cut() -> None:
        at = next(n for n, (row, _) in reversed(list(enumerate(stand.wires.sent))) if row == 2)
        stand.wires.lost.append(stand.wires.sent.pop(at))
        stand.wires.cut([2])
        stand.wires.raise_up([2])

    stand.network.offline = {3: [2], 4: [2]}
    stand.acts = {4: cut}
    stand.run(6)
    assert decode(stand.wires.lost[0][1])[0]["seq"].tolist() == [2]
    assert sorted(set(stand.wires.samples()[2])) == [1, 2, 3, 4, 5, 6]


def test_held_message_goes_out_with_what_is_said_again(stand: Stand) -> None:
    stand.network.late = {(2, 5): 60}

    def cut() -> None:
        stand.wires.cut([5])
        stand.wires.raise_up([5])

    stand.acts = {4: cut}
    stand.run(4)
    assert sorted(set(stand.wires.samples()[5])) == [1, 2, 3, 4]
    assert stand.released()[-1] == 4 * SITES


def test_durable_samples_are_forgotten(stand: Stand) -> None:
    stand.acts = {3: lambda: stand.durable(0, 2)}
    stand.run(4)
    (last,) = [payload for row, payload in stand.wires.sent[-SITES:] if row == 0]
    assert decode(last)[1].tolist() == [3]
    assert stand.homes.statistics().durable_received == 1


def test_lease_is_followed_and_reported(stand: Stand) -> None:
    stand.world.stored_kwh[:] = FLEET.nameplate["energy_capacity_kwh"] * 0.8
    stand.acts = {2: lambda: stand.tell(0, lease(1, -2_000, version=9))}
    stand.run(4)
    records = np.concatenate([decode(payload)[0] for row, payload in stand.wires.sent if row == 0])
    assert records["battery_w"].tolist()[1:] == [-2_000] * 3
    assert records["command_version"].tolist() == [0, 9, 9, 9]
    assert records["discharge_wh"][-1] == 100
    figures = stand.homes.statistics()
    assert (figures.desired_received, figures.desired_rejected) == (1, 0)


def document(version: int, minute: int, battery_w: int, *, minutes: int = 15, **values: Any) -> SiteOrders:
    start_ns = START_NS + minute * NS_PER_MINUTE
    event = ScheduledEvent(
        event_id="peak-1",
        program="peak",
        kind="power",
        start_ns=start_ns,
        end_ns=start_ns + minutes * NS_PER_MINUTE,
        battery_w=battery_w,
    )
    return SiteOrders(
        version=version, issued_ns=START_NS, issuer="control", fence=1, events=(event,), **values
    )


def test_orders_are_followed_and_answered(stand: Stand) -> None:
    stand.acts = {2: lambda: stand.order(0, document(4, 2, -1_500, minutes=2))}
    stand.run(6)
    # The samples of minutes 3 and 4 show the event; no lease is followed.
    shown = [decode(payload)[0] for row, payload in stand.wires.sent if row == 0]
    powers = [int(record["battery_w"][0]) for record in shown]
    assert [power == -1_500 for power in powers] == [False, False, True, True, False, False]
    assert all(record["command_version"][0] == 0 for record in shown)
    ((row, unit, report),) = stand.wires.answers
    assert (row, unit, report.kind, report.version, report.outcome) == (0, 0, "orders", 4, "applied")
    figures = stand.homes.statistics()
    assert (figures.orders_received, figures.orders_rejected, figures.answered) == (1, 0, 1)


def test_events_of_many_sites_end_with_no_violation(stand: Stand) -> None:
    def order_all() -> None:
        for row in range(SITES):
            stand.order(row, document(1, 3, 2_000 if row % 2 else -2_000, minutes=30))

    stand.acts = {2: order_all, 12: lambda: stand.order(1, document(2, 0, 0, halted=True))}
    stand.run([*((minute, {}) for minute in range(1, 60)), (60, {"closing": 1})])
    account = stand.clock.accounts
    assert [account[f"{kind}_violations"] for kind in ("lease", "reserve", "limit")] == [0, 0, 0], account


def test_owners_leave_an_event_and_raise_their_reserve() -> None:
    start_ns = START_NS
    acts = [
        OwnerAct(t_ns=start_ns + 210 * NS_PER_S, row=0, kind="leave", event_id="peak-1"),
        OwnerAct(t_ns=start_ns + 240 * NS_PER_S, row=1, kind="reserve", reserve_frac=1.0),
        OwnerAct(t_ns=start_ns + 300 * NS_PER_S, row=2, kind="leave", event_id="unknown"),
        OwnerAct(t_ns=start_ns + 360 * NS_PER_S, row=0, kind="return", event_id="peak-1"),
    ]
    stand = Stand(owner_acts=acts)
    stand.world.stored_kwh = FLEET.nameplate["energy_capacity_kwh"] * 0.9

    def order() -> None:
        for row in (0, 1):
            stand.order(row, document(1, 2, -1_500, minutes=30))

    stand.acts = {2: order}
    stand.run([*((minute, {}) for minute in range(1, 9)), (9, {"closing": 1})])
    stand.wires.release()
    powers = {
        row: [
            int(decode(payload)[0]["battery_w"][0]) == -1_500
            for sender, payload in stand.wires.sent
            if sender == row
        ]
        for row in (0, 1)
    }
    assert powers[0] == [False, False, True, False, False, False, True, True, True]
    assert powers[1] == [False, False, True, True, False, False, False, False, False]
    said = [(row, report.reason, report.opted_out) for row, _, report in stand.wires.answers if report.reason]
    assert said == [(0, "owner", ("peak-1",)), (0, "owner", ())]
    account = stand.clock.accounts
    assert [account[f"{kind}_violations"] for kind in ("lease", "reserve", "limit")] == [0, 0, 0], account


def test_armed_sites_answer_the_frequency() -> None:
    stand = Stand(frequency_hz=lambda t_ns: 49.8 if t_ns >= START_NS + 3 * NS_PER_MINUTE else 50.0)
    stand.world.stored_kwh = FLEET.nameplate["energy_capacity_kwh"] * 0.9
    droop = DroopArming(
        start_ns=START_NS,
        end_ns=START_NS + 60 * NS_PER_MINUTE,
        reference_hz=50.0,
        deadband_hz=0.02,
        full_deviation_hz=0.2,
        up_w=1_000,
    )
    stand.acts = {2: lambda: stand.order(0, document(1, 2, -1_500, minutes=30, droop=droop))}
    stand.run([*((minute, {}) for minute in range(1, 5)), (5, {"closing": 1})])
    stand.wires.release()
    powers = [int(decode(payload)[0]["battery_w"][0]) for row, payload in stand.wires.sent if row == 0]
    assert powers[2:] == [-1_500, -2_500, -2_500]
    assert stand.clock.accounts["lease_violations"] == 0


def test_site_with_a_root_key_takes_nothing_unsigned() -> None:
    root, seed = bytes(range(32)), bytes(range(32, 64))
    public, its = (bytes(SigningKey(key).verify_key) for key in (root, seed))
    certificate = make_certificate(
        root,
        issuer="control",
        tenant="plant",
        public_key=its,
        not_before_ns=0,
        not_after_ns=2**62,
        kinds=("desired", "orders"),
    )
    stand = Stand(verifier=Verifier(public, "plant"))
    plain = msgspec.json.encode(lease(1, -2_000, version=9))
    site = FLEET.site_ids[0]
    frames = Issuer(seed, certificate).sign_batch(
        [(site, "desired", plain), (FLEET.site_ids[1], "desired", plain)]
    )

    def send() -> None:
        stand.wires.inbox += [Message(0, "desired", payload) for payload in (plain, frames[1], frames[0])]

    stand.acts = {2: send}
    stand.run(3)
    stand.wires.release()
    said = [(report.outcome, report.reason, report.version) for _, _, report in stand.wires.answers]
    assert said == [("refused", "unsigned", 0), ("refused", "forged", 0), ("applied", "", 9)]
    figures = stand.homes.statistics()
    assert (figures.forged, figures.desired_rejected, figures.answered) == (2, 2, 3)


def test_word_that_cannot_be_used_is_refused_and_counted(stand: Stand) -> None:
    def tell() -> None:
        stand.tell(0, lease(-60, -2_000, minutes=15))
        stand.wires.inbox.append(Message(1, "desired", b'{"\xff": 1}'))
        stand.wires.inbox.append(Message(1, "durable", b"nonsense"))
        stand.wires.inbox.append(Message(1, "pace", b"nonsense"))
        stand.wires.inbox.append(Message(1, "schema", b"nonsense"))

    stand.acts = {2: tell}
    stand.run(3)
    assert stand.homes.statistics().desired_rejected == 2
    assert stand.wires.samples()[1] == [1, 2, 3]


def test_cut_off_site_hears_nothing(stand: Stand) -> None:
    stand.network.offline = {1: [0]}
    stand.acts = {2: lambda: stand.tell(0, lease(1, -2_000))}
    stand.run(3)
    assert stand.homes.statistics().desired_received == 0
    records = np.concatenate([decode(payload)[0] for row, payload in stand.wires.sent if row == 0])
    assert set(records["command_version"].tolist()) == {0}


def test_downlink_on_its_way_is_waited_for(stand: Stand) -> None:
    """The plant says that it sent one; it comes in while the homes wait."""
    asked: list[float] = []
    plain_poll = stand.wires.poll

    def poll(timeout_s: float = 0.0) -> list[Message]:
        asked.append(timeout_s)
        if len(asked) == 40:
            stand.tell(0, lease(0, -2_000, version=5))
        return plain_poll(timeout_s)

    stand.wires.poll = poll  # type: ignore[method-assign]
    stand.run([(1, {"downlink_sent": 1}), (2, {})])
    first = next(decode(payload)[0] for row, payload in stand.wires.sent if row == 0)
    assert first["command_version"][0] == 5
    assert stand.homes.statistics().desired_missed == 0


def test_downlink_that_never_comes_is_taken_for_lost(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.simulate.homes.QUIET_S", 0.02)
    stand.run([(1, {"downlink_sent": 3}), (2, {})])
    assert stand.homes.statistics().desired_missed == 3
    assert stand.released() == [7, 14]


def test_tick_that_comes_again_makes_no_second_sample(stand: Stand) -> None:
    stand.clock.replays = {2}
    stand.run([(1, {}), (2, {}), (2, {}), (3, {})])
    assert all(numbers == sorted(set(numbers)) for numbers in stand.wires.samples().values())


def test_account_of_an_hour_balances(stand: Stand) -> None:
    def command() -> None:
        for row in range(SITES):
            stand.tell(row, lease(1, -1_500 if row % 2 else 1_500, minutes=59))

    stand.acts = {2: command}
    minutes: list[Minute] = [(minute, {}) for minute in range(1, 61)]
    stand.run([*minutes[:-1], (60, {"closing": 1})])
    account = stand.clock.accounts
    assert (account["created"], account["released"], account["lost_by_overflow"]) == (420, 420, 0)
    assert account["residual_wh"] == 0
    assert account["stored_balance_error_kwh"] == pytest.approx(0.0, abs=1e-9)
    assert (account["lease_violations"], account["reserve_violations"], account["limit_violations"]) == (
        0,
        0,
        0,
    )
    assert account["moved_wh"] > 0
    assert account["statistics"]["created"] == 420
    for resource in FLEET.resources:
        rows = FLEET.rows_in(resource.group_id)
        ((at_ns, net_wh, usable_wh),) = account["meters"][resource.resource_id]
        assert at_ns == START_NS + NS_PER_HOUR
        assert net_wh == int((stand.world.charge_wh - stand.world.discharge_wh)[rows].sum())
        assert usable_wh >= 0


def test_telemetry_says_what_the_meters_show(stand: Stand) -> None:
    stand.run(30)
    last = {row: decode(payload)[0][-1] for row, payload in stand.wires.sent[-SITES:]}
    for row in range(SITES):
        for name in ("charge_wh", "discharge_wh", "import_wh", "export_wh"):
            measured = bool(int(last[row]["present"]) & mask_of(name))
            assert measured == (row < SITES - 1 or name in ("charge_wh", "discharge_wh"))
            assert last[row][name] == getattr(stand.world, name)[row] * measured
        assert last[row]["soc_frac"] == pytest.approx(stand.world.soc_frac[row], abs=6e-5)


def test_plant_that_misses_a_sample_hears_everything_from_there_again(stand: Stand) -> None:
    def ask() -> None:
        stand.durable(2, 1, resend=True)

    stand.acts = {5: ask}
    stand.run(5)
    assert stand.wires.samples()[2] == [1, 2, 3, 4, 2, 3, 4, 5]
    assert stand.homes.statistics().asked_again == 1
    assert stand.released() == [7, 14, 21, 28, 35], "what is said again is not released again"


def test_request_for_what_is_missing_waits_for_its_site_to_be_online(stand: Stand) -> None:
    stand.network.offline = {4: [2]}
    stand.acts = {4: lambda: stand.durable(2, 1, resend=True)}
    stand.run(6)
    assert stand.wires.samples()[2] == [1, 2, 3, 2, 3, 4, 5, 6]


def test_hello_is_said_once_and_again_only_to_a_plant_that_refused(stand: Stand) -> None:
    def again() -> None:
        refusal = msgspec.json.encode(refuse_versions([2]))
        stand.wires.inbox.append(Message(3, "schema", refusal))
        stand.wires.inbox.append(
            Message(4, "schema", msgspec.json.encode(answer_hello(b'{"versions": [2, 1]}')))
        )

    def cut() -> None:
        stand.wires.cut(list(range(SITES)))
        stand.wires.raise_up(range(SITES))

    stand.acts = {2: again, 3: cut}
    stand.run(4)
    assert stand.wires.hellos == [*range(SITES), 3]
    assert stand.homes.statistics().hellos == SITES + 1
    assert stand.homes.statistics().versions_refused == 1


def test_plant_that_takes_only_the_first_version_is_spoken_to_in_it(stand: Stand) -> None:
    """What was said in the newer version was not taken, so it is said again."""
    answer = answer_hello(b'{"versions": [2, 1]}')
    old = msgspec.structs.replace(
        answer, version=1, accepts=msgspec.structs.replace(answer.accepts, versions=(1,))
    )
    stand.acts = {3: lambda: stand.wires.inbox.append(Message(1, "schema", msgspec.json.encode(old)))}
    stand.run(4)
    said = [(payload[2], decode(payload)[0]["seq"].tolist()) for row, payload in stand.wires.sent if row == 1]
    assert said == [(2, [1]), (2, [2]), (1, [1, 2]), (1, [3]), (1, [4])]
    assert {payload[2] for row, payload in stand.wires.sent if row != 1} == {2}


def slow_down(stand: Stand, minute: int, *, every_min: int, minutes: int) -> None:
    issued_ns = START_NS + minute * NS_PER_MINUTE
    word = Pace(every_s=60.0 * every_min, until_ns=issued_ns + minutes * NS_PER_MINUTE, issued_ns=issued_ns)
    for device in range(len(stand.wires.up)):
        stand.wires.inbox.append(Message(device, "pace", encode_pace(word)))


def test_slowed_sites_gather_their_samples_and_resume_by_themselves(stand: Stand) -> None:
    stand.acts = {11: lambda: slow_down(stand, 10, every_min=5, minutes=20)}
    stand.run(45)
    assert stand.wires.samples() == {row: list(range(1, 46)) for row in range(SITES)}, "nothing is lost"
    for row in range(SITES):
        sizes = [len(decode(payload)[0]) for sender, payload in stand.wires.sent if sender == row]
        assert sizes[:10] == [1] * 10 == sizes[-10:]
        assert max(sizes) == 5 and sizes.count(5) >= 3, sizes
    resumed = {
        max(
            int(decode(payload)[0]["seq"][-1])
            for r, payload in stand.wires.sent
            if r == row and len(decode(payload)[0]) > 1
        )
        for row in range(SITES)
    }
    assert resumed <= set(range(26, 37)) and len(resumed) > 1, "not all of them at once"
    assert stand.homes.statistics().slowed == 0


def test_command_is_followed_and_draining_goes_on_however_slow_the_pace(stand: Stand) -> None:
    stand.world.stored_kwh[:] = FLEET.nameplate["energy_capacity_kwh"] * 0.8

    def act() -> None:
        slow_down(stand, 1, every_min=60, minutes=600)
        stand.tell(0, lease(1, -2_000, version=9))

    stand.acts = {2: act}
    stand.run([*((minute, {}) for minute in range(1, 7)), (6, {"draining": 1, "closing": 1})])
    assert stand.world.discharge_wh[0] > 0
    records = np.concatenate([decode(payload)[0] for row, payload in stand.wires.sent if row == 0])
    assert records["command_version"].tolist() == [0, 9, 9, 9, 9, 9]
    assert stand.released()[-1] == 6 * SITES
    assert len([row for row, _ in stand.wires.sent if row == 0]) < 6


MIXED = plan_fleet(120, 5, ev_sites_frac=0.15, meter_sites_frac=0.2, gateway_frac=0.5)


def test_sites_of_every_type_send_what_they_have() -> None:
    stand = Stand(fleet=MIXED)
    stand.run(30)
    stand.wires.release()
    devices = devices_of(MIXED)
    assert 0 < len(MIXED.gateway_ids) == len(devices.gateways)
    row_of = {
        (device, unit): row
        for row, (device, unit) in enumerate(
            zip(devices.device_of.tolist(), MIXED.gateway_unit.tolist(), strict=True)
        )
    }
    latest: dict[int, Any] = {}
    arrived: dict[int, list[int]] = {row: [] for row in range(len(MIXED.site_ids))}
    masks = present_of(MIXED)
    for device, payload in stand.wires.sent:
        records, _, units = decode(payload)
        for record, unit in zip(records, units.tolist(), strict=True):
            row = row_of[device, unit]
            assert record["present"] == masks[row]
            arrived[row].append(int(record["seq"]))
            latest[row] = record
    assert set(map(tuple, arrived.values())) == {tuple(range(1, 31))}
    messages = sum(device in devices.gateways for device, _ in stand.wires.sent)
    behind = int((MIXED.gateway_of >= 0).sum())
    assert messages < 30 * behind / 4, "a gateway says much at once"
    for row, kind in enumerate(MIXED.device_type.tolist()):
        record = latest[row]
        if kind == DeviceType.METER:
            assert record["import_wh"] == stand.world.import_wh[row] > 0 == stand.world.export_wh[row]
            assert (record["battery_w"], record["solar_w"], record["ev_w"]) == (0, 0, 0)
        elif kind == DeviceType.EV_CHARGER:
            assert record["import_wh"] == stand.world.ev_wh[row] == stand.world.import_wh[row]
            assert record["load_w"] == 0 == stand.world.load_w[row]
        else:
            assert record["charge_wh"] == stand.world.charge_wh[row]


def test_word_for_a_site_behind_a_gateway_reaches_it() -> None:
    stand = Stand(fleet=MIXED)
    row = int(np.flatnonzero((MIXED.gateway_of >= 0) & (MIXED.device_type == DeviceType.HOME))[3])
    device, unit = int(devices_of(MIXED).device_of[row]), int(MIXED.gateway_unit[row])
    stand.world.stored_kwh[row] = MIXED.nameplate["energy_capacity_kwh"][row] * 0.8

    def tell() -> None:
        desired = msgspec.json.encode(lease(1, -2_000, version=9))
        stand.wires.inbox.append(Message(device, "desired", desired, unit))
        stand.wires.inbox.append(Message(device, "durable", b'{"seq": 1, "resend": true}', unit))
        stand.wires.inbox.append(Message(device, "desired", desired, 60_000))

    stand.acts = {3: tell}
    stand.run(4)
    stand.wires.release()
    assert np.flatnonzero(stand.world.discharge_wh).tolist().count(row) == 1
    assert stand.homes.statistics().desired_received == 1
    ((answering, behind, report),) = stand.wires.answers
    assert (answering, behind, report.outcome) == (device, unit, "applied")
    mine = [
        records["seq"][units == unit].tolist()
        for sender, payload in stand.wires.sent
        if sender == device
        for records, _, units in [decode(payload)]
        if (units == unit).any()
    ]
    assert sorted(seq for numbers in mine for seq in numbers) == [1, 2, 2, 3, 4]


def test_gateways_site_that_is_cut_off_catches_up_beside_its_neighbours() -> None:
    stand = Stand(fleet=MIXED)
    row = int(np.flatnonzero(MIXED.gateway_of >= 0)[7])
    device, unit = int(devices_of(MIXED).device_of[row]), int(MIXED.gateway_unit[row])
    stand.network.offline = {minute: [row] for minute in (2, 3)}
    stand.network.late = {(4, int(np.flatnonzero(MIXED.gateway_of >= 0)[0])): 60}
    stand.run([*((minute, {}) for minute in range(1, 7)), (6, {"draining": 1, "closing": 1})])
    stand.wires.release()
    mine = [
        int(seq)
        for sender, payload in stand.wires.sent
        if sender == device
        for records, _, units in [decode(payload)]
        for seq in records["seq"][units == unit]
    ]
    assert sorted(mine) == [1, 2, 3, 4, 5, 6]
    assert stand.released()[-1] == 6 * len(MIXED.site_ids)
