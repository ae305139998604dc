"""Sentences that a reader of the answer must know: contradictions in the question, caveats of the
choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import Evaluation, Inventory, Plan, Reason, Rejection, Workload
from guide.frameworks import FRAMEWORKS
from guide.frameworks.vllm_starts import brings_code
from guide.search.operating_point import unstated_p95
from guide.search.pricing import usd_per_h
from guide.search.space import considered_pools
from guide.simulate.arrivals import DEFAULT_P95_RATIO
from guide.units import format_bytes, format_usd

WRONG_PRECISION = (Reason.UNSUPPORTED_PRECISION, Reason.COMPUTE_CAPABILITY)
TOO_STEEP = 20.0  # % of TTFT for one percent of capacity: no number to rely on
NO_GPU_NODE = "the cluster has no node with GPUs that GUIDE can use"


def notes(
    plan: Plan, inventory: Inventory, top: Sequence[Evaluation], rejections: Sequence[Rejection]
) -> tuple[str, ...]:
    """All notes, in a fixed order."""
    assumed = [*plan.model.notes, *_assumed(plan.workload)]
    if top:
        return (*assumed, *_caveats(top[0]))
    return (
        *assumed,
        *_contradictions(plan, inventory),
        *_no_such_precision(plan, inventory, rejections),
        *_single_cause(rejections),
    )


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
    """A tolerance that leaves only precisions which no framework runs on any GPU of the cluster."""
    pools = {pool.name for pool in considered_pools(plan, inventory) if pool.gpu is not None}
    ran = {
        r.pool for r in rejections if r.candidate is not None and r.reason not in WRONG_PRECISION
    }
    found: list[str] = []
    for name in sorted(pools - ran):
        one = next((r for r in rejections if r.pool == name and r.candidate is not None), None)
        if one is not None:
            found.append(
                f"spec.precisionTolerance {plan.tolerance.value} leaves {plan.model.name} no "
                f"precision that runs on pool {name}: {one.detail}"
            )
    return found


def _single_cause(rejections: Sequence[Rejection]) -> list[str]:
    """When memory alone stands in the way, say so: no service level would help."""
    service = {Reason.MISSES_TTFT, Reason.MISSES_TPOT, Reason.MISSES_E2E, Reason.MISSES_THROUGHPUT}
    reasons = {rejection.reason for rejection in rejections}
    if Reason.DOES_NOT_FIT not in reasons or reasons & (service | {Reason.UNSTABLE}):
        return []
    if reasons & {Reason.NOT_ENOUGH_GPUS, Reason.OVER_BUDGET, Reason.SPANS_NODES}:
        return [
            "memory is the cause: where the model fits, there are too few GPUs; "
            "relaxing a service level would not help"
        ]
    return ["memory is the cause: the model fits nowhere; relaxing a service level would not help"]


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
        if brings_code(group.model) and group.framework == "vLLM":
            found.append(
                f"{group.model.name} brings Python code that the server runs "
                "(--trust-remote-code): read it, and pin its revision by --revision"
            )
        if group.tp * group.pp > group.pool.gpus_per_node:
            sent = 2 * group.model.hidden * group.limits.max_num_batched_tokens
            found.append(
                f"a replica goes over {group.pool.nodes_for(group.tp, group.pp)} nodes: a full "
                f"step sends {format_bytes(sent)} from node to node, and that time is not in the "
                "numbers"
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
