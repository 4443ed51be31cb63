"""Signed commands: what opens, for whom, and that nothing else ever does."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from nacl.signing import SigningKey, VerifyKey

from shoal.domain.desired import DesiredState
from shoal.domain.errors import InvalidInputError
from shoal.domain.orders import DroopArming, PriceSeries, ScheduledEvent, SiteOrders
from shoal.edge import signed
from shoal.edge.signed import ForgedError, Issuer, Verifier, make_certificate, read_certificate
from tests.unit.edge.sites import T0, S, desired, wire

ROOT = bytes(range(32))
SEED = bytes(range(32, 64))
DAY_NS = 86_400 * S


def public(seed: bytes) -> bytes:
    return bytes(SigningKey(seed).verify_key)


def certificate(
    *,
    root: bytes = ROOT,
    tenant: str = "acme",
    seed: bytes = SEED,
    kinds: tuple[str, ...] = ("desired", "orders"),
    programs: tuple[str, ...] = ("*",),
) -> bytes:
    return make_certificate(
        root,
        issuer="control",
        tenant=tenant,
        public_key=public(seed),
        not_before_ns=T0,
        not_after_ns=T0 + DAY_NS,
        kinds=kinds,
        programs=programs,
    )


def issuer(**values: object) -> Issuer:
    return Issuer(SEED, certificate(**values))  # type: ignore[arg-type]


def verifier(tenant: str = "acme") -> Verifier:
    return Verifier(public(ROOT), tenant)


def batch(count: int) -> list[tuple[str, str, bytes]]:
    return [
        (f"site-{n}", "desired" if n % 3 else "orders", wire(desired(n + 1, 100, 0, 9))) for n in range(count)
    ]


def refusal(frame: bytes, *, site: str = "site-1", kind: str = "desired", now_ns: int = T0) -> str:
    with pytest.raises(ForgedError) as caught:
        verifier().open(site, kind, frame, now_ns)
    return caught.value.reason


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 33, 100])
def test_every_message_of_a_batch_opens_for_its_site(count: int) -> None:
    messages = batch(count)
    mine = verifier()
    frames = issuer().sign_batch(messages)
    for (site, kind, payload), frame in zip(messages, frames, strict=True):
        assert mine.open(site, kind, frame, T0) == payload
        assert frame[:1] != b"{"


def test_frame_is_the_known_one() -> None:
    """The bytes of the wire, so that a device written in another language can be checked against them."""
    body = read_certificate(certificate())
    assert (body.issuer, body.tenant, body.kinds) == ("control", "acme", ("desired", "orders"))
    frames = issuer().sign_batch(
        [("a", "desired", b"{1}"), ("b", "desired", b"{2}"), ("c", "orders", b"{3}")]
    )
    assert [len(frame) for frame in frames] == [75 + len(certificate()) + 64 + 3] * 2 + [
        75 + len(certificate()) + 32 + 3
    ]
    assert frames[0][:11].hex() == "010000000000000003" + len(certificate()).to_bytes(2, "big").hex()
    assert sha256(b"".join(frames)).hexdigest() == KNOWN_FRAMES_SHA256


KNOWN_FRAMES_SHA256 = "a7a03f30f0fa922977be31821332a1d8962bb4092cca13ffef6d3f6ff110bcc2"


def test_signature_is_over_the_root_of_the_tree() -> None:
    """By hand, from the description of the format alone."""
    made = certificate()
    names = b"\x04acme\x07desired"
    leaves = [
        sha256(b"\x00" + n.to_bytes(4, "big") + names + b"\x01" + site + payload).digest()
        for n, (site, payload) in enumerate([(b"a", b"{1}"), (b"b", b"{2}"), (b"c", b"{3}")])
    ]
    pair = sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    root = sha256(b"\x01" + pair + leaves[2]).digest()
    said = b"shoal batch\x00" + sha256(made).digest() + (3).to_bytes(4, "big") + root
    frames = issuer().sign_batch(
        [("a", "desired", b"{1}"), ("b", "desired", b"{2}"), ("c", "desired", b"{3}")]
    )
    VerifyKey(public(SEED)).verify(said, frames[0][11:75])
    assert frames[0] == frames[0][:75] + made + leaves[1] + leaves[2] + b"{1}"
    assert frames[2] == frames[2][:75] + made + pair + b"{3}"
    VerifyKey(public(ROOT)).verify(b"shoal certificate\x00" + made[:-64], made[-64:])


def test_any_flipped_bit_is_refused() -> None:
    messages = batch(5)
    frames = issuer().sign_batch(messages)
    for place in (1, 4):  # a deep leaf and the one that moves up alone
        site, kind, _ = messages[place]
        mine = verifier()
        mine.open(site, kind, frames[place], T0)
        for bit in range(8 * len(frames[place])):
            bent = bytearray(frames[place])
            bent[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ForgedError):
                mine.open(site, kind, bytes(bent), T0)


def test_cut_or_lengthened_frame_is_refused() -> None:
    frame = issuer().sign_batch(batch(5))[1]
    for size in range(len(frame)):
        assert refusal(frame[:size]) in ("unsigned", "malformed", "forged")
    assert refusal(frame + b" ") == "forged"


def test_equal_messages_keep_their_own_place() -> None:
    frames = issuer().sign_batch([("site-1", "desired", b"{}")] * 2)
    bent = bytearray(frames[0])
    bent[4] = 1  # the other one's place, with a path that is the same
    assert frames[0] != frames[1]
    assert refusal(bytes(bent)) == "forged"


def test_frame_opens_for_its_own_site_kind_and_tenant_only() -> None:
    frame = issuer().sign_batch(batch(4))[1]
    assert refusal(frame, site="site-2") == "forged"
    assert refusal(frame, site="site-11") == "forged"
    assert refusal(frame, kind="orders") == "forged"
    foreign = issuer(tenant="other").sign_batch(batch(4))[1]
    assert refusal(foreign) == "other_tenant"
    assert verifier("other").open("site-1", "desired", foreign, T0)


def test_unsigned_messages_are_refused() -> None:
    assert refusal(b"") == "unsigned"
    assert refusal(wire(desired(1, 0, 0, 9))) == "unsigned"
    assert refusal(b"\x02" + issuer().sign_batch(batch(2))[1][1:]) == "malformed"


def test_certificate_of_another_root_is_forged() -> None:
    assert refusal(issuer(root=bytes(32)).sign_batch(batch(2))[1]) == "forged"


def test_signature_with_another_key_is_forged() -> None:
    with pytest.raises(InvalidInputError):
        Issuer(bytes(32), certificate())
    # A stolen certificate with a key of the thief's own: what a device sees is a signature that does not fit.
    thief = Issuer(bytes(32), certificate(seed=bytes(32)))
    thief._signed = certificate()
    assert refusal(thief.sign_batch(batch(2))[1]) == "forged"


def test_certificate_holds_within_its_time() -> None:
    frame = issuer().sign_batch(batch(2))[1]
    assert refusal(frame, now_ns=T0 - 1) == "expired_certificate"
    assert refusal(frame, now_ns=T0 + DAY_NS) == "expired_certificate"
    assert verifier().open("site-1", "desired", frame, T0 + DAY_NS - 1)


def test_kind_beyond_the_certificate_is_not_authorised() -> None:
    frames = issuer(kinds=("desired",)).sign_batch(batch(4))
    assert refusal(frames[3], site="site-3", kind="orders") == "not_authorised"
    assert verifier().open("site-1", "desired", frames[1], T0)


def orders(**values: object) -> bytes:
    return msgspec.json.encode(SiteOrders(version=1, issued_ns=T0, issuer="x", fence=1, **values))  # type: ignore[arg-type]


def event(program: str) -> ScheduledEvent:
    return ScheduledEvent(event_id="e", program=program, kind="hold", start_ns=T0, end_ns=T0 + S)


def setpoint(program: str) -> bytes:
    return msgspec.json.encode(
        DesiredState(version=1, battery_w=1, start_ns=0, end_ns=1, issuer="x", fence=1, program=program)
    )


DROOP = DroopArming(
    start_ns=0, end_ns=1, reference_hz=50.0, deadband_hz=0.02, full_deviation_hz=0.2, up_w=100
)
PRICES = PriceSeries(start_ns=0, step_s=300, import_per_kwh=(0.1,), export_per_kwh=(0.1,))


@pytest.mark.parametrize(
    ("kind", "payload", "programs", "reason"),
    [
        ("desired", setpoint("peak"), ("peak",), ""),
        ("desired", setpoint("peak"), ("*",), ""),
        ("desired", setpoint("market"), ("peak",), "not_authorised"),
        ("desired", setpoint("market"), (), "not_authorised"),
        ("desired", setpoint(""), (), ""),
        ("orders", orders(events=(event("peak"),)), ("peak", "tariff"), ""),
        ("orders", orders(events=(event("peak"), event("storm"))), ("peak",), "not_authorised"),
        ("orders", orders(droop=DROOP), ("peak",), "not_authorised"),
        ("orders", orders(droop=DROOP), ("contingency",), ""),
        ("orders", orders(prices=PRICES), ("peak",), "not_authorised"),
        ("orders", orders(prices=PRICES), ("tariff",), ""),
        ("orders", orders(halted=True), (), ""),
        ("orders", b"\xff", ("peak",), "malformed"),
        ("desired", b"{", ("peak",), "malformed"),
    ],
)
def test_issuer_speaks_for_its_own_programs_only(
    kind: str, payload: bytes, programs: tuple[str, ...], reason: str
) -> None:
    (frame,) = issuer(programs=programs).sign_batch([("site-1", kind, payload)])
    if reason:
        assert refusal(frame, kind=kind) == reason
    else:
        assert verifier().open("site-1", kind, frame, T0) == payload


def test_memory_of_a_verifier_is_bounded() -> None:
    mine, author = verifier(), issuer()
    first = author.sign_batch(batch(1))[0]
    for n in range(signed.BATCHES_KEPT + 10):
        (frame,) = author.sign_batch([("site-0", "orders", str(n).encode())])
        mine.open("site-0", "orders", frame, T0)
    for n in range(signed.CERTIFICATES_KEPT + 10):
        (frame,) = issuer(programs=("*", str(n))).sign_batch([("site-0", "orders", b"x")])
        mine.open("site-0", "orders", frame, T0)
    assert len(mine._batches) == signed.BATCHES_KEPT
    assert len(mine._certificates) == signed.CERTIFICATES_KEPT
    assert mine.open("site-0", "orders", first, T0), "what was forgotten is checked again"


def test_many_messages_cost_one_signature() -> None:
    messages = batch(2_000)
    frames = issuer().sign_batch(messages)
    mine = verifier()
    for (site, kind, _), frame in zip(messages, frames, strict=True):
        mine.open(site, kind, frame, T0)
    assert len(mine._batches) == 1
    assert issuer().sign_batch([]) == []


@pytest.mark.parametrize(
    "values",
    [
        {"root": b"short"},
        {"tenant": ""},
        {"kinds": ()},
        {"kinds": ("k" * 70_000,)},
    ],
)
def test_certificate_that_makes_no_sense_is_not_made(values: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        certificate(**values)  # type: ignore[arg-type]


def test_name_that_is_too_long_is_not_signed() -> None:
    with pytest.raises(InvalidInputError):
        issuer().sign_batch([("s" * 256, "desired", b"{}")])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 33])
def test_frames_open_in_any_order_and_only_as_they_were_signed(count: int) -> None:
    messages = batch(count)
    frames = issuer().sign_batch(messages)
    for step in (1, count - 1 or 1, 5):
        trusts = verifier()
        for turn in range(2 * count):
            place = turn * step % count
            site, kind, payload = messages[place]
            frame = frames[place]
            assert trusts.open(site, kind, frame, T0) == payload
            assert signed.payload_of(frame) == payload
            # what others of the batch proved must not let through what differs in one bit, wherever it is
            at = (turn * 31 + 5) % len(frame)
            spoilt = bytearray(frame)
            spoilt[at] ^= 1
            with pytest.raises(ForgedError):
                trusts.open(site, kind, bytes(spoilt), T0)
            with pytest.raises(ForgedError):
                trusts.open("somebody-else", kind, frame, T0)


def test_more_batches_at_once_than_are_kept_in_full_still_open() -> None:
    signs, trusts = issuer(), verifier()
    made = [
        signs.sign_batch([(f"site-{n}", "desired", f"{number}-{n}".encode()) for n in range(4)])
        for number in range(signed.BATCHES_OPEN + 5)
    ]
    for n in range(4):
        for number, frames in enumerate(made):
            assert trusts.open(f"site-{n}", "desired", frames[n], T0) == f"{number}-{n}".encode()
            with pytest.raises(ForgedError):
                trusts.open(f"site-{n}", "desired", frames[n] + b"x", T0)
    assert sum(len(one.nodes or ()) for one in trusts._batches.values()) <= signed.BATCHES_OPEN * 8


def test_device_without_a_root_key_reads_what_is_signed_and_what_is_not() -> None:
    (frame,) = issuer().sign_batch([("site-1", "desired", b'{"version":1}')])
    assert signed.payload_of(frame) == b'{"version":1}'
    assert signed.payload_of(b'{"version":1}') == b'{"version":1}'
    assert signed.payload_of(b"") == b""
    for size in (1, 20, 100):
        with pytest.raises(ForgedError):
            signed.payload_of(frame[:size])
