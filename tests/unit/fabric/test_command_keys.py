"""Keys of commands: made once, private, and the root may be kept elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.domain.errors import CorruptStateError
from shoal.fabric.command_keys import ISSUER_CERTIFICATE, ISSUER_SEED, ROOT_PUBLIC, ROOT_SEED, CommandKeys


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    made = CommandKeys.create_or_load(directory)
    assert CommandKeys.create_or_load(directory) == made
    assert made.root_seed is not None
    assert made.root_seed != made.issuer_seed
    assert all(file.stat().st_mode & 0o077 == 0 for file in directory.iterdir())
    assert made.issuer_seed.hex() not in repr(made)
    assert made.root_seed.hex() not in repr(made)


def test_root_may_be_kept_elsewhere(tmp_path: Path) -> None:
    made = CommandKeys.create_or_load(tmp_path)
    (tmp_path / ROOT_SEED).unlink()
    (tmp_path / ISSUER_CERTIFICATE).write_bytes(b"signed elsewhere")
    kept = CommandKeys.create_or_load(tmp_path)
    assert kept.root_seed is None
    assert kept.root_public == made.root_public
    assert kept.certificate == b"signed elsewhere"
    assert not (tmp_path / ROOT_SEED).exists(), "and is not made anew"


def test_halves_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    CommandKeys.create_or_load(tmp_path)
    (tmp_path / ROOT_PUBLIC).write_text("00" * 32)
    with pytest.raises(CorruptStateError):
        CommandKeys.create_or_load(tmp_path)


@pytest.mark.parametrize("content", ["", "xyz", "00" * 31])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    CommandKeys.create_or_load(tmp_path)
    (tmp_path / ROOT_SEED).write_text(content)
    with pytest.raises(CorruptStateError):
        CommandKeys.create_or_load(tmp_path)


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    CommandKeys.create_or_load(tmp_path)
    (tmp_path / ROOT_SEED).chmod(0o644)
    with pytest.raises(CorruptStateError):
        CommandKeys.create_or_load(tmp_path)


@pytest.mark.parametrize("gone", [ROOT_PUBLIC, ISSUER_SEED])
def test_keys_that_are_gone_are_missed_not_made_anew(tmp_path: Path, gone: str) -> None:
    made = CommandKeys.create_or_load(tmp_path)
    assert CommandKeys.load(tmp_path) == made
    (tmp_path / gone).unlink()
    with pytest.raises(CorruptStateError, match="restore it"):
        CommandKeys.load(tmp_path)
    assert not (tmp_path / gone).exists()
