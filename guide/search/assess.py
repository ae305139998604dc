"""A deployment that runs already, judged by the same bounds and simulation as every candidate."""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import Catalog, Evaluation, Inventory, LayoutKey, Limits, Plan, Reason
from guide.record import Record
from guide.search.bounds import Broken, counted, excess, not_enough_gpus, over_budget
from guide.search.evaluate import Member, Study, evaluate
from guide.search.explore import survey
from guide.search.knobs import verdict
from guide.search.pricing import priced
from guide.search.space import shapes


class Running(Record, frozen=True, kw_only=True):
    """One group of a deployment: which shape, how often, with which share of the load, and the
    limits that its servers were started with, where they are known.
    """

    key: LayoutKey
    replicas: int
    load_share: float = 1.0
    limits: Limits | None = None


class Assessment(Record, frozen=True, kw_only=True):
    """What `plan` may expect of a deployment, and the first limit that it breaks."""

    evaluation: Evaluation
    broken: Broken | None


def assess(
    plan: Plan, inventory: Inventory, catalog: Catalog, layout: Sequence[Running], *, seed: int = 0
) -> Assessment | None:
    """Judge `layout` as `recommend` would; None when it is no longer a candidate at all.

    That is so when its pool or checkpoint is gone, or a bound refuses its shape, with the limits
    that it runs with where they are known.
    """
    inventory = priced(inventory, catalog, plan.budget.billing)
    study = Study(plan=plan, catalog=catalog, seed=seed)
    members = members_of(study, inventory, layout)
    if not members:
        return None
    evaluation = evaluate(members, study)
    shortage = (not_enough_gpus(one.replica.shape, one.replicas) for one in members)
    broken = (
        next((one for one in shortage if one), None)
        or _too_few(plan, sum(one.replicas for one in members))
        or over_budget(plan, evaluation.gpus, evaluation.usd_per_h)
        or verdict(evaluation, members, plan)
    )
    return Assessment(evaluation=evaluation, broken=broken)


def _too_few(plan: Plan, replicas: int) -> Broken | None:
    """A plan may ask for more replicas than its load needs."""
    if replicas >= plan.min_replicas:
        return None
    return Broken(
        Reason.TOO_FEW_REPLICAS,
        f"{counted(replicas, 'replica')}, yet spec.deployment.minReplicas is {plan.min_replicas}",
        excess(plan.min_replicas, replicas),
    )


def members_of(
    study: Study, inventory: Inventory, layout: Sequence[Running]
) -> list[Member] | None:
    """The groups of a deployment at their operating points; None where one is no candidate."""
    wanted = {one.key for one in layout}
    among = [s for s in shapes(study.plan, inventory, study.catalog) if s.key in wanted]
    limits = {one.key: one.limits for one in layout if one.limits is not None}
    replicas = {r.shape.key: r for r in survey(study, inventory, among, limits).replicas}
    if wanted - replicas.keys():
        return None
    return [
        Member(replica=replicas[one.key], replicas=one.replicas, load_share=one.load_share)
        for one in layout
    ]
