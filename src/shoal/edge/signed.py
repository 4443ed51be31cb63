"""Signed commands: one Ed25519 signature covers a batch of messages through a Merkle tree, so thousands cost one.

A frame carries one message, its place in the tree and the issuer's certificate, which the plant's root key has signed. The
leaf of a message binds tenant, site, kind and payload, so a frame opens for nobody and nothing else; that it is not opened
twice is the business of versions. Who only holds the root's public key can check it all, without asking anybody.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from typing import Final, Literal, TypeAlias

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from shoal.domain.desired import DesiredState
from shoal.domain.errors import InvalidInputError, ShoalError
from shoal.domain.orders import SiteOrders

VERSION: Final = 1
ANY: Final = "*"
"""In a certificate: every kind, or every program."""
DROOP_PROGRAM: Final = "contingency"
PRICES_PROGRAM: Final = "tariff"
"""What a document's droop and prices count as, for issuers that are limited to some programs."""
MOST_MESSAGES: Final = 2**24
CERTIFICATES_KEPT: Final = 64
BATCHES_KEPT: Final = 256

Refusal: TypeAlias = Literal[
    "unsigned", "forged", "other_tenant", "not_authorised", "expired_certificate", "malformed"
]

_HEAD: Final = struct.Struct(">BIIH64s")
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_HASH_BYTES: Final = 32
_MOST_TEXT_BYTES: Final = 255
# What is signed begins with what it is, so that no signature of one thing is one of another.
_CERTIFICATE_DOMAIN: Final = b"shoal certificate\x00"
_BATCH_DOMAIN: Final = b"shoal batch\x00"
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


class ForgedError(ShoalError):
    """A frame that a device must not obey; `reason` is a stable code, `detail` is for people."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Refusal = reason
        self.detail = detail


class Certificate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the root says of an issuer.

    Attributes:
        issuer: Its name.
        tenant: Whose sites it may command.
        public_key: Its Ed25519 key.
        not_before_ns: From when it may.
        not_after_ns: Until when, exclusive.
        kinds: Kinds of messages that it may send; `ANY` for all.
        programs: Programs that it may speak for; `ANY` for all, and for none but plain ones when empty.
    """

    issuer: str
    tenant: str
    public_key: bytes
    not_before_ns: int
    not_after_ns: int
    kinds: tuple[str, ...]
    programs: tuple[str, ...]


_BODY: Final = msgspec.msgpack.Decoder(Certificate)
_DESIRED: Final = msgspec.json.Decoder(DesiredState)
_ORDERS: Final = msgspec.json.Decoder(SiteOrders)


def make_certificate(
    root_seed: bytes,
    *,
    issuer: str,
    tenant: str,
    public_key: bytes,
    not_before_ns: int,
    not_after_ns: int,
    kinds: Sequence[str],
    programs: Sequence[str] = (ANY,),
) -> bytes:
    """Return a certificate signed with the root's key; see `Certificate`.

    Raises:
        InvalidInputError: when a key is not 32 bytes, a name is empty or too long, or the time ends before it begins.
    """
    _check_key("root_seed", root_seed)
    _check_key("public_key", public_key)
    if not issuer or not tenant or not kinds:
        raise InvalidInputError(field="certificate", value=(issuer, tenant, kinds), fix="name all of them")
    if not 0 <= not_before_ns < not_after_ns < 2**63:
        raise InvalidInputError(
            field="certificate", value=(not_before_ns, not_after_ns), fix="let it end after it begins"
        )
    body = msgspec.msgpack.encode(
        Certificate(
            issuer, tenant, public_key, not_before_ns, not_after_ns, tuple(kinds), tuple(sorted(programs))
        )
    )
    if len(body) + _SIGNATURE_BYTES + 1 >= 2**16:
        raise InvalidInputError(field="certificate", value=len(body), fix="name fewer kinds and programs")
    signed = bytes((VERSION,)) + body
    return signed + SigningKey(root_seed).sign(_CERTIFICATE_DOMAIN + signed).signature


def read_certificate(certificate: bytes) -> Certificate:
    """Return what a certificate says, without checking who signed it.

    Raises:
        ForgedError: with reason ``malformed``.
    """
    if len(certificate) <= 1 + _SIGNATURE_BYTES or certificate[0] != VERSION:
        raise ForgedError("malformed", f"no certificate of version {VERSION}")
    try:
        found = _BODY.decode(certificate[1:-_SIGNATURE_BYTES])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ForgedError("malformed", f"certificate: {error}") from error
    if len(found.public_key) != _KEY_BYTES:
        raise ForgedError("malformed", "the certificate's key is not 32 bytes")
    return found


class Issuer:
    """Signs messages with the key that a certificate is about.

    Attributes:
        certificate: What the certificate says.
    """

    def __init__(self, seed: bytes, certificate: bytes) -> None:
        """Take the issuer's own seed and its certificate.

        Raises:
            InvalidInputError: when the seed is not 32 bytes, or the certificate is about another key.
            ForgedError: when the certificate cannot be read.
        """
        _check_key("seed", seed)
        self._key = SigningKey(seed)
        self.certificate = read_certificate(certificate)
        if self._key.verify_key.encode() != self.certificate.public_key:
            raise InvalidInputError(
                field="certificate", value=self.certificate.issuer, fix="take the one made for this seed"
            )
        self._signed = certificate

    def sign_batch(self, messages: Sequence[tuple[str, str, bytes]]) -> list[bytes]:
        """Return the frames of messages `(site, kind, payload)`, under one signature; `site` is the site's own id.

        Raises:
            InvalidInputError: when there are more than `MOST_MESSAGES`, or a name is longer than 255 bytes.
        """
        count = len(messages)
        if not count:
            return []
        if count > MOST_MESSAGES:
            raise InvalidInputError(field="messages", value=count, fix=f"at most {MOST_MESSAGES} at once")
        tenant = self.certificate.tenant
        heads: dict[str, bytes] = {}
        leaves = []
        for index, (site, kind, payload) in enumerate(messages):
            named = heads.get(kind)
            if named is None:
                named = heads[kind] = _text(tenant) + _text(kind)
            leaves.append(_leaf(index, named + _text(site), payload))
        levels = _tree(leaves)
        signature = self._key.sign(_signed_of_batch(self._signed, count, levels[-1][0])).signature
        frames = []
        for index, (_, _, payload) in enumerate(messages):
            head = _HEAD.pack(VERSION, index, count, len(self._signed), signature)
            path = b"".join(_siblings(levels, index))
            frames.append(b"".join((head, self._signed, path, payload)))
        return frames


class Verifier:
    """Opens frames for the sites of one tenant; remembers a bounded number of certificates and batches that were right."""

    def __init__(self, root_public_key: bytes, tenant: str) -> None:
        """Trust whom the root has certified for `tenant`.

        Raises:
            InvalidInputError: when the key is not 32 bytes, or there is no tenant.
        """
        _check_key("root_public_key", root_public_key)
        if not tenant:
            raise InvalidInputError(field="tenant", value=tenant, fix="name the tenant")
        self._root = VerifyKey(root_public_key)
        self._tenant = tenant
        self._certificates: OrderedDict[bytes, Certificate] = OrderedDict()
        self._batches: OrderedDict[bytes, None] = OrderedDict()
        self._heads: dict[str, bytes] = {}

    def open(self, site: str, kind: str, frame: bytes, now_ns: int) -> bytes:
        """Return the payload of a frame for this site and kind, at the device's time `now_ns`.

        Raises:
            ForgedError: with reason ``unsigned``, ``malformed``, ``forged``, ``other_tenant``, ``expired_certificate``
                (or not valid yet), or ``not_authorised`` for this kind or a program in it.
        """
        if not frame or frame[:1] == b"{":
            raise ForgedError("unsigned", "this site only takes signed messages")
        if len(frame) < _HEAD.size or frame[0] != VERSION:
            raise ForgedError("malformed", f"no frame of version {VERSION}")
        _, index, count, certificate_bytes, signature = _HEAD.unpack_from(frame)
        path_at = _HEAD.size + certificate_bytes
        turns = _turns(index, count)
        payload_at = path_at + _HASH_BYTES * sum(turn != 0 for turn in turns)
        if index >= count or count > MOST_MESSAGES or len(frame) < payload_at:
            raise ForgedError("malformed", "the place in the batch does not fit the frame")
        certified = frame[_HEAD.size : path_at]
        certificate = self._trusted(certified)
        if certificate.tenant != self._tenant:
            raise ForgedError("other_tenant", f"signed for {certificate.tenant!r}, this is {self._tenant!r}")
        payload = frame[payload_at:]
        node = _leaf(index, self._head(kind) + _text(site), payload)
        for turn in turns:
            if turn:
                sibling = frame[path_at : path_at + _HASH_BYTES]
                path_at += _HASH_BYTES
                node = sha256(_NODE + (node + sibling if turn > 0 else sibling + node)).digest()
        self._check_batch(certificate, _signed_of_batch(certified, count, node), signature)
        if not certificate.not_before_ns <= now_ns < certificate.not_after_ns:
            raise ForgedError("expired_certificate", f"of {certificate.issuer!r}")
        if not _holds(certificate.kinds, kind):
            raise ForgedError("not_authorised", f"{certificate.issuer!r} may not send {kind}")
        if ANY not in certificate.programs:
            for program in _programs_of(kind, payload):
                if program and program not in certificate.programs:
                    raise ForgedError(
                        "not_authorised", f"{certificate.issuer!r} may not speak for {program!r}"
                    )
        return payload

    def _head(self, kind: str) -> bytes:
        head = self._heads.get(kind)
        if head is None:
            head = _text(self._tenant) + _text(kind)
            if len(self._heads) < CERTIFICATES_KEPT:
                self._heads[kind] = head
        return head

    def _trusted(self, certified: bytes) -> Certificate:
        known = self._certificates.get(certified)
        if known is not None:
            self._certificates.move_to_end(certified)
            return known
        certificate = read_certificate(certified)
        signed, signature = certified[:-_SIGNATURE_BYTES], certified[-_SIGNATURE_BYTES:]
        try:
            self._root.verify(_CERTIFICATE_DOMAIN + signed, signature)
        except BadSignatureError as error:
            raise ForgedError("forged", "the certificate is not the root's") from error
        self._certificates[certified] = certificate
        if len(self._certificates) > CERTIFICATES_KEPT:
            self._certificates.popitem(last=False)
        return certificate

    def _check_batch(self, certificate: Certificate, signed: bytes, signature: bytes) -> None:
        key = signature + signed
        if key in self._batches:
            self._batches.move_to_end(key)
            return
        try:
            VerifyKey(certificate.public_key).verify(signed, signature)
        except BadSignatureError as error:
            raise ForgedError("forged", "the signature does not fit what was sent") from error
        self._batches[key] = None
        if len(self._batches) > BATCHES_KEPT:
            self._batches.popitem(last=False)


def _programs_of(kind: str, payload: bytes) -> Iterator[str]:
    """Yield the programs that a message speaks for; halting and limits are anybody's who may send documents."""
    try:
        if kind == "desired":
            yield _DESIRED.decode(payload).program
        elif kind == "orders":
            orders = _ORDERS.decode(payload)
            yield from (event.program for event in orders.events)
            if orders.droop is not None:
                yield DROOP_PROGRAM
            if orders.prices is not None:
                yield PRICES_PROGRAM
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ForgedError("malformed", f"{kind}: {error}") from error


def _holds(names: Collection[str], name: str) -> bool:
    return ANY in names or name in names


def _check_key(field: str, key: bytes) -> None:
    if len(key) != _KEY_BYTES:
        raise InvalidInputError(field=field, value=f"{len(key)} bytes", fix=f"give {_KEY_BYTES} bytes")


def _text(text: str) -> bytes:
    coded = text.encode()
    if len(coded) > _MOST_TEXT_BYTES:
        raise InvalidInputError(field="name", value=text[:32], fix=f"at most {_MOST_TEXT_BYTES} bytes")
    return bytes((len(coded),)) + coded


def _leaf(index: int, names: bytes, payload: bytes) -> bytes:
    # The place is part of it: otherwise two equal messages could swap theirs.
    return sha256(_LEAF + index.to_bytes(4, "big") + names + payload).digest()


def _signed_of_batch(certified: bytes, count: int, root: bytes) -> bytes:
    return _BATCH_DOMAIN + sha256(certified).digest() + count.to_bytes(4, "big") + root


def _tree(leaves: list[bytes]) -> list[list[bytes]]:
    """Return the levels from the leaves to the root; who has no neighbour moves up as it is."""
    levels = [leaves]
    while len(level := levels[-1]) > 1:
        above = [sha256(_NODE + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        if len(level) % 2:
            above.append(level[-1])
        levels.append(above)
    return levels


def _siblings(levels: list[list[bytes]], index: int) -> Iterator[bytes]:
    for level in levels[:-1]:
        if (index ^ 1) < len(level):
            yield level[index ^ 1]
        index >>= 1


def _turns(index: int, count: int) -> list[int]:
    """Return for each level whether the neighbour is on the right (1), on the left (-1), or missing (0)."""
    turns = []
    width = count
    while width > 1:
        turns.append(-1 if index & 1 else 1 if index + 1 < width else 0)
        index >>= 1
        width = (width + 1) >> 1
    return turns
