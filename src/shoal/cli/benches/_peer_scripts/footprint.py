"""How much memory this process takes and has taken."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Return what is resident now; where that is not told, the most that was."""
    return _read("VmRSS:")


def peak_bytes() -> int:
    """Return the most that was resident since the process began."""
    return _read("VmHWM:")


def _read(name: str) -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1_024 * int(status.partition(name)[2].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1_024
