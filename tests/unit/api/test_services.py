"""Standing services through the interface: who may, what is refused, and what is shown of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec

from shoal.control.standing import key_of
from shoal.domain.ids import ResourceId
from tests.unit.api.doors import ask, make_plant

TOKEN, ANN = "read-read-read", "ann-ann-ann-ann"
OPERATORS = {"ann": ANN}
ASKED: dict[str, Any] = {
    "kind": "peak_shaving",
    "group": "homes",
    "target_kw": 400.0,
    "windows": ["mon-fri 16:00-21:00"],
    "zone": "America/Chicago",
}


def test_service_is_put_changed_shown_and_stopped(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)

    def say(method: str, path: str, *, token: str = ANN, **content: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return ask(plant, method, path, token=TOKEN, operators=OPERATORS, headers=headers, **content)

    assert say("PUT", "/api/services/p-1", token=TOKEN, json=ASKED).status_code == 403
    made = say("PUT", "/api/services/p-1", json=ASKED)
    assert made.status_code == 200, made.text
    assert made.json()["by"] == "ann"
    assert made.json()["windows"] == ["mon,tue,wed,thu,fri 16:00-21:00"]
    assert (made.json()["now"], made.json()["end_ms"]) == (None, None)
    changed = say("PUT", "/api/services/p-1", json={**ASKED, "target_kw": 300.0}).json()
    assert (changed["revision"], changed["target_kw"]) == (2, 300.0)
    shown = {
        "counts": True,
        "broken": False,
        "fault": "",
        "measured": {"without_kw": 420.0, "with_kw": 399.0, "coverage_frac": 0.97, "oldest_age_s": 61.0},
        "serving": {"sites": 30, "stored_kwh": 120.0, "capacity_kwh": 300.0, "charge_kw": 1.0},
        "wish": {
            "why": "shaving",
            "power_kw": -21.0,
            "level_kw": 392.0,
            "can_hold": True,
            "needed_kwh": 60.0,
            "spare_kwh": 60.0,
        },
    }
    day = {
        "day": "2026-07-20",
        "peak_without_kw": 420.0,
        "peak_with_kw": 399.0,
        "ramp_without_kw_per_min": 0.0,
        "ramp_with_kw_per_min": 0.0,
        "charged_kwh": 1.0,
        "discharged_kwh": 2.0,
        "counted_s": 60.0,
        "beyond_without_s": 60.0,
        "beyond_s": 0.0,
        "blind_s": 0.0,
    }
    fence = plant.ledger.next_fence("control")
    state = msgspec.json.encode({"now": shown, "tally": {"days": [day]}})
    plant.ledger.save_state(ResourceId(key_of("p-1")), state, issuer="control", fence=fence, saved_ns=1)
    found = say("GET", "/api/services/p-1").json()
    assert (found["now"]["why"], found["now"]["with_kw"], found["now"]["sites"]) == ("shaving", 399.0, 30)
    assert found["days"] == [day]
    for wrong in (
        {"kind": "smoothing", "target_kw": 0.0},
        {"group": "no-such"},
        {"windows": ["every day"]},
        {"zone": "Nowhere"},
        {"program": "storm"},
    ):
        refused = say("PUT", "/api/services/p-2", json={**ASKED, **wrong})
        assert refused.status_code in (404, 422), wrong
    stopped = say("POST", "/api/services/p-1/stop", json={"reason": "enough"}).json()
    assert stopped["state"] == "stopped"
    assert say("GET", "/api/services").json() == []
    assert say("PUT", "/api/services/p-1", json=ASKED).status_code == 422
