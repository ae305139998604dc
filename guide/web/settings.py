"""What the server is told by its environment; `guide serve` and the chart set it."""

from __future__ import annotations

import os
from pathlib import Path

from guide.record import Record

NODES, CLUSTER, ANSWERS = "GUIDE_WEB_NODES", "GUIDE_WEB_CLUSTER", "GUIDE_WEB_ANSWERS_PER_MINUTE"
NODE_POOLS, GRAFANA = "GUIDE_WEB_NODE_POOLS", "GUIDE_WEB_GRAFANA"
# as on the command line
GPUS, PRICES, CALIBRATION = "GUIDE_GPUS", "GUIDE_PRICES", "GUIDE_CALIBRATION"
MOST_ANSWERS = 120


class Settings(Record, frozen=True, kw_only=True):
    """Where the page finds nodes, and how much it answers."""

    nodes_file: Path | None = None  # offered as "this cluster"
    node_pools_file: Path | None = None  # what an autoscaler could add to this cluster
    cluster: bool = False  # read the kube context or the cluster around us
    answers_per_minute: int = MOST_ANSWERS  # of one client address
    grafana: str = ""  # where plans have their dashboard; empty: nowhere
    patience_s: float = 1.0  # before the page shows what is found so far

    @classmethod
    def from_environment(cls) -> Settings:
        """The settings of this process."""
        return cls(
            nodes_file=_path(NODES),
            node_pools_file=_path(NODE_POOLS),
            cluster=os.environ.get(CLUSTER) == "true",
            grafana=os.environ.get(GRAFANA, ""),
            answers_per_minute=int(os.environ.get(ANSWERS, MOST_ANSWERS)),
        )

    @property
    def live(self) -> bool:
        """Whether there is a cluster to offer."""
        return self.cluster or self.nodes_file is not None


def catalogue_files() -> dict[str, Path | None]:
    """The user's own catalogue files, as arguments of `guide.catalog.load`."""
    return {
        "extra_gpus": _path(GPUS),
        "prices": _path(PRICES),
        "calibration": _path(CALIBRATION),
    }


def _path(variable: str) -> Path | None:
    text = os.environ.get(variable)
    return Path(text) if text else None
