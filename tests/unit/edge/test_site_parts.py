"""The small parts of a site's agent: registers that never run backwards, the state file, and the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.domain.errors import CorruptStateError, SettingsError
from shoal.domain.telemetry import REGISTERS, Flag, mask_of
from shoal.edge.drivers.protocol import Measurement, completed
from shoal.edge.site_config import read_config, read_secret
from shoal.edge.site_meter import MeterState, SiteMeter
from shoal.edge.site_state import StateFile

CONFIG = """
site = "home-1"
state_dir = "state"
driver = { kind = "simulated" }
[battery]
capacity_kwh = 10
charge_limit_kw = 5
discharge_limit_kw = 5
"""


def test_load_or_site_follows_from_the_four_numbers() -> None:
    by_meter = completed(Measurement(solar_w=-5_000, battery_w=3_000, grid_w=-1_000))
    by_load = completed(Measurement(solar_w=-5_000, battery_w=3_000, load_w=1_000))
    assert by_meter.load_w == 1_000
    assert by_load.grid_w == -1_000
    assert completed(Measurement(grid_w=5)).load_w is None, "without the battery nobody can tell"


def test_registers_of_a_device_go_on_where_a_new_meter_begins_again() -> None:
    meter = SiteMeter(longest_gap_s=60)
    for shown in (1_000, 1_200, 50, 80):
        meter.take(Measurement(import_wh=shown), 0)
    record = meter.sample(1, 0)
    assert record["import_wh"] == 1_200 + 80
    assert record["present"] == mask_of("import_wh", "command_version")
    assert record["flags"] == 0
    kept = msgspec.convert(msgspec.to_builtins(meter.state), MeterState)
    again = SiteMeter(longest_gap_s=60, state=kept)
    again.take(Measurement(import_wh=90), 0)
    assert again.sample(2, 0)["import_wh"] == 1_290


def test_gaps_are_not_counted() -> None:
    meter = SiteMeter(longest_gap_s=60)
    at_ns = 0
    for gap_s in (0, 30, 3_600, 30):
        at_ns += gap_s * 1_000_000_000
        meter.take(Measurement(battery_w=3_600, grid_w=-7_200), at_ns)
    record = meter.sample(1, 9)
    assert record["charge_wh"] == 60
    assert record["export_wh"] == 120
    assert record["command_version"] == 9
    assert record["flags"] == Flag.ESTIMATED
    assert not meter.has_measured


@given(
    st.lists(
        st.tuples(
            st.integers(-20_000, 20_000),
            st.one_of(st.none(), st.integers(0, 10**7)),
            st.integers(0, 90),
        ),
        max_size=60,
    )
)
def test_registers_never_run_backwards(readings: list[tuple[int, int | None, int]]) -> None:
    meter, at_ns = SiteMeter(longest_gap_s=60), 0
    before = dict.fromkeys(REGISTERS, 0)
    for power_w, shown_wh, gap_s in readings:
        at_ns += gap_s * 1_000_000_000
        meter.take(Measurement(battery_w=power_w, grid_w=-power_w, import_wh=shown_wh), at_ns)
        now = {name: meter.state.registers[name].value_wh for name in REGISTERS}
        assert all(now[name] >= before[name] for name in REGISTERS)
        before = now


def test_state_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "deep" / "agent.state")
    assert file.read() is None
    assert file.write({"a": 1})
    (tmp_path / "deep" / "agent.new").write_bytes(b"half of the next")
    assert file.read() == {"a": 1}
    content = bytearray((tmp_path / "deep" / "agent.state").read_bytes())
    content[-1] ^= 1
    (tmp_path / "deep" / "agent.state").write_bytes(content)
    with pytest.raises(CorruptStateError):
        file.read()
    assert file.read() is None, "it was put aside"
    assert (tmp_path / "deep" / "agent.bad").exists()
    blocked = StateFile(tmp_path / "deep" / "agent.bad" / "state")
    assert not blocked.write({})
    assert blocked.fault


def config_of(tmp_path: Path, text: str = CONFIG, flags: dict[str, Any] | None = None) -> Any:
    file = tmp_path / "edge.toml"
    file.write_text(text)
    return read_config(file, flags or {})


def test_configuration_takes_flags_over_the_file(tmp_path: Path) -> None:
    found = config_of(tmp_path, flags={"site": "home-2", "battery.reserve_frac": 0.4, "plant.host": None})
    assert found.site == "home-2"
    assert found.config.battery.reserve_frac == 0.4
    assert found.config.plant.host == ""
    assert found.mqtt_port == 8_883
    assert config_of(tmp_path, flags={"plant.tls": False}).mqtt_port == 1_883
    assert config_of(tmp_path, flags={"plant.root_public_key": "ab" * 32}).root_public_key == b"\xab" * 32


@pytest.mark.parametrize(
    ("addition", "field"),
    [
        ("[limits]\nimport_kw = -1", "limits.import_kw"),
        ("[limits]\nsurprise = 1", "limits"),
        ("[times]\ntick_s = 10.0\nstale_s = 12.0", "times.stale_s"),
        ("[plant]\nroot_public_key = 'zz'", "plant.root_public_key"),
        ("[tariff]\nwindows = [{begin='1', end='2', import_per_kwh=1.0}]", "tariff window"),
        ("[page]\nport = 70000", "page.port"),
        ("nonsense", "--config"),
    ],
)
def test_wrong_configuration_is_named(tmp_path: Path, addition: str, field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        config_of(tmp_path, CONFIG + addition)
    assert caught.value.field == field


def test_secret_comes_from_the_environment_or_a_private_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("word\n")
    config = config_of(tmp_path, flags={"plant.secret_file": str(secret)}).config
    secret.chmod(0o640)
    with pytest.raises(SettingsError):
        read_secret(config, {})
    secret.chmod(0o600)
    assert read_secret(config, {}) == "word"
    assert read_secret(config, {"SHOAL_EDGE_SECRET": "other"}) == "other"
    secret.write_text(" ")
    with pytest.raises(SettingsError):
        read_secret(config, {})
    with pytest.raises(SettingsError):
        read_secret(config_of(tmp_path).config, {})
