"""What simulated homes say that they are set to: when a droop is armed or changes, and with what comes later, now and then."""

from __future__ import annotations

from typing import Final

from shoal.domain.interval import NS_PER_S
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.parameters_report import SAY_AGAIN_S, ParametersReport, configured, encode_parameters

FIRMWARE: Final = "simulated home"
RESPONSE_S: Final = 1.0


class HomeParameters:
    """Parameters of N simulated homes.

    Args:
        agents: Their agents.
    """

    def __init__(self, agents: AgentColumns) -> None:
        self._agents = agents
        self._told: dict[int, ParametersReport] = {}

    def changed(self, row: int, now_ns: int) -> bytes | None:
        """Return what a home says after a document; None when nothing is news, and before anything was ever armed."""
        report = configured(
            self._agents.droop[row],
            now_ns=now_ns,
            discharge_w=int(self._agents.discharge_limit_w[row]),
            response_s=RESPONSE_S,
            firmware=FIRMWARE,
        )
        told = self._told.get(row)
        if told is None:
            if report.droop_frac is None:
                return None
        elif report.says_same(told) and now_ns - told.t_ns < SAY_AGAIN_S * NS_PER_S:
            return None
        self._told[row] = report
        return encode_parameters(report)
