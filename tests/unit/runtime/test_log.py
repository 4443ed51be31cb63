"""Logging: JSON lines, the plant's time, foreign events, and no secret in any of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from shoal.domain.interval import NS_PER_S
from shoal.runtime.log import configure_logging
from shoal.runtime.sections import Log


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    structlog.reset_defaults()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines_carry_role_level_and_plant_time(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log(format="json"), role="shard-1", now_ns=lambda: 90 * NS_PER_S)
    structlog.get_logger("shoal.test").info("shard_ready", sites=3)
    (event,) = lines(capsys.readouterr().err)
    assert event["event"] == "shard_ready"
    assert (event["role"], event["level"], event["sites"]) == ("shard-1", "info", 3)
    assert event["sim_time"] == "1970-01-01T00:01:30.000Z"
    assert event["timestamp"].endswith("Z")


def test_level_is_obeyed_and_foreign_events_take_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log(format="json", level="warning"), role="api")
    structlog.get_logger("shoal.test").info("left_out")
    logging.getLogger("some.library").warning("lost %s", "postgresql://u:hush@h/d")
    (event,) = lines(capsys.readouterr().err)
    assert event["event"] == "lost postgresql://u:***@h/d"
    assert event["logger"] == "some.library"


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_hidden_at_any_depth(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log(format=form), role="api")
    log = structlog.get_logger("shoal.test")
    log.info("a", token="hush", api_password="hush", device={"nkey_seed": "hush", "site": "s1"})
    log.info("b", urls=["nats://u:hush@h"], market_token="hush")
    log.info("see nats://u:hush@h")
    try:
        raise OSError("cannot reach postgresql://u:hush@h/d")
    except OSError:
        log.exception("failed")
    text = capsys.readouterr().err
    assert "hush" not in text
    assert "s1" in text
    assert "OSError" in text


def test_file_gets_json_lines_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "logs" / "api.log"
    configure_logging(Log(), role="api", file=file)
    structlog.get_logger("shoal.test").warning("twice")
    assert "twice" in capsys.readouterr().err
    assert lines(file.read_text())[0]["event"] == "twice"


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        configure_logging(Log(format="json"), role="api")
    structlog.get_logger("shoal.test").info("once")
    assert len(lines(capsys.readouterr().err)) == 1
