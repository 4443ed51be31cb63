"""The points of SunSpec models that a site needs: where they lie, how they are coded, and which one scales them.

Offsets count registers from the model's id on, as in the Alliance's published model definitions. A value that a device
does not implement has a code of its own in each type, and is None here.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from shoal.domain.errors import InvalidInputError

Kind: TypeAlias = Literal[
    "int16", "uint16", "int32", "uint32", "uint64", "acc32", "float32", "enum16", "bitfield16", "sunssf"
]
_CODES: Final[dict[Kind, str]] = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "uint64": ">Q",
    "acc32": ">I",
    "float32": ">f",
    "enum16": ">H",
    "bitfield16": ">H",
    "sunssf": ">h",
}
_NOT_IMPLEMENTED: Final[dict[Kind, int]] = {
    "int16": -0x8000,
    "uint16": 0xFFFF,
    "int32": -0x8000_0000,
    "uint32": 0xFFFF_FFFF,
    "uint64": 0xFFFF_FFFF_FFFF_FFFF,
    "enum16": 0xFFFF,
    "bitfield16": 0xFFFF,
    "sunssf": -0x8000,
}
_MOST_SCALE: Final = 10


@dataclass(frozen=True, slots=True)
class Point:
    """Where a value lies in its model."""

    offset: int
    kind: Kind
    scaled_by: str = ""

    @property
    def registers(self) -> int:
        """How many registers it takes."""
        return struct.calcsize(_CODES[self.kind]) // 2


_INVERTER: Final = {
    "W": Point(14, "int16", "W_SF"),
    "W_SF": Point(15, "sunssf"),
    "Hz": Point(16, "uint16", "Hz_SF"),
    "Hz_SF": Point(17, "sunssf"),
    "WH": Point(24, "acc32", "WH_SF"),
    "WH_SF": Point(26, "sunssf"),
}
_INVERTER_FLOAT: Final = {
    "W": Point(22, "float32"),
    "Hz": Point(24, "float32"),
    "WH": Point(32, "float32"),
}
_METER: Final = {
    "Hz": Point(16, "int16", "Hz_SF"),
    "Hz_SF": Point(17, "sunssf"),
    "W": Point(18, "int16", "W_SF"),
    "W_SF": Point(22, "sunssf"),
    "TotWhExp": Point(38, "acc32", "TotWh_SF"),
    "TotWhImp": Point(46, "acc32", "TotWh_SF"),
    "TotWh_SF": Point(54, "sunssf"),
}
_METER_FLOAT: Final = {
    "Hz": Point(26, "float32"),
    "W": Point(28, "float32"),
    "TotWhExp": Point(60, "float32"),
    "TotWhImp": Point(68, "float32"),
}
INVERTERS: Final = (701, 103, 102, 101, 113, 112, 111)
"""Models that measure what an inverter gives, the newest first."""
METERS: Final = (203, 202, 201, 204, 213, 212, 211, 214)
MODELS: Final[dict[int, dict[str, Point]]] = {
    **dict.fromkeys((101, 102, 103), _INVERTER),
    **dict.fromkeys((111, 112, 113), _INVERTER_FLOAT),
    **dict.fromkeys((201, 202, 203, 204), _METER),
    **dict.fromkeys((211, 212, 213, 214), _METER_FLOAT),
    120: {
        "WRtg": Point(3, "uint16", "WRtg_SF"),
        "WRtg_SF": Point(4, "sunssf"),
        "WHRtg": Point(19, "uint16", "WHRtg_SF"),
        "WHRtg_SF": Point(20, "sunssf"),
        "MaxChaRte": Point(23, "uint16", "MaxChaRte_SF"),
        "MaxChaRte_SF": Point(24, "sunssf"),
        "MaxDisChaRte": Point(25, "uint16", "MaxDisChaRte_SF"),
        "MaxDisChaRte_SF": Point(26, "sunssf"),
    },
    121: {"WMax": Point(2, "uint16", "WMax_SF"), "WMax_SF": Point(22, "sunssf")},
    124: {
        "WChaMax": Point(2, "uint16", "WChaMax_SF"),
        "StorCtl_Mod": Point(5, "bitfield16"),
        "ChaState": Point(8, "uint16", "ChaState_SF"),
        "OutWRte": Point(12, "int16", "InOutWRte_SF"),
        "InWRte": Point(13, "int16", "InOutWRte_SF"),
        "InOutWRte_WinTms": Point(14, "uint16"),
        "InOutWRte_RvrtTms": Point(15, "uint16"),
        "ChaGriSet": Point(17, "enum16"),
        "WChaMax_SF": Point(18, "sunssf"),
        "ChaState_SF": Point(22, "sunssf"),
        "InOutWRte_SF": Point(25, "sunssf"),
    },
    160: {"DCW_SF": Point(4, "sunssf"), "N": Point(8, "uint16")},
    701: {
        "W": Point(10, "int16", "W_SF"),
        "Hz": Point(17, "uint32", "Hz_SF"),
        "TotWhInj": Point(19, "uint64", "TotWh_SF"),
        "TotWhAbs": Point(23, "uint64", "TotWh_SF"),
        "Hz_SF": Point(115, "sunssf"),
        "W_SF": Point(116, "sunssf"),
        "TotWh_SF": Point(120, "sunssf"),
    },
    704: {
        "WSetEna": Point(22, "enum16"),
        "WSetMod": Point(23, "enum16"),
        "WSet": Point(24, "int32", "WSet_SF"),
        "WSetRvrt": Point(26, "int32", "WSet_SF"),
        "WSetEnaRvrt": Point(30, "enum16"),
        "WSetRvrtTms": Point(31, "uint32"),
        "WSet_SF": Point(55, "sunssf"),
    },
    713: {
        "WHRtg": Point(2, "uint16", "WH_SF"),
        "SoC": Point(4, "uint16", "Pct_SF"),
        "WH_SF": Point(7, "sunssf"),
        "Pct_SF": Point(8, "sunssf"),
    },
    802: {
        "WHRtg": Point(3, "uint16", "WHRtg_SF"),
        "WChaRteMax": Point(4, "uint16", "WChaDisChaMax_SF"),
        "WDisChaRteMax": Point(5, "uint16", "WChaDisChaMax_SF"),
        "SoC": Point(11, "uint16", "SoC_SF"),
        "WHRtg_SF": Point(53, "sunssf"),
        "WChaDisChaMax_SF": Point(54, "sunssf"),
        "SoC_SF": Point(56, "sunssf"),
    },
}
MODULE_FIRST: Final = 10
MODULE_REGISTERS: Final = 20
MODULE_DCW: Final = Point(11, "uint16")
"""In model 160: where the first module begins, how long each is, and where in it its power lies."""


def reach_of(model: int) -> int:
    """Return how many registers of a model must be read for all its points."""
    return max(point.offset + point.registers for point in MODELS[model].values())


def value_of(point: Point, registers: list[int], at: int = 0) -> float | None:
    """Return the plain value of a point in the registers of its model, None where it is not implemented or not there."""
    first = at + point.offset
    raw = registers[first : first + point.registers]
    if len(raw) < point.registers:
        return None
    (number,) = struct.unpack(_CODES[point.kind], struct.pack(f">{len(raw)}H", *raw))
    if number != number or number == _NOT_IMPLEMENTED.get(point.kind):
        return None
    return float(number)


def scaled(model: int, name: str, registers: list[int]) -> float | None:
    """Return a point in its unit, None where it or its scale factor is not implemented."""
    point = MODELS[model][name]
    value = value_of(point, registers)
    if value is None or not point.scaled_by:
        return value
    exponent = value_of(MODELS[model][point.scaled_by], registers)
    if exponent is None or abs(exponent) > _MOST_SCALE:
        return None
    return value * math.pow(10.0, exponent)


def coded(model: int, name: str, value: float, registers: list[int]) -> list[int]:
    """Return the registers that say `value`, given in the point's unit, to a device that read `registers` says how it scales.

    Raises:
        InvalidInputError: when the point cannot say it.
    """
    point = MODELS[model][name]
    exponent = value_of(MODELS[model][point.scaled_by], registers) if point.scaled_by else 0
    number = round(value / 10.0 ** (exponent or 0))
    try:
        raw = struct.pack(_CODES[point.kind], number)
    except struct.error as error:
        raise InvalidInputError(field=f"{model}.{name}", value=value, fix="within its range") from error
    return list(struct.unpack(f">{point.registers}H", raw))
