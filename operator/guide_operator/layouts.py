"""Mode Apply: which layout runs, what to apply for it, and how far it has come (pure).

A running layout stays, with the limits that its servers were started with, unless it breaks a limit
of its plan, or another is cheaper by MARGIN for as long as PATIENCE_S: models take minutes to load,
and a cluster that churns serves nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from guide.domain import Evaluation, Limits, Recommendation
from guide.manifests.render import build_objects
from guide.report.document import key_of, layout, limits
from guide.report.sentences import choice
from guide.search.assess import Assessment, Running
from guide.search.rank import identity
from guide.spec import InferencePlan
from guide.spec.answer import LimitsDocument
from guide.units import format_usd
from guide_operator import jobs, pods
from guide_operator import status as statuses
from guide_operator.reconcile import Observed, owner
from guide_operator.status import Condition

Object = dict[str, Any]

MARGIN_SHARE = 0.1
PATIENCE_S = 1800.0

ROLLOUT, ROLLOUT_STALLED = "RolloutInProgress", "RolloutStalled"
APPLIED, NOT_APPLIED, RESERVED = "Applied", "NotApplied", "Reserved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What is to run: `recommendation` with that deployment as its best one."""

    recommendation: Recommendation
    better: Condition
    better_since: str | None


def running(status: Mapping[str, Any]) -> tuple[Running, ...]:
    """The layout that the status says was applied, with the limits that it runs with.

    A status that does not state them is of a version that had them in its answer alone.
    """
    applied: Object = status.get("applied", {})
    groups = cast("list[Object]", applied.get("groups", []))
    stated: list[Object] = applied.get("limits") or [
        one.get("limits", {}) for one in status.get("best", {}).get("groups", [])
    ]
    if len(stated) != len(groups):
        stated = [{}] * len(groups)
    return tuple(
        Running(
            key=key_of(group),
            replicas=group["replicas"],
            load_share=float(group["loadShare"]),
            limits=_limits(point) if point else None,
        )
        for group, point in zip(groups, stated, strict=True)
    )


def _limits(stated: Mapping[str, Any]) -> Limits:
    return Limits(
        max_num_seqs=stated["maxNumSeqs"],
        max_num_batched_tokens=stated["maxNumBatchedTokens"],
        gpu_memory_utilization=float(stated["gpuMemoryUtilization"]),
        max_model_len=stated["maxModelLen"],
        kv_cache_dtype=stated["kvCacheDtype"],
        mixed_chunk=stated.get("mixedChunk", False),
    )


def record(
    best: Evaluation, better_since: str | None, generation: int, begun: Sequence[str] = ()
) -> Object:
    """The other way round: what the status says of a layout applied for a `generation`, and of the
    Jobs `begun` where it is a batch.
    """
    groups = [{**layout(g.group), "loadShare": f"{g.group.load_share:.6g}"} for g in best.groups]
    return {
        "groups": groups,
        "limits": _stated(best),
        "generation": generation,
        **({"jobs": list(begun)} if begun else {}),
        **({"betterSince": better_since} if better_since else {}),
    }


def _stated(item: Evaluation) -> list[LimitsDocument]:
    return [limits(g.group.limits) for g in item.groups]


def edited(status: Mapping[str, Any], generation: int) -> bool:
    """Whether the user changed the plan since what runs was applied for it."""
    applied = status.get("applied", {})
    return applied.get("generation", status.get("observedGeneration")) != generation


def choose(
    recommendation: Recommendation,
    assessment: Assessment | None,
    better_since: str | None,
    waited_s: float,
    now: str,
    *,
    edited: bool = False,
) -> Chosen:
    """Keep what runs, or take the recommendation.

    Other limits on the same layout restart its pods and save nothing: those that run are kept while
    they keep the SLO, unless the plan was `edited`.
    `assessment` is that of the running layout, None when nothing (usable) runs. `waited_s` are the
    seconds since `better_since`, when the saving was first seen; where that lies in the future, a
    clock was set back, and waiting begins again.
    """
    if waited_s < 0:
        better_since = None
    best = recommendation.best
    kept = assessment.evaluation if assessment and assessment.broken is None else None
    same = kept is not None and best is not None and identity(best) == identity(kept)
    if kept is None or (same and edited):
        return Chosen(recommendation=recommendation, better=_no_better(), better_since=None)
    if same:
        keeping = replace(recommendation, best=kept)
        return Chosen(recommendation=keeping, better=_no_better(), better_since=None)
    keeping = replace(
        recommendation,
        best=kept,
        alternatives=(*((best,) if best else ()), *recommendation.alternatives)[:2],
    )
    saving = _saving(kept, best)
    if best is None or saving < MARGIN_SHARE:
        better = _better(best, kept, saving) if saving > 0 and best else _no_better()
        return Chosen(recommendation=keeping, better=better, better_since=None)
    if better_since is not None and waited_s >= PATIENCE_S:
        return Chosen(recommendation=recommendation, better=_no_better(), better_since=None)
    return Chosen(
        recommendation=keeping,
        better=_better(best, kept, saving),
        better_since=better_since or now,
    )


def _saving(kept: Evaluation, best: Evaluation | None) -> float:
    """The share of the cost that `best` would save; 0 where a price is unknown."""
    if best is None or not kept.usd_per_h or best.usd_per_h is None:
        return 0.0
    return 1 - best.usd_per_h / kept.usd_per_h


def _better(best: Evaluation | None, kept: Evaluation, saving: float) -> Condition:
    assert best is not None
    assert kept.usd_per_h is not None
    assert best.usd_per_h is not None
    when = (
        f"it replaces the running one after {PATIENCE_S / 60:.0f} minutes"
        if saving >= MARGIN_SHARE
        else f"less than {MARGIN_SHARE:.0%}, so the running one stays"
    )
    usd = format_usd(kept.usd_per_h - best.usd_per_h)
    return Condition(
        type="BetterPlanAvailable",
        status=True,
        reason="Cheaper",
        message=f"{choice(best)} It saves {usd} per hour ({saving:.0%}); {when}.",
    )


def _no_better() -> Condition:
    return Condition(
        type="BetterPlanAvailable",
        status=False,
        reason="BestRuns",
        message="No cheaper deployment that keeps every limit is known.",
    )


def wanted(
    plan: InferencePlan,
    best: Evaluation,
    uid: str,
    live: Mapping[str, Mapping[str, Any]],
    scaled: frozenset[str],
) -> list[Object]:
    """The objects to apply: those of the manifests, owned by the plan; what has pods is last.

    `live` are the Deployments that exist, by name; those in `scaled` belong to an autoscaler, which
    keeps their `replicas`.
    """
    objects: list[Object] = []
    for _, value in build_objects(plan, best):
        metadata = {**value["metadata"], "ownerReferences": [owner(plan.metadata.name, uid)]}
        mine = {**value, "metadata": metadata}
        name = metadata["name"]
        if value["kind"] == "Deployment" and name in scaled and name in live:
            mine["spec"] = _scaled(value["spec"], live[name])
        objects.append(mine)
    return sorted(objects, key=lambda value: value["kind"] in ("Deployment", "Job"))


def _scaled(spec: Object, live: Mapping[str, Any]) -> Object:
    """`spec` without replicas once another manager owns them; until then as many as run now.

    A field that its only manager drops would fall back to one replica.
    """
    rest = {key: value for key, value in spec.items() if key != "replicas"}
    others = (
        entry
        for entry in live.get("metadata", {}).get("managedFields", [])
        if entry.get("manager") != "guide-operator"
    )
    if any("f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}) for entry in others):
        return rest
    return {**rest, "replicas": live["spec"]["replicas"]}


def scaled_deployments(autoscalers: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Names of the Deployments that HorizontalPodAutoscalers target."""
    targets = (item.get("spec", {}).get("scaleTargetRef", {}) for item in autoscalers)
    return frozenset(t["name"] for t in targets if t.get("kind") == "Deployment")


def left_behind(owners: Sequence[tuple[str, str]]) -> bool:
    """Whether a conflict is about the replicas alone that a HorizontalPodAutoscaler once set.

    It sets them as kube-controller-manager, which no person can make give a field up.
    """
    return {*owners} == {("kube-controller-manager", ".spec.replicas")}


def leftovers(
    found: Iterable[Mapping[str, Any]], objects: Sequence[Object], uid: str
) -> list[Mapping[str, Any]]:
    """Those of `found` that the plan owns and that are not wanted any more."""
    names = {(value["kind"], value["metadata"]["name"]) for value in objects}
    return [
        item
        for item in found
        if (item["kind"], item["metadata"]["name"]) not in names
        and any(o.get("uid") == uid for o in item["metadata"].get("ownerReferences", []))
    ]


def rollout(deployments: Sequence[Mapping[str, Any]]) -> list[Condition]:
    """Ready, Reconciling and Stalled by how far the Deployments have come; nothing once all are
    available.
    """
    late = [value for value in deployments if not available(value)]
    for value in filter(_observed, late):
        if why := pods.failed_create(value):
            return statuses.unready(pods.NOT_STARTING, why, stalled=True)
    for value in filter(_observed, deployments):
        name = value["metadata"]["name"]
        failed = _condition(value, "Progressing", "False")
        if failed:
            message = f"Deployment {name}: {failed.get('message', 'it makes no progress')}"
            return statuses.unready(ROLLOUT_STALLED, message, stalled=True)
    if late:
        names = ", ".join(value["metadata"]["name"] for value in late)
        message = f"Waiting for Deployment {names} to become available."
        return statuses.unready(ROLLOUT, message, stalled=False)
    return []


def explained(said: Sequence[Condition], report: pods.Report) -> list[Condition]:
    """`said`, which tells of applying and of a rollout, with the reason of the pods if they have
    one. What only the Deployment knows, such as that no pod can be made, comes before pods that
    are merely late; a refusal comes before everything.
    """
    ready = next((one for one in said if one.type == "Ready"), None)
    reason = ready.reason if ready else ROLLOUT
    late = reason in (ROLLOUT, ROLLOUT_STALLED) or (reason == pods.NOT_STARTING and report.stuck)
    if not report.message or not late:
        return list(said)
    stalled = report.stuck or reason == ROLLOUT_STALLED
    whys = statuses.unready(pods.NOT_STARTING, report.message, stalled=stalled)
    types = {one.type for one in whys}
    return [*(one for one in said if one.type not in types), *whys]


def available(value: Mapping[str, Any]) -> bool:
    """Whether all replicas of a Deployment are new and available."""
    status, replicas = value.get("status", {}), value.get("spec", {}).get("replicas", 1)
    return (
        _observed(value)
        and status.get("updatedReplicas", 0) >= replicas
        and status.get("availableReplicas", 0) >= replicas
        and status.get("replicas", 0) == status.get("updatedReplicas", 0)
    )


def _observed(value: Mapping[str, Any]) -> bool:
    """Whether the status is that of the newest generation."""
    observed = value.get("status", {}).get("observedGeneration", 0)
    return observed >= value["metadata"].get("generation", 0)


def _condition(value: Mapping[str, Any], kind: str, status: str) -> Mapping[str, Any] | None:
    conditions = cast("list[Object]", value.get("status", {}).get("conditions", []))
    return next((c for c in conditions if c["type"] == kind and c["status"] == status), None)


def applied() -> Condition:
    """Everything was applied."""
    message = "Every object was applied."
    return Condition(type="Applied", status=True, reason=APPLIED, message=message)


def holds(status: Mapping[str, Any], layout: Mapping[str, Any]) -> bool:
    """Whether the status already reserves `layout`: then no other plan counts on its GPUs."""
    reserved, applied = bool(statuses.find(status, "Applied")), status.get("applied", {})
    same = all(applied.get(key) == layout.get(key) for key in ("groups", "jobs"))
    return reserved and same and not jobs.ended(status)


def reservation(best: Evaluation) -> list[Condition]:
    """The layout is chosen and its GPUs are held; applying it comes next."""
    message = f"{best.gpus} GPUs are reserved; the objects are applied next."
    applied = Condition(type="Applied", status=None, reason=RESERVED, message=message)
    return [applied, *statuses.unready(ROLLOUT, message, stalled=False)]


def without_reservation(observed: Observed) -> Observed:
    """`observed` without a layout that was reserved and not applied: nothing of it is to run."""
    if statuses.find(observed.status, "Applied").get("reason") != RESERVED:
        return observed
    rest = {key: value for key, value in observed.status.items() if key != "applied"}
    return replace(observed, status=rest)


def idle(recommendation: Recommendation) -> list[Condition]:
    """No deployment holds every limit: nothing was applied, and what runs was left alone."""
    assert not recommendation.feasible
    message = "No deployment keeps every limit; what runs, if anything, was left alone."
    return [Condition(type="Applied", status=False, reason=NOT_APPLIED, message=message)]


def refusal(reason: str, message: str) -> list[Condition]:
    """Something could not be applied, and trying again will not help."""
    return [
        Condition(type="Applied", status=False, reason=reason, message=message),
        *statuses.unready(reason, message, stalled=True),
    ]
