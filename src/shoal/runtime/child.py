"""The child's side of supervision: say that one is ready, and do not outlive the parent.

Both do nothing in a process that nobody supervises, so a role can be started by hand.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

READY_FILE_VARIABLE: Final = "SHOAL_READY_FILE"
SUPERVISED_VARIABLE: Final = "SHOAL_SUPERVISED"
_GRACE_S: Final = 5.0


def announce_ready(facts: Mapping[str, Any] | None = None) -> None:
    """Tell the supervisor that this process is ready, with facts (JSON values) such as its ports."""
    name = os.environ.get(READY_FILE_VARIABLE)
    if not name:
        return
    path = Path(name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode(dict(facts or {})))
    temporary.replace(path)


def watch_parent() -> None:
    """End this process when its supervisor is gone: SIGTERM to itself, and by force after 5 s.

    The supervisor holds the other end of this standard input, so its death reads as the end of input.
    """
    if os.environ.get(SUPERVISED_VARIABLE) == "1":
        threading.Thread(target=_watch, name="watch-parent", daemon=True).start()


def _watch() -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        return  # there is no standard input to watch
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)
