"""What would make an infeasible plan feasible."""

from __future__ import annotations

from guide.record import Record


class Relaxation(Record, frozen=True, kw_only=True):
    """A single change to the plan that makes it feasible, verified by re-running."""

    field: str  # path in the InferencePlan, e.g. spec.slo.ttftP95Milliseconds
    current: float
    needed: float


class Addition(Record, frozen=True, kw_only=True):
    """Nodes beside those that are there, with which every limit is kept, verified by a run."""

    gpu: str
    gpus_per_node: int
    nodes: int
    usd_per_h: float | None  # of the nodes that are added
    max_requests_per_s: float | None  # up to which limits hold; of a closed loop what it serves
    over_nodes: bool = False  # only where one replica may go over several nodes
    changes: tuple[Relaxation, ...] = ()  # of the plan, that it takes as well
