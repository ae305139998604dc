"""What keeps an infeasible plan from an answer: every sentence of `notes` about it is the outcome
of one of these runs, made by the same search on a changed question.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec.structs import replace

from guide.domain import (
    Budget,
    Evaluation,
    GpuPool,
    Inventory,
    Plan,
    Reason,
    Relaxation,
    Slo,
    Tolerance,
)
from guide.record import Record
from guide.search.bounds import context_beyond_model
from guide.search.evaluate import Study
from guide.search.explore import Ledger, Survey, survey
from guide.search.fleet import cheapest, feasible
from guide.search.promised import promised_context_tokens
from guide.search.space import considered_pools, shapes

MORE_NODES = 256  # of each kind that is there: more than any question asks for
MORE_MEMORY = 64  # times


class Cause(StrEnum):
    """What alone would have to be different, service levels left out."""

    MODEL_CONTEXT = "context"  # the requests are longer than the model takes
    BUDGET = "budget"
    TOO_FEW_GPUS = "gpus"  # more nodes of the kinds that are there
    MEMORY = "memory"  # the same GPUs with more memory


class Findings(Record, frozen=True, kw_only=True):
    """What was tried on an infeasible plan; `None` and `False` where it would not help."""

    service_levels_in_vain: bool = False  # infeasible without any of those that the plan states
    cause: Cause | None = None
    tolerance: Tolerance | None = None  # the least that makes it feasible as it is asked
    over_nodes: Evaluation | None = None  # as asked, where replicas may go over several nodes

    @property
    def offers(self) -> bool:
        """Whether one of them is something to do."""
        return self.tolerance is not None or self.over_nodes is not None


def find_causes(
    study: Study,
    inventory: Inventory,
    found: Survey,
    offers: Sequence[Relaxation],
) -> Findings:
    """Try the plan without its service levels, with one thing more; and what no number says.

    `found` is its survey, `offers` are the changes of one number that help.
    """
    plan = study.plan
    if any(offer.field.startswith("spec.slo.") for offer in offers):
        cause, in_vain = None, False  # the offers say it
    else:
        stated = plan.slo != Slo()
        in_vain = stated and not _works(study, replace(plan, slo=Slo()), inventory)
        cause = _cause(study, inventory) if in_vain or not stated else None
    return Findings(
        service_levels_in_vain=in_vain,
        cause=cause,
        tolerance=_tolerance(study, inventory),
        over_nodes=_over_nodes(study, inventory, found),
    )


def _works(study: Study, plan: Plan, inventory: Inventory, *, mixed: bool = True) -> bool:
    changed = study.under(plan)
    return feasible(changed, survey(changed, inventory), mixed=mixed) is not None


def _cause(study: Study, inventory: Inventory) -> Cause | None:
    plan = replace(study.plan, slo=Slo())
    if context_beyond_model(plan.model, promised_context_tokens(plan)) is not None:
        return Cause.MODEL_CONTEXT
    pools = [pool for pool in considered_pools(plan, inventory) if pool.gpu is not None]
    if not pools:
        return None
    unpaid = replace(plan, budget=Budget(billing=plan.budget.billing))
    if unpaid != plan and _works(study, unpaid, inventory):
        return Cause.BUDGET
    if _works(study, plan, with_more_nodes(inventory), mixed=False):
        return Cause.TOO_FEW_GPUS
    if _works(study, plan, with_more_memory(inventory), mixed=False):
        return Cause.MEMORY
    return None


def with_more_nodes(inventory: Inventory) -> Inventory:
    """As if many more nodes of every kind were there, all of their GPUs free."""

    def grown(pool: GpuPool) -> GpuPool:
        more = (pool.gpus_per_node,) * MORE_NODES
        return replace(pool, free_gpus_by_node=(*pool.free_gpus_by_node, *more))

    return replace(inventory, pools=tuple(map(grown, inventory.pools)))


def with_more_memory(inventory: Inventory) -> Inventory:
    """As if the GPUs had so much memory that every model fits into one."""

    def grown(pool: GpuPool) -> GpuPool:
        if pool.gpu is None:
            return pool
        gpu = pool.gpu
        larger = replace(
            gpu,
            hbm_bytes=MORE_MEMORY * gpu.hbm_bytes,
            visible_bytes=gpu.visible_bytes and MORE_MEMORY * gpu.visible_bytes,
        )
        return replace(pool, gpu=larger)

    return replace(inventory, pools=tuple(map(grown, inventory.pools)))


def _tolerance(study: Study, inventory: Inventory) -> Tolerance | None:
    wider = list(Tolerance)[list(Tolerance).index(study.plan.tolerance) + 1 :]
    for tolerance in wider:
        if _works(study, replace(study.plan, tolerance=tolerance), inventory):
            return tolerance
    return None


def _over_nodes(study: Study, inventory: Inventory, found: Survey) -> Evaluation | None:
    """Only where a replica is too large for a node: what fits on one gains nothing from two."""
    plan = study.plan
    if plan.over_nodes or max((len(p.free_gpus_by_node) for p in inventory.pools), default=0) < 2:
        return None
    if not any(one.broken.reason is Reason.SPANS_NODES for one in found.refusals):
        return None
    wide = study.under(replace(plan, over_nodes=True))
    among = None
    if not found.replicas:  # nor does any of those on one node serve beside one over several
        among = [s for s in shapes(wide.plan, inventory, study.catalog) if s.nodes > 1]
    return cheapest(wide, survey(wide, inventory, among), Ledger())
