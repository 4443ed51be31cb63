"""Secrets: fresh ones differ, the sealed form holds none of it, and only the right one matches."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets

from shoal.store.credentials import new_secret, seal


def test_new_secret_is_256_bits_in_url_safe_characters() -> None:
    assert new_secret(lambda count: bytes(range(count))) == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    drawn = {new_secret(secrets.token_bytes) for _ in range(100)}
    assert len(drawn) == 100


def test_credential_matches_only_its_secret() -> None:
    credential = seal("right", created_ns=5, random_bytes=secrets.token_bytes)
    assert credential.matches("right")
    assert not any(credential.matches(wrong) for wrong in ("", "righ", "rightt", "Right", "r\u00efght"))
    assert not dataclasses.replace(credential, revoked_ns=6).matches("right")
    assert not dataclasses.replace(credential, salt=bytes(16)).matches("right")


def test_digest_is_a_salted_hmac() -> None:
    credential = seal("right", created_ns=5, random_bytes=lambda count: b"\x07" * count)
    assert credential.salt == b"\x07" * 16
    assert credential.digest == hmac.digest(b"\x07" * 16, b"right", hashlib.sha256)


def test_same_secret_is_sealed_differently_each_time() -> None:
    one, other = (seal("right", created_ns=5, random_bytes=secrets.token_bytes) for _ in range(2))
    assert one.digest != other.digest
