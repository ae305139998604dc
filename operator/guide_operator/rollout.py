"""The API calls of mode Apply, one plan at a time and in one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guide.cluster.client import ClusterClient, FieldConflict, NotFound, Refused
from guide.domain import Evaluation
from guide.errors import ClusterError
from guide.manifests.names import PLAN_LABEL, manifests_name, object_name
from guide.spec import InferencePlan
from guide_operator import jobs, pods
from guide_operator import layouts as apply
from guide_operator.field_owners import conflict, stopped
from guide_operator.rolling import adapted
from guide_operator.status import CONFLICT, Condition

Object = Mapping[str, Any]

FORBIDDEN, MISSING, NO_PODS = "Refused", "KindMissing", "PodsRefused"
REFUSALS = (CONFLICT, FORBIDDEN, MISSING, NO_PODS)

_DEPLOYMENTS = ("apps/v1", "Deployment")
_JOBS = ("batch/v1", "Job")
_CLAIMS = ("resource.k8s.io/v1", "ResourceClaimTemplate")
# All that a layout may consist of, so that nothing of a former one is left.
_KINDS = (
    _DEPLOYMENTS,
    _JOBS,
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("policy/v1", "PodDisruptionBudget"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    _CLAIMS,
)


def apply_layout(
    client: ClusterClient, plan: InferencePlan, best: Evaluation, uid: str, *, rehearsal: bool
) -> list[Condition]:
    """Apply a layout without force; once its Deployments are available, delete what it replaces.

    A batch replaces at once, and Jobs are replaced at once: they would hold their GPUs to the end.
    Returns the conditions to be set. A rehearsal changes nothing and returns those of a refusal, or
    none. Raises `ClusterError` when trying again may help.
    """
    namespace = plan.metadata.namespace
    try:
        autoscalers = client.labelled(
            "autoscaling/v2", "HorizontalPodAutoscaler", namespace, labels=""
        )
        live = {value["metadata"]["name"]: value for value in _own(client, plan, *_DEPLOYMENTS)}
        scaled = apply.scaled_deployments(autoscalers)
        objects = apply.wanted(plan, best, uid, live, scaled)
        objects = adapted(objects, best, live, _own(client, plan, *_CLAIMS) if live else ())
        held = [_put(client, value, live, scaled, dry_run=rehearsal) for value in objects]
        if rehearsal:
            return _pods_rehearsed(client, objects, replacing=bool(live))
        waiting = apply.rollout([value for value in held if value["kind"] == "Deployment"])
        begun = [value for value in held if value["kind"] == "Job"]
        _prune(client, plan, objects, uid, _KINDS if begun or not waiting else (_JOBS,))
        if begun:
            waiting = jobs.progress(begun, pods.Report(ready=False))
    except FieldConflict as error:
        return apply.refusal(CONFLICT, f"{error}: set it back or give the field up there.")
    except Refused as error:
        message = f"{error}: is namespace {namespace} in apply.namespaces of the chart?"
        return apply.refusal(FORBIDDEN, message)
    except NotFound as error:
        return apply.refusal(MISSING, f"{error}: is its CustomResourceDefinition installed?")
    return [apply.applied(), *waiting]


def _pods_rehearsed(
    client: ClusterClient, objects: Sequence[dict[str, Any]], *, replacing: bool
) -> list[Condition]:
    """Why no pod of the layout may be made: a Deployment is taken where its pods are not.

    A quota says nothing while the layout is `replacing` another one, whose pods make room.
    """
    for value in objects:
        if value["kind"] not in ("Deployment", "Job"):
            continue
        meta, template = value["metadata"], value["spec"]["template"]
        try:
            client.rehearse_pod(meta["namespace"], meta["name"], template)
        except ClusterError as error:
            why = pods.refused(str(error), replacing=replacing)
            if why is None:
                raise
            if why:
                what = f"Pods of {value['kind']} {meta['namespace']}/{meta['name']} may not start"
                return apply.refusal(NO_PODS, f"{what}: {why} No GPU is reserved for them.")
    return []


def _put(
    client: ClusterClient,
    value: dict[str, Any],
    live: Mapping[str, Object],
    scaled: frozenset[str],
    *,
    dry_run: bool,
) -> Object:
    """Apply without force, but for what an autoscaler that is gone has left behind.

    `live` are the Deployments that exist, by name.
    """
    name = value["metadata"]["name"]
    found = live.get(name) if value["kind"] == "Deployment" else None
    replicas = value.get("spec", {}).get("replicas")
    if found is not None and replicas and name not in scaled and stopped(found):
        what = f"Deployment {value['metadata']['namespace']}/{name}"
        message = f"{what} was scaled to 0 replicas by hand instead of {replicas}"
        raise FieldConflict(message, (("somebody", ".spec.replicas"),))
    try:
        return client.apply(value, dry_run=dry_run)
    except FieldConflict as error:
        if name in scaled or not apply.left_behind(error.owners):
            raise FieldConflict(conflict(error, value, found), error.owners) from error
        return client.apply(value, dry_run=dry_run, force=True)


def progress(client: ClusterClient, plan: InferencePlan, count: int) -> list[Condition] | None:
    """How far `count` applied Deployments have come; None when one of them is gone."""
    found = {value["metadata"]["name"]: value for value in _own(client, plan, *_DEPLOYMENTS)}
    names = [object_name(plan.metadata.name, str(index)) for index in range(count)]
    return apply.rollout([found[name] for name in names]) if found.keys() >= {*names} else None


def jobs_of(client: ClusterClient, plan: InferencePlan) -> dict[str, Object]:
    """The Jobs of a plan as they are now, by name."""
    return {job["metadata"]["name"]: job for job in _own(client, plan, *_JOBS)}


def _prune(
    client: ClusterClient,
    plan: InferencePlan,
    objects: Sequence[dict[str, Any]],
    uid: str,
    kinds: Sequence[tuple[str, str]],
) -> None:
    manifests = {"kind": "ConfigMap", "metadata": {"name": manifests_name(plan.metadata.name)}}
    for api_version, kind in kinds:
        found = _own(client, plan, api_version, kind)
        for item in apply.leftovers(found, [*objects, manifests], uid):
            meta = item["metadata"]
            client.delete(api_version, kind, meta["namespace"], meta["name"], meta["uid"])


def _own(client: ClusterClient, plan: InferencePlan, api_version: str, kind: str) -> list[Object]:
    """Objects of a kind that carry the plan's label; lists of the API leave the kind out."""
    selector = f"{PLAN_LABEL}={object_name(plan.metadata.name)}"
    found = client.labelled(api_version, kind, plan.metadata.namespace, selector)
    return [{**item, "kind": kind} for item in found]
