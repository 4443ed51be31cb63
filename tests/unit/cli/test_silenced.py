"""Simulated sites that a file silences while a run goes on."""

from __future__ import annotations

import os
from pathlib import Path

from shoal.cli.roles.silenced import SilencedSites
from shoal.domain.ids import SiteId

SITES = [SiteId(f"home-{number}") for number in range(4)]


def model(file: Path) -> SilencedSites:
    return SilencedSites(SITES, 1, file=file, drop_out_frac=0.0)


def test_a_file_silences_who_it_names_from_the_next_look_on(tmp_path: Path) -> None:
    file = tmp_path / "silenced"
    faults = model(file)
    assert faults.online(0).all()
    file.write_text("home-1\nhome-3\nno-such-home", encoding="utf-8")
    assert faults.online(60).tolist() == [True, False, True, False]
    file.write_text("home-0", encoding="utf-8")
    os.utime(file, ns=(1, 1))
    assert faults.online(120).tolist() == [False, True, True, True]


def test_all_are_heard_again_when_the_file_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "silenced"
    file.write_text("home-2", encoding="utf-8")
    faults = model(file)
    assert faults.online(0).tolist() == [True, True, False, True]
    faults.clear()
    assert not file.exists()
    assert faults.online(60).all()
