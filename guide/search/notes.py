"""Sentences that a reader of the answer must know: contradictions in the question, caveats of the
choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from guide.domain import Evaluation, Inventory, Plan, Reason, Rejection, Workload
from guide.frameworks import FRAMEWORKS, what_ifs
from guide.perf.pipeline import NIC_BYTES_PER_S, handed_on_bytes
from guide.search.additions import Tried
from guide.search.causes import Cause, Findings
from guide.search.headroom import MOST_TIMES
from guide.search.pricing import usd_per_h
from guide.search.promised import promised_context_tokens, unstated_p95
from guide.search.space import considered_pools
from guide.simulate.arrivals import DEFAULT_P95_RATIO
from guide.units import format_bytes, format_rate, format_usd

WRONG_PRECISION = (Reason.UNSUPPORTED_PRECISION, Reason.COMPUTE_CAPABILITY)
TOO_STEEP = 20.0  # % of TTFT for one percent of capacity: no number to rely on
EDGE = 0.08  # of the load: below, a day like any other may go over it
EXACT = 1e-9
NO_GPU_NODE = "the cluster has no node with GPUs that GUIDE can use"


def notes(
    plan: Plan,
    inventory: Inventory,
    top: Sequence[Evaluation],
    rejections: Sequence[Rejection],
    found: Findings | None,
    added: Tried,
) -> tuple[str, ...]:
    """All notes, in a fixed order; `found` and `added` are what was tried where there is no
    answer.
    """
    assumed = [*plan.model.notes, *_assumed(plan.workload)]
    if top:
        best = top[0]
        unreal = what_ifs((g.framework for g in best.candidate.groups), plan.switches)
        first = (*unreal, *_lacking(plan, best), *_starting(best), *headroom_note(plan, best))
        return (*first, *_replicas_asked(plan, best), *assumed, *_caveats(best))
    return (
        *assumed,
        *_contradictions(plan, inventory),
        *_no_such_precision(plan, inventory, rejections),
        *_old_driver(rejections),
        *(_causes(found, _cause_of(plan)) if found else ()),
        *_added_in_vain(plan, added),
    )


def _replicas_asked(plan: Plan, best: Evaluation) -> list[str]:
    if plan.min_replicas < 2 or sum(g.replicas for g in best.candidate.groups) > plan.min_replicas:
        return []
    return [
        f"spec.deployment.minReplicas asks for {plan.min_replicas} replicas: fewer were not "
        "considered, and the bill counts them all"
    ]


def _added_in_vain(plan: Plan, added: Tried) -> list[str]:
    """That no GPU would do, and by what the one that comes nearest fails."""
    near = added.nearest
    if added.works or near is None:
        return []
    among = "that spec.placement.gpus allows" if plan.gpus else "of the catalogue"
    shape = near.shape
    return [
        f"no GPU {among} would do as one or two nodes more: the nearest is {shape.gpu.name} under "
        f"{shape.release.framework} with {' x '.join(shape.key.degrees)}: {near.broken.detail}"
    ]


def _starting(best: Evaluation) -> list[str]:
    """A batch is timed from where its servers run."""
    if best.job is None:
        return []
    return ["the time is that of running servers; their start takes minutes more and is billed too"]


def headroom_note(plan: Plan, best: Evaluation) -> list[str]:
    """How much more load the limits hold; at the edge a warning."""
    more = best.headroom
    if more is None:
        return []
    offered, users = plan.workload.requests_per_s, plan.workload.concurrency
    if offered is not None:
        reach = f"{format_rate((1 + more) * offered)} requests/s"
    elif plan.workload.offline is not None:
        reach = f"{math.floor((1 + more) * plan.workload.offline + EXACT):,} requests"
    else:
        reach = f"{math.floor((1 + more) * (users or 1) + EXACT):,} users"
    if more >= MOST_TIMES - 1:
        return [f"limits hold up to {reach}, {MOST_TIMES:g} times the load, and maybe more"]
    if more < EDGE:
        return [
            f"it runs at its edge: limits hold only up to {reach} ({more:.0%} more); plan for a "
            "higher load, or watch it"
        ]
    return [f"limits hold up to {reach} ({more:.0%} more)"]


def _lacking(plan: Plan, best: Evaluation) -> list[str]:
    """An answer that only runs from an image of the user's says so before anything else."""
    names = sorted({g.framework for g in best.candidate.groups} & set(plan.unready))
    return [
        f"nothing but {name} keeps every limit, and it has no official image: name yours in "
        f"spec.deployment.{FRAMEWORKS[name].image_field}, without which nothing can be rendered"
        for name in names
    ]


def _assumed(workload: Workload) -> list[str]:
    """What the lengths were taken to be where the plan does not say."""
    sides = unstated_p95(workload)
    if not sides:
        return []
    return [
        f"no p95 of {' and '.join(sides)} stated: {DEFAULT_P95_RATIO:g} x the mean assumed; "
        "state p95 = mean for fixed lengths"
    ]


def _contradictions(plan: Plan, inventory: Inventory) -> list[str]:
    """Limits that no deployment could keep on this cluster, whatever the model."""
    if not inventory.pools:
        return [NO_GPU_NODE]
    pools = considered_pools(plan, inventory)
    if not pools:
        names = sorted({pool.gpu.name if pool.gpu else pool.product for pool in inventory.pools})
        return [
            f"spec.placement.gpus allows {', '.join(plan.gpus)}, "
            f"but the cluster has {', '.join(names)}"
        ]
    found: list[str] = []
    if not any(pool.free_gpus for pool in pools):
        used = sum(pool.used_gpus for pool in pools)
        found.append(f"no GPU is free: {used} are in use")
    limit = plan.budget.max_usd_per_h
    bills = [usd for pool in pools if (usd := usd_per_h(pool, 1, 1)) is not None]
    if limit is not None and bills and limit < min(bills):
        found.append(
            f"spec.budget.maxHourlyUSD of {format_usd(limit)} is below the cheapest bill of the "
            f"cluster, {format_usd(min(bills))} per hour"
        )
    return found


def _no_such_precision(
    plan: Plan, inventory: Inventory, rejections: Sequence[Rejection]
) -> list[str]:
    """A tolerance that leaves only precisions which no framework runs on any GPU of the cluster;
    said where it is so for all of them.
    """
    pools = {pool.name for pool in considered_pools(plan, inventory) if pool.gpu is not None}
    ran = {
        r.pool for r in rejections if r.candidate is not None and r.reason not in WRONG_PRECISION
    }
    found: list[str] = []
    for name in sorted(pools) if not pools & ran else ():
        one = next((r for r in rejections if r.pool == name and r.candidate is not None), None)
        if one is not None:
            found.append(
                f"spec.precisionTolerance {plan.tolerance.value} leaves {plan.model.name} no "
                f"precision that runs on pool {name}: {one.detail}"
            )
    return found


def _old_driver(rejections: Sequence[Rejection]) -> list[str]:
    """An image that the nodes of a pool cannot start; said once, of the first pool."""
    said = [one.detail for one in rejections if one.reason is Reason.DRIVER_TOO_OLD]
    return [f"{min(said)}: name an image with an older CUDA, or renew the driver"] if said else []


def _causes(found: Findings, cause_of: Mapping[Cause, str]) -> list[str]:
    """What was found by trying; where service levels are not in the way, that too."""
    said: list[str] = []
    vain = "relaxing a service level would not help"
    if found.cause is not None:
        sentence = cause_of[found.cause]
        said.append(f"{sentence}; {vain}" if found.service_levels_in_vain else sentence)
    elif found.service_levels_in_vain:
        said.append(vain)
    if found.tolerance is not None:
        said.append(f"spec.precisionTolerance {found.tolerance.value} would make it feasible")
    if found.over_nodes is not None:
        group = found.over_nodes.groups[0].group
        layout = " x ".join(group.key.degrees)
        said.append(
            f"replicas over several nodes would make it feasible ({layout} on "
            f"{group.gpu.name}), as LeaderWorkerSets, a format of `guide render`"
        )
    return said


def _cause_of(plan: Plan) -> Mapping[Cause, str]:
    needed = promised_context_tokens(plan)
    return {
        Cause.MODEL_CONTEXT: f"the context is the cause: {needed:,} tokens are beyond the "
        f"{plan.model.max_context_tokens:,} that {plan.model.name} was made for, on any GPU",
        Cause.BUDGET: "the budget is the cause",
        Cause.TOO_FEW_GPUS: "too few GPUs are free: more nodes of the kinds that are there would "
        "do",
        Cause.MEMORY: "memory is the cause: weights and context do not fit into the GPUs of one "
        "node",
    }


def _caveats(best: Evaluation) -> list[str]:
    found = _traffic(best)
    for item in best.groups:
        group = item.group
        if item.report.ttft_steepness > TOO_STEEP:
            found.append(
                f"the load is close to all that pool {group.pool.name} serves: with 1 % less "
                f"capacity p95 of TTFT grows by {item.report.ttft_steepness - 1:.0f} %, so its "
                "interval is wide; one more replica makes it certain"
            )
        if caveat := FRAMEWORKS[group.framework].caveat:
            found.append(caveat)
        if group.model.precision == "bf16" and group.precision.name == "fp16":
            found.append(f"{group.gpu.name} has no bf16: the weights run as fp16")
        if FRAMEWORKS[group.framework].brings_code(group.model):
            found.append(
                f"{group.model.name} brings Python code that the server runs "
                "(--trust-remote-code): read it, and pin its revision by --revision"
            )
        over = group.pool.nodes_for(group.tp, group.pp)
        if over > 1 and group.pool.nvlink_domains:
            found.append(
                f"a replica goes over {over} nodes of one NVLink domain, counted as one node: its "
                "ComputeDomain needs NVIDIA's DRA driver in the cluster"
            )
        elif group.gpus_per_replica > group.pool.gpus_per_node:
            sent = handed_on_bytes(group.model) * group.limits.max_num_batched_tokens
            found.append(
                f"a replica goes over {over} nodes: a full step "
                f"sends {format_bytes(sent)} from node to node, counted at an assumed "
                f"{NIC_BYTES_PER_S * 8 / 1e9:.0f} Gbit/s"
            )
        if group.attention_dp > 1:
            found.append(
                f"attention runs in data parallel over {group.attention_dp} ranks, which one "
                "server balances; what they exchange is counted by the link's datasheet and "
                "experts are taken to be asked for evenly: nobody measured it here, so try it "
                "before you rely on it"
            )
        if group.pool.price is None:
            found.append(
                f"no price is known for pool {group.pool.name}: it ranks after priced ones"
            )
        if group.pool.potential:
            found.append(f"the nodes of pool {group.pool.name} do not exist yet (autoscaling)")
        found.extend(f"pool {group.pool.name}: {note}" for note in group.pool.notes)
    return found


def _traffic(best: Evaluation) -> list[str]:
    """How a mixed fleet shares its load, and what its percentiles mean."""
    groups = best.candidate.groups
    if len(groups) == 1:
        return []
    shares = ", ".join(f"{g.load_share:.1%} to {g.pool.name}" for g in groups)
    return [
        "every group of this mixed fleet keeps every limit by itself; its percentiles are those of "
        "the slowest group, an upper bound for all requests",
        f"every replica gets the same share of the requests ({shares}), so one Service is enough"
        if best.candidate.equal_shares
        else f"requests are split unevenly ({shares}): the HTTPRoute needs a Gateway",
    ]
