"""Certificates of commands: replaced while the process runs, long before they end, also for devices whose clocks are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.control.issuing import BEFORE_NS, CERTIFIED_NS, KINDS, LOOK_NS, RENEW_NS, LivingIssuer
from shoal.domain.errors import CorruptStateError
from shoal.domain.interval import NS_PER_HOUR
from shoal.edge.signed import ForgedError, Verifier, make_certificate
from shoal.fabric.command_keys import ISSUER_CERTIFICATE, ROOT_SEED, CommandKeys

START_NS = 1_790_000_000 * 10**9
DAY_NS = 24 * NS_PER_HOUR


class Watch:
    def __init__(self) -> None:
        self.now_ns = START_NS


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def keys(tmp_path: Path) -> CommandKeys:
    return CommandKeys.create_or_load(tmp_path / "keys")


def living(directory: Path, watch: Watch) -> LivingIssuer:
    return LivingIssuer(
        lambda: CommandKeys.create_or_load(directory / "keys"), name="control", now_ns=lambda: watch.now_ns
    )


def opens(verifier: Verifier, frame: bytes, now_ns: int) -> bool:
    try:
        return verifier.open("home-1", "desired", frame, now_ns) == b"{}"
    except ForgedError as error:
        assert error.reason == "expired_certificate"
        return False


def sign(issuer: LivingIssuer) -> bytes:
    (frame,) = issuer.sign_batch([("home-1", "desired", b"{}")])
    return frame


def test_process_of_a_year_signs_with_certificates_that_hold(
    tmp_path: Path, keys: CommandKeys, watch: Watch
) -> None:
    issuer = living(tmp_path, watch)
    device = Verifier(keys.root_public, "plant")
    for _ in range(365):
        frame = sign(issuer)
        for skew_ns in (-DAY_NS // 2, 0, DAY_NS // 2, 20 * DAY_NS):
            assert opens(device, frame, watch.now_ns + skew_ns)
        assert issuer.statistics().certificate_left_s > 28 * 86_400
        watch.now_ns += DAY_NS
    assert issuer.statistics().renewals >= 364
    assert issuer.statistics().failed_renewals == 0


def test_old_and_new_certificate_hold_together(tmp_path: Path, keys: CommandKeys, watch: Watch) -> None:
    issuer = living(tmp_path, watch)
    old = sign(issuer)
    assert sign(issuer) == old, "the same certificate until it is due"
    watch.now_ns += RENEW_NS
    new = sign(issuer)
    assert new != old
    device = Verifier(keys.root_public, "plant")
    for now_ns in (START_NS, watch.now_ns, START_NS + CERTIFIED_NS - 1):
        assert opens(device, new, now_ns)
        assert opens(device, old, now_ns)
    assert not opens(device, old, START_NS + CERTIFIED_NS), "and then only the new one"
    assert opens(device, new, START_NS + CERTIFIED_NS)
    assert not opens(device, new, watch.now_ns - BEFORE_NS - 1)


def test_clock_that_is_set_back_gets_a_certificate_for_then(
    tmp_path: Path, keys: CommandKeys, watch: Watch
) -> None:
    issuer = living(tmp_path, watch)
    watch.now_ns -= 40 * DAY_NS
    assert opens(Verifier(keys.root_public, "plant"), sign(issuer), watch.now_ns)


def test_certificate_made_elsewhere_is_taken_up_when_it_is_put_there(
    tmp_path: Path, keys: CommandKeys, watch: Watch
) -> None:
    assert keys.root_seed is not None
    root_seed = keys.root_seed

    def put(from_ns: int) -> None:
        made = make_certificate(
            root_seed,
            issuer="control",
            tenant="plant",
            public_key=keys.issuer_public,
            not_before_ns=from_ns,
            not_after_ns=from_ns + CERTIFIED_NS,
            kinds=KINDS,
        )
        (tmp_path / "keys" / ISSUER_CERTIFICATE).write_bytes(made)

    put(START_NS)
    (tmp_path / "keys" / ROOT_SEED).unlink()
    issuer = living(tmp_path, watch)
    first = issuer.certificate
    watch.now_ns += 25 * DAY_NS
    put(watch.now_ns)
    sign(issuer)
    assert issuer.certificate.not_after_ns == watch.now_ns + CERTIFIED_NS > first.not_after_ns
    assert opens(Verifier(keys.root_public, "plant"), sign(issuer), START_NS + CERTIFIED_NS)


@pytest.mark.parametrize("spoilt", [b"", b"no certificate", bytes(200)])
def test_what_cannot_be_renewed_goes_on_and_is_tried_again(
    tmp_path: Path, keys: CommandKeys, watch: Watch, spoilt: bytes
) -> None:
    issuer = living(tmp_path, watch)
    device = Verifier(keys.root_public, "plant")
    file = tmp_path / "keys" / ISSUER_CERTIFICATE
    file.write_bytes(spoilt)
    watch.now_ns += RENEW_NS
    assert opens(device, sign(issuer), watch.now_ns), "the old one holds for weeks"
    assert issuer.statistics().failed_renewals == 1
    sign(issuer)
    assert issuer.statistics().failed_renewals == 1, "not at every batch"
    file.unlink()
    watch.now_ns += LOOK_NS
    sign(issuer)
    assert issuer.statistics().renewals == 1
    assert issuer.certificate.not_after_ns == watch.now_ns + CERTIFIED_NS


def test_certificate_of_another_key_is_not_taken_up(tmp_path: Path, keys: CommandKeys, watch: Watch) -> None:
    assert keys.root_seed is not None
    issuer = living(tmp_path, watch)
    other = CommandKeys.create_or_load(tmp_path / "other")
    made = make_certificate(
        keys.root_seed,
        issuer="control",
        tenant="plant",
        public_key=other.issuer_public,
        not_before_ns=0,
        not_after_ns=2**62,
        kinds=KINDS,
    )
    (tmp_path / "keys" / ISSUER_CERTIFICATE).write_bytes(made)
    watch.now_ns += RENEW_NS
    assert opens(Verifier(keys.root_public, "plant"), sign(issuer), watch.now_ns)
    assert issuer.statistics().failed_renewals == 1


def test_issuer_without_root_and_certificate_is_none(tmp_path: Path, keys: CommandKeys, watch: Watch) -> None:
    (tmp_path / "keys" / ROOT_SEED).unlink()
    with pytest.raises(CorruptStateError):
        living(tmp_path, watch)
