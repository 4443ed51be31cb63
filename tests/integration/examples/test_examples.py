"""Every example runs, and says what it is there to say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SAYS = {
    "optimise_battery.py": r"would flip|the true optimum: True",
    "score_forecast.py": r"within the 90 % band +[5-9]\d\.\d%",
    "backtest_market.py": r"markov +[\d.]+ AUD, +[4-9]\d\.\d% of perfect foresight",
    "add_market.py": r"has 25 hours[\s\S]*quantity_step[\s\S]*Accepted\(\)[\s\S]*in all 28\.70 EUR",
}


def test_every_example_is_known() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SAYS[name], done.stdout), done.stdout
