"""timely-beliefs answers as-of questions: `python timely_beliefs_read.py FOLDER SERIES`; prints how long each took.

A frame a series is made of `N.npz` (start_ns, known_ns, value), which is not timed. Each question of `reads.npy` (from,
to, as of) is answered from every frame; the answers are left in `answerN.npy`.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped,import-not-found,unused-ignore]
import timely_beliefs as tb  # type: ignore[import-not-found]

ANSWER = np.dtype([("series", "<i8"), ("start_ns", "<i8"), ("known_ns", "<i8"), ("value", "<f8")])


def frame(file: Path, number: int) -> tb.BeliefsDataFrame:
    """Return the facts of a series as its own kind of frame, in the order of its index."""
    facts = np.load(file)
    columns = {
        "event_start": pd.to_datetime(facts["start_ns"], utc=True),
        "belief_time": pd.to_datetime(facts["known_ns"], utc=True),
        "event_value": facts["value"],
    }
    sensor = tb.Sensor(f"P{number}", unit="AUD/MWh", event_resolution=timedelta(minutes=5))
    return tb.BeliefsDataFrame(
        pd.DataFrame(columns), sensor=sensor, source=tb.BeliefSource("bench")
    ).sort_index()


def main(folder: str, series: str) -> None:
    """Answer every question; print how long each took."""
    frames = [frame(Path(folder) / f"{number}.npz", number) for number in range(int(series))]
    reads = np.load(Path(folder) / "reads.npy")
    took_s = []
    for index, (from_ns, to_ns, as_of_ns) in enumerate(reads.tolist()):
        began_s = time.perf_counter()
        first, end, as_of = (pd.Timestamp(t, tz="UTC") for t in (from_ns, to_ns, as_of_ns))
        last = end - pd.Timedelta(1, "ns")
        known = [one.loc[first:last].fixed_viewpoint(as_of) for one in frames]
        took_s.append(time.perf_counter() - began_s)
        answers = []
        for number, one in enumerate(known):
            answer = np.empty(len(one), dtype=ANSWER)
            answer["series"] = number
            for name, level in (("start_ns", "event_start"), ("known_ns", "belief_time")):
                instants = one.index.get_level_values(level)
                answer[name] = instants.tz_convert(None).astype("datetime64[ns]").astype("int64")
            answer["value"] = one["event_value"].to_numpy()
            answers.append(answer)
        np.save(Path(folder) / f"answer{index}.npy", np.concatenate(answers))
    sys.stdout.write("\n" + json.dumps({"took_s": took_s}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
