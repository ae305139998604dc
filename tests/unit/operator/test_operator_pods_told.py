"""What a plan of mode Apply says of pods that do not run: conditions and events."""

from __future__ import annotations

from typing import Any

import pytest

from guide_operator import layouts as apply
from guide_operator import pods, reconcile
from guide_operator import status as statuses
from guide_operator.status import Condition, Stamp

Object = dict[str, Any]

SECURITY = (
    'pods "chat-0-7d-{}" is forbidden: violates PodSecurity "restricted:latest": '
    'allowPrivilegeEscalation != false (container "server" must set '
    "securityContext.allowPrivilegeEscalation=false)"
)
REPORT = pods.Report(ready=False, stuck=True, message="Pod ml/chat-0-7d-x: container server: bad")


def deployment(kind: str, message: str, reason: str = "FailedCreate") -> Object:
    status = "True" if kind == "ReplicaFailure" else "False"
    told = {"type": kind, "status": status, "reason": reason, "message": message}
    return {
        "metadata": {"name": "chat-0", "namespace": "ml", "generation": 2},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 2, "conditions": [told]},
    }


def by_type(conditions: list[Condition]) -> dict[str, Condition]:
    return {one.type: one for one in conditions}


def test_pods_that_cannot_be_made_are_explained_by_who_forbids_them():
    first, second = (
        by_type(apply.rollout([deployment("ReplicaFailure", SECURITY.format(name))]))
        for name in ("aaaaa", "bbbbb")
    )
    assert first == second, "each attempt has another name"
    assert (first["Ready"].reason, first["Stalled"].status) == ("PodsNotStarting", True)
    assert first["Ready"].message == (
        "Deployment ml/chat-0: FailedCreate: pods are forbidden: " + SECURITY.split(": ", 1)[1]
    )


def test_a_failure_of_a_former_generation_is_no_news():
    found = deployment("ReplicaFailure", SECURITY)
    found["metadata"]["generation"] = 3
    assert by_type(apply.rollout([found]))["Ready"].reason == "RolloutInProgress"


LATE = pods.Report(ready=False, message="Pod ml/p: Unschedulable: 0/5 nodes are available.")


@pytest.mark.parametrize(
    ("said", "report", "reason", "stalled"),
    [
        (apply.rollout([deployment("x", "")]), REPORT, "PodsNotStarting", True),
        (apply.rollout([deployment("x", "")]), LATE, "PodsNotStarting", False),
        (apply.rollout([deployment("Progressing", "late")]), LATE, "PodsNotStarting", True),
        ([], REPORT, "PodsNotStarting", True),  # a crash of what was available
        (apply.refusal("Conflict", "m"), REPORT, "Conflict", True),
    ],
)
def test_pods_say_why(said: list[Condition], report: pods.Report, reason: str, stalled: bool):
    found = by_type(apply.explained([apply.applied(), *said], report))
    assert (found["Ready"].reason, found["Stalled"].status) == (reason, stalled)
    assert found["Reconciling"].status == (not stalled)
    assert found["Applied"]


def test_pods_that_cannot_be_made_come_before_late_ones():
    said = apply.rollout([deployment("ReplicaFailure", SECURITY)])
    assert apply.explained(said, LATE) == said
    assert by_type(apply.explained(said, REPORT))["Ready"].message == REPORT.message
    assert apply.explained([], pods.Report(ready=True)) == []


def test_an_event_for_each_new_fault():
    def status(message: str, reason: str = pods.NOT_STARTING) -> Object:
        stamp = Stamp(generation=1, now="2026-01-01T00:00:00Z", previous={})
        return statuses.progressed(statuses.unready(reason, message, stalled=True), stamp)

    pulls, crashes = "Pod ml/a: container server: {}", "Pod ml/a: container server: Crash"
    first = status(pulls.format("ImagePullBackOff"))
    waits = status("Waiting", apply.ROLLOUT)
    (event,) = reconcile.pod_events(first, waits)
    assert (event.type, event.reason) == ("Warning", "PodsNotStarting")
    assert event.message == "Pod ml/a: container server: ImagePullBackOff"
    other_pod = status("Pod ml/b: container server: ImagePullBackOff (2 pods)")
    assert reconcile.pod_events(other_pod, first) == ()
    assert reconcile.pod_events(status(crashes), first)
    assert reconcile.pod_events(waits, first) == ()
