"""Keys: made once, kept private, never shown."""

from __future__ import annotations

from pathlib import Path

import nkeys
import pytest

from shoal.domain.errors import CorruptStateError
from shoal.fabric.keys import Keys, Role


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    first, second = Keys.create_or_load(directory), Keys.create_or_load(directory)
    assert [first.seed(role) for role in Role] == [second.seed(role) for role in Role]
    assert len({first.seed(role) for role in Role}) == len(Role)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert len(list(directory.iterdir())) == len(Role) + 1


def test_keys_show_no_secret(tmp_path: Path) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    shown = f"{keys!r} {keys} {keys.identity(Role.API)!r} {keys.account_identity()!r} {keys.publics()!r}"
    for path in (tmp_path / "keys").iterdir():
        assert path.read_text().strip() not in shown
    assert keys.identity("api").public in shown


def test_keys_sign_what_their_public_half_verifies(tmp_path: Path) -> None:
    identity = Keys.create_or_load(tmp_path / "keys").identity(Role.CONTROL)
    pair = nkeys.from_seed(Keys.create_or_load(tmp_path / "keys").seed(Role.CONTROL).encode())
    assert pair.verify(b"nonce", identity.sign(b"nonce"))
    assert identity.inbox_prefix == f"_INBOX.{identity.public}"


def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    Keys.create_or_load(tmp_path / "keys")
    (tmp_path / "keys" / "api.nk").chmod(0o644)
    with pytest.raises(CorruptStateError, match="chmod"):
        Keys.create_or_load(tmp_path / "keys")


@pytest.mark.parametrize("text", ["", "SUAAA", "not a seed at all"])
def test_keys_that_are_damaged_are_refused_without_showing_them(tmp_path: Path, text: str) -> None:
    Keys.create_or_load(tmp_path / "keys")
    (tmp_path / "keys" / "api.nk").write_text(text)
    with pytest.raises(CorruptStateError) as caught:
        Keys.create_or_load(tmp_path / "keys")
    assert str(tmp_path) in caught.value.where
    assert not text or text not in str(caught.value)


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    (tmp_path / "keys" / "auth_account.nk").write_text(keys.seed(Role.API))
    with pytest.raises(CorruptStateError, match="another kind"):
        Keys.create_or_load(tmp_path / "keys")
