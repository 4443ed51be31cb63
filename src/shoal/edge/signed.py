"""Signed commands: one Ed25519 signature covers a batch of messages through a Merkle tree, so thousands cost one.

A frame carries one message, its place in the tree and the issuer's certificate, which the plant's root key has signed. The
leaf of a message binds tenant, site, kind and payload, so a frame opens for nobody and nothing else; that it is not opened
twice is the business of versions. Who only holds the root's public key can check it all, without asking anybody.
"""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
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
BATCHES_OPEN: Final = 8
"""Of so many the nodes that were met are kept, so that who opens many frames of a batch hashes each node once."""
_PLACES_KEPT: Final = 8_192
_NAMES_KEPT: Final = 2**18
_INDEX_BITS: Final = 24

Refusal: TypeAlias = Literal[
    "unsigned", "forged", "other_tenant", "not_authorised", "expired_certificate", "malformed"
]

_HEAD: Final = struct.Struct(">BIIH64s")
_BRACE: Final = ord("{")
_PLACE_END: Final = 5
"""Behind version and place."""
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
        tenant, certified = _text(self.certificate.tenant), self._signed
        heads = {kind: tenant + _text(kind) for kind in {kind for _, kind, _ in messages}}
        places = [index.to_bytes(4, "big") for index in range(count)]
        levels = _tree(
            [
                sha256(b"".join((_LEAF, place, heads[kind], _text(site), payload))).digest()
                for place, (site, kind, payload) in zip(places, messages, strict=True)
            ]
        )
        signature = self._key.sign(_signed_of_batch(certified, count, levels[-1][0])).signature
        head = _HEAD.pack(VERSION, 0, count, len(certified), signature)
        # all but the place is the same for all of them
        version, rest = head[:1], head[_PLACE_END:] + certified
        return [
            b"".join((version, place, rest, path, payload))
            for place, path, (_, _, payload) in zip(places, _paths(levels), messages, strict=True)
        ]


class _Batch:
    """What is known to be right of a batch: its signature, its root, and nodes of its tree.

    Attributes:
        certificate: Its issuer's.
        root: The hash that was signed.
        nodes: Of `level << 24 | index`, a node's hash and the path from it to the root; None when they are not kept.
    """

    __slots__ = ("certificate", "nodes", "root")

    def __init__(self, certificate: Certificate, root: bytes) -> None:
        self.certificate = certificate
        self.root = root
        self.nodes: dict[int, tuple[bytes, bytes]] | None = {}


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
        self._batches: OrderedDict[bytes, _Batch] = OrderedDict()
        self._open: deque[_Batch] = deque()
        self._names: dict[tuple[str, str], bytes] = {}

    def open(self, site: str, kind: str, frame: bytes, now_ns: int) -> bytes:
        """Return the payload of a frame for this site and kind, at the device's time `now_ns`.

        Raises:
            ForgedError: with reason ``unsigned``, ``malformed``, ``forged``, ``other_tenant``, ``expired_certificate``
                (or not valid yet), or ``not_authorised`` for this kind or a program in it.
        """
        if not frame or frame[0] == _BRACE:
            raise ForgedError("unsigned", "this site only takes signed messages")
        if len(frame) < _HEAD.size or frame[0] != VERSION:
            raise ForgedError("malformed", f"no frame of version {VERSION}")
        _, index, count, certificate_bytes, signature = _HEAD.unpack_from(frame)
        if index >= count or count > MOST_MESSAGES:
            raise ForgedError("malformed", "the place in the batch does not fit the frame")
        path_at = _HEAD.size + certificate_bytes
        turns = _turns(index, count)
        payload_at = path_at + _HASH_BYTES * len(turns)
        if len(frame) < payload_at:
            raise ForgedError("malformed", "the place in the batch does not fit the frame")
        payload = frame[payload_at:]
        leaf = sha256(b"".join((_LEAF, frame[1:_PLACE_END], self._name(kind, site), payload))).digest()
        path = frame[path_at:payload_at]
        # The head but for the place, and the certificate, are the same for a whole batch.
        named = frame[_PLACE_END:path_at]
        batch = self._batches.get(named)
        if batch is None:
            batch = self._new_batch(named, count, signature, _root_of(leaf, path, turns))
        _climb(batch, leaf, path, turns)
        certificate = batch.certificate
        if not certificate.not_before_ns <= now_ns < certificate.not_after_ns:
            raise ForgedError("expired_certificate", f"of {certificate.issuer!r}")
        if kind not in certificate.kinds and ANY not in certificate.kinds:
            raise ForgedError("not_authorised", f"{certificate.issuer!r} may not send {kind}")
        if ANY not in certificate.programs:
            for program in _programs_of(kind, payload):
                if program and program not in certificate.programs:
                    raise ForgedError(
                        "not_authorised", f"{certificate.issuer!r} may not speak for {program!r}"
                    )
        return payload

    def _new_batch(self, named: bytes, count: int, signature: bytes, root: bytes) -> _Batch:
        """Check and remember who signed a batch that was not seen before."""
        certified = named[_HEAD.size - _PLACE_END :]
        certificate = self._trusted(certified)
        if certificate.tenant != self._tenant:
            raise ForgedError("other_tenant", f"signed for {certificate.tenant!r}, this is {self._tenant!r}")
        try:
            VerifyKey(certificate.public_key).verify(_signed_of_batch(certified, count, root), signature)
        except BadSignatureError as error:
            raise ForgedError("forged", "the signature does not fit what was sent") from error
        batch = self._batches[named] = _Batch(certificate, root)
        self._open.append(batch)
        if len(self._open) > BATCHES_OPEN:
            self._open.popleft().nodes = None
        if len(self._batches) > BATCHES_KEPT:
            self._batches.popitem(last=False)
        return batch

    def _name(self, kind: str, site: str) -> bytes:
        """Return what a leaf says of whose and what it is."""
        name = self._names.get((kind, site))
        if name is None:
            if len(self._names) >= _NAMES_KEPT:
                self._names.clear()
            name = self._names[kind, site] = _text(self._tenant) + _text(kind) + _text(site)
        return name

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


def payload_of(frame: bytes) -> bytes:
    """Return what a message says without checking who says it, for a device that was given no root key; plain ones as they are.

    Raises:
        ForgedError: with reason ``malformed``.
    """
    if not frame or frame[0] != VERSION:
        return frame
    if len(frame) < _HEAD.size:
        raise ForgedError("malformed", f"no frame of version {VERSION}")
    _, index, count, certificate_bytes, _ = _HEAD.unpack_from(frame)
    if index >= count or count > MOST_MESSAGES:
        raise ForgedError("malformed", "the place in the batch does not fit the frame")
    payload_at = _HEAD.size + certificate_bytes + _HASH_BYTES * len(_turns(index, count))
    if len(frame) < payload_at:
        raise ForgedError("malformed", "the place in the batch does not fit the frame")
    return frame[payload_at:]


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


def _check_key(field: str, key: bytes) -> None:
    if len(key) != _KEY_BYTES:
        raise InvalidInputError(field=field, value=f"{len(key)} bytes", fix=f"give {_KEY_BYTES} bytes")


def _text(text: str) -> bytes:
    coded = text.encode()
    if len(coded) > _MOST_TEXT_BYTES:
        raise InvalidInputError(field="name", value=text[:32], fix=f"at most {_MOST_TEXT_BYTES} bytes")
    return bytes((len(coded),)) + coded


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


def _paths(levels: list[list[bytes]]) -> list[bytes]:
    """Return for each leaf the hashes of its neighbours on the way up."""
    above = [b""]
    for level in reversed(levels[:-1]):
        width = len(level)
        above = [
            level[index ^ 1] + above[index >> 1] if (index ^ 1) < width else above[index >> 1]
            for index in range(width)
        ]
    return above


@lru_cache(maxsize=_PLACES_KEPT)
def _turns(index: int, count: int) -> tuple[tuple[int, int], ...]:
    """Return where a leaf has neighbours on its way up: pairs of level and its own place there, even when it is the left."""
    turns = []
    width, level = count, 0
    while width > 1:
        if (index ^ 1) < width:
            turns.append((level, index))
        index >>= 1
        level += 1
        width = (width + 1) >> 1
    return tuple(turns)


def _root_of(node: bytes, path: bytes, turns: tuple[tuple[int, int], ...]) -> bytes:
    at = 0
    for _, index in turns:
        beside = path[at : at + _HASH_BYTES]
        at += _HASH_BYTES
        node = sha256(_NODE + (beside + node if index & 1 else node + beside)).digest()
    return node


def _climb(batch: _Batch, node: bytes, path: bytes, turns: tuple[tuple[int, int], ...]) -> None:
    """Go from a leaf up until something known to be right is met, and remember what was met on the way.

    Raises:
        ForgedError: with reason ``forged`` when the leaf or its path is not of this batch.
    """
    nodes, passed, at = batch.nodes, [], 0
    if nodes is None:
        nodes = {}
    for level, index in turns:
        rest = path[at:]
        known = nodes.get(level << _INDEX_BITS | index)
        if known is not None:
            if known != (node, rest):
                raise ForgedError("forged", "it is not what was signed at its place in the batch")
            break
        beside, rest_above = rest[:_HASH_BYTES], rest[_HASH_BYTES:]
        passed.append((level << _INDEX_BITS | index, (node, rest)))
        passed.append((level << _INDEX_BITS | index ^ 1, (beside, node + rest_above)))
        node = sha256(_NODE + (beside + node if index & 1 else node + beside)).digest()
        at += _HASH_BYTES
    else:
        if node != batch.root:
            raise ForgedError("forged", "the signature does not fit what was sent")
    nodes.update(passed)
