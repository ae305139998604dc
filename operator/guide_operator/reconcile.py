"""What to write for a plan: (plan, what the cluster holds, answer) -> Decision (pure).

Level-triggered: a decision follows from the state alone, never from what happened before it, so
that an operator that was killed at any point continues where the cluster stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guide.domain import Catalog, Recommendation
from guide.errors import SpecError, cut
from guide.frameworks import what_ifs
from guide.manifests.names import labels, manifests_name
from guide.manifests.render import render_files
from guide.report.review import review_markdown
from guide.report.sentences import outcome
from guide.spec import API_VERSION, KIND, InferencePlan
from guide.spec.digest import inputs_digest as inputs_digest
from guide_operator import jobs, pods
from guide_operator import status as statuses
from guide_operator.status import Condition, Stamp, Status

Object = dict[str, Any]

FILES_ANNOTATION = "guide.dev/files-sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the cluster holds of a plan."""

    uid: str
    generation: int
    status: Mapping[str, Any]
    config_map: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A decision worth telling: becomes a Kubernetes Event on the plan."""

    type: str  # Normal or Warning
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to write, in this order; nothing at all when the cluster already says so."""

    objects: tuple[Object, ...] = ()
    status: Status | None = None
    events: tuple[Event, ...] = ()
    refused: bool = False  # there is no answer to apply
    again: bool = False  # once this is written, the plan is to be looked at again


def settled(observed: Observed, inputs: str) -> bool:
    """Whether the status already answers this very question.

    The status is written last, so all that was to be written before it is there as well.
    """
    status = observed.status
    return (
        status.get("observedGeneration") == observed.generation
        and status.get("engine", {}).get("inputsDigest") == inputs
        and statuses.find(status, "Feasible").get("status") in {"True", "False"}
        and statuses.find(status, "Applied").get("status") != "Unknown"  # reserved, not applied
    )


def intact(plan: InferencePlan, observed: Observed) -> bool:
    """Whether the ConfigMap still holds what was written into it."""
    found = observed.config_map
    if found is None or not _owned(found, observed.uid):
        return False
    metadata = found.get("metadata", {})
    stated = metadata.get("annotations", {}).get(FILES_ANNOTATION)
    wanted = labels(plan.metadata.name, "inference")
    return stated == _digest(found.get("data", {})) and (
        wanted.items() <= metadata.get("labels", {}).items()
    )


def decide(
    plan: InferencePlan,
    recommendation: Recommendation,
    catalog: Catalog,
    observed: Observed,
    *,
    inputs: str,
    now: str,
    more: Sequence[Condition] = (),
    applied: Mapping[str, Any] | None = None,
    held: str = "",
) -> Decision:
    """What to write for an answer: the ConfigMap of manifests, then the status.

    `more` and `applied` are what mode Apply adds to the status; `held` names who has the GPUs that
    the plan lacks.
    """
    stamp = Stamp(generation=observed.generation, now=now, previous=observed.status)
    if _foreign(observed.config_map):
        return refuse(statuses.NAME_TAKEN, _taken(plan), observed, now)
    try:
        files = _files(plan, recommendation)
    except SpecError as error:
        return refuse(statuses.INVALID_SPEC, str(error), observed, now)
    wanted = config_map(plan, observed.uid, files)
    unchanged = intact(plan, observed) and (observed.config_map or {}).get("data") == files
    status = statuses.answered(recommendation, inputs, stamp, more=more, applied=applied, held=held)
    return Decision(
        objects=() if unchanged else (wanted,),
        status=None if statuses.same(status, observed.status) else status,
        events=_events(recommendation, status, observed.status),
    )


def _files(plan: InferencePlan, recommendation: Recommendation) -> dict[str, str]:
    """What the ConfigMap holds; of a what-if, which nothing can run, the review alone."""
    best, switches = recommendation.best, plan.spec.optimizations.to_domain()
    named = () if best is None else (group.framework for group in best.candidate.groups)
    if plan.spec.output.mode != "Apply" and what_ifs(named, switches):
        return {"REVIEW.md": review_markdown(plan, recommendation)}
    return render_files(plan, recommendation)


def refuse(
    reason: str, message: str, observed: Observed, now: str, *, stalled: bool = True
) -> Decision:
    """What to write for a plan that cannot be answered: a status with its last good result kept."""
    message = cut(message)  # as the status will hold it, or every attempt would be told anew
    stamp = Stamp(generation=observed.generation, now=now, previous=observed.status)
    status = statuses.refused(reason, message, stamp, stalled=stalled)
    if statuses.same(status, observed.status):
        return Decision(refused=True)
    before = statuses.find(observed.status, "Ready")
    told = before.get("reason") == reason and before.get("message") == message
    event = Event(type="Warning", reason=reason, message=message)
    return Decision(status=status, events=() if told else (event,), refused=True)


def config_map(plan: InferencePlan, uid: str, files: Mapping[str, str]) -> Object:
    """The ConfigMap that holds the rendered files, owned by the plan."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": manifests_name(plan.metadata.name),
            "namespace": plan.metadata.namespace,
            "labels": labels(plan.metadata.name, "inference"),
            "annotations": {FILES_ANNOTATION: _digest(files)},
            "ownerReferences": [owner(plan.metadata.name, uid)],
        },
        "data": dict(files),
    }


def owner(name: str, uid: str) -> Object:
    """The reference by which the garbage collector removes an object with its plan.

    It does not block the deletion of the plan: that would need the right to set finalizers.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def left_behind(observed: Observed) -> bool:
    """Whether the ConfigMap is that of a deleted plan of the same name, about to be removed."""
    found = observed.config_map
    return found is not None and not _foreign(found) and not _owned(found, observed.uid)


def _owned(found: Mapping[str, Any], uid: str) -> bool:
    return any(o.get("uid") == uid for o in found.get("metadata", {}).get("ownerReferences", []))


def _foreign(found: Mapping[str, Any] | None) -> bool:
    """Whether an object of that name exists which no plan owns."""
    if found is None:
        return False
    owners = found.get("metadata", {}).get("ownerReferences", [])
    return not any(o.get("kind") == KIND for o in owners)


def _taken(plan: InferencePlan) -> str:
    return (
        f"ConfigMap {manifests_name(plan.metadata.name)} exists and belongs to someone else: "
        "rename or delete it, or rename the plan."
    )


def _digest(files: Mapping[str, str]) -> str:
    text = "\0".join(part for name in sorted(files) for part in (name, files[name]))
    return hashlib.sha256(text.encode()).hexdigest()


_TOLD = ("gpu", "framework", "tp", "pp", "replicas")


def _events(
    recommendation: Recommendation, status: Status, before: Mapping[str, Any]
) -> tuple[Event, ...]:
    """An event when the decision itself changed, not when a predicted number moved."""
    told: list[Event] = []
    reason = statuses.find(status, "Feasible")["reason"]
    changed = statuses.find(before, "Feasible").get("reason") != reason
    if not recommendation.feasible:
        if changed:
            message = statuses.find(status, "Feasible")["message"]
            told.append(Event(type="Warning", reason=reason, message=message))
    else:
        new: Object = status["summary"]
        old: Object = before.get("summary", {})
        if changed or any(new[key] != old.get(key) for key in _TOLD):
            told.append(Event(type="Normal", reason=reason, message=outcome(recommendation)))
    return (*told, *_applied_events(status, before), *pod_events(status, before))


def pod_events(status: Status, before: Mapping[str, Any]) -> tuple[Event, ...]:
    """Mode Apply: another thing than before keeps pods from running."""
    message = pods.told_anew(status, before)
    return (Event(type="Warning", reason=pods.NOT_STARTING, message=message),) if message else ()


def job_events(status: Status, before: Mapping[str, Any]) -> tuple[Event, ...]:
    """Mode Apply: a batch has ended, or something else keeps its pods from running."""
    ready, old = statuses.find(status, "Ready"), statuses.find(before, "Ready")
    if ready["reason"] in jobs.ENDED and ready["reason"] != old.get("reason"):
        kind = "Normal" if ready["status"] == "True" else "Warning"
        return (Event(type=kind, reason=ready["reason"], message=ready["message"]),)
    return pod_events(status, before)


def _applied_events(status: Status, before: Mapping[str, Any]) -> tuple[Event, ...]:
    """Mode Apply: a layout was put there, or cannot be."""
    new, old = statuses.find(status, "Applied"), statuses.find(before, "Applied")
    layout = status.get("applied", {}).get("groups") != before.get("applied", {}).get("groups")
    if not new or (new["reason"] == old.get("reason") and not layout):
        return ()
    kind = "Normal" if new["status"] == "True" else "Warning"
    return (Event(type=kind, reason=new["reason"], message=new["message"]),)
