"""Pods of a plan that do not run: whose words are quoted, and which changes are worth a write."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as some

from guide.catalog import load
from guide_operator import layouts as apply
from guide_operator import pods
from guide_operator import status as statuses
from guide_operator.controller import Controller
from guide_operator.metrics import Metrics
from guide_operator.pods import ManagedPods
from guide_operator.settings import Settings
from guide_operator.work import Work

Object = dict[str, Any]
CHAT = ("ml", "chat")


def waiting(reason: str, message: str | None = None, **more: Any) -> Object:
    said = {"message": message} if message else {}
    state = {"waiting": {"reason": reason, **said}}
    return {"name": "server", "ready": False, "state": state, **more}


def ended(reason: str, code: int, message: str = "") -> Object:
    return {"terminated": {"reason": reason, "exitCode": code, "message": message}}


def pod(*containers: Object, init: tuple[Object, ...] = (), **more: Any) -> Object:
    ready = bool(containers) and all(one["ready"] for one in containers)
    return {
        "metadata": {
            "labels": {"guide.dev/plan": "chat"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "chat-0-7d", "controller": True}],
        },
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": list(containers),
            "initContainerStatuses": list(init),
            **more,
        },
    }


RUNS = {"name": "server", "ready": True, "state": {"running": {}}}
LOADS = {**RUNS, "ready": False}
PULL = (
    'Back-off pulling image "vllm/vllm-openai:v9": ErrImagePull: rpc error: code = NotFound desc = '
    'failed to pull and unpack image "docker.io/vllm/vllm-openai:v9": failed to resolve reference '
    '"docker.io/vllm/vllm-openai:v9": docker.io/vllm/vllm-openai:v9: not found'
)
BACK_OFF = "back-off 40s restarting failed container=server pod=chat-0_ml(0b5f)"
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/5 nodes are available: 5 Insufficient nvidia.com/gpu.",
}
UNBOUND = {**UNSCHEDULABLE, "message": 'persistentvolumeclaim "weights" not found'}
LOG = "INFO loading\nValueError: no such model\n"


@pytest.mark.parametrize(
    ("found", "sentence", "stuck"),
    [
        (pod(RUNS), None, False),
        (pod(LOADS), None, False),
        (pod(waiting("ContainerCreating")), None, False),
        (pod(waiting("PodInitializing"), init=(LOADS,)), None, False),
        (pod(RUNS, init=({**RUNS, "state": ended("Completed", 0)},)), None, False),
        (
            pod(waiting("ErrImagePull", "401 Unauthorized")),
            "container server: ErrImagePull: 401 Unauthorized",
            False,
        ),
        (
            pod(waiting("ImagePullBackOff", "Back-off pulling\nimage")),
            "container server: ImagePullBackOff: Back-off pulling image",
            True,
        ),
        (
            pod(waiting("CreateContainerConfigError", 'secret "hf-token" not found')),
            'container server: CreateContainerConfigError: secret "hf-token" not found',
            True,
        ),
        (
            pod(waiting("InvalidImageName", "couldn't parse image name")),
            "container server: InvalidImageName: couldn't parse image name",
            True,
        ),
        (pod(waiting("RunContainerError")), "container server: RunContainerError", True),
        (
            pod(waiting("CrashLoopBackOff", BACK_OFF, lastState=ended("OOMKilled", 137))),
            "container server: CrashLoopBackOff: it ended with OOMKilled (exit code 137)",
            True,
        ),
        (
            pod(waiting("CrashLoopBackOff", BACK_OFF, lastState=ended("Error", 1, LOG))),
            "container server: CrashLoopBackOff: it ended with Error (exit code 1): "
            "ValueError: no such model",
            True,
        ),
        (pod(waiting("CrashLoopBackOff", BACK_OFF)), "container server: CrashLoopBackOff", True),
        (
            pod({**LOADS, "lastState": ended("OOMKilled", 137)}),
            "container server: it ended with OOMKilled (exit code 137)",
            False,
        ),
        (
            pod({**LOADS, "state": ended("Completed", 0)}),
            "container server: it ended with Completed (exit code 0)",
            False,
        ),
        (
            pod(waiting("PodInitializing"), init=(waiting("ImagePullBackOff", "no"),)),
            "init container server: ImagePullBackOff: no",
            True,
        ),
        (pod(conditions=[UNSCHEDULABLE]), f"Unschedulable: {UNSCHEDULABLE['message']}", False),
        (pod(conditions=[UNBOUND]), f"Unschedulable: {UNBOUND['message']}", False),
        (
            pod(conditions=[{**UNSCHEDULABLE, "reason": "SchedulingGated", "message": ""}]),
            "SchedulingGated",
            False,
        ),
    ],
)
def test_what_is_wrong_with_a_pod(found: Object, sentence: str | None, stuck: bool):
    problem = pods.trouble(found)
    assert (problem and str(problem)) == sentence
    assert bool(problem and problem.stuck) == stuck


def test_a_long_message_keeps_both_ends():
    problem = str(pods.trouble(pod(waiting("ImagePullBackOff", PULL))))
    assert 'Back-off pulling image "vllm/vllm-openai:v9"' in problem
    assert problem.endswith("docker.io/vllm/vllm-openai:v9: not found")
    assert len(problem) <= len("container server: ImagePullBackOff: ") + pods.QUOTED


def test_a_pod_that_is_deleted_is_nobodys_trouble():
    found = pod(waiting("ImagePullBackOff"))
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pods.trouble(found) is None


KEYS = some.sampled_from(
    (
        *("metadata", "labels", "guide.dev/plan", "ownerReferences", "kind", "controller"),
        *("status", "conditions", "type", "reason", "message", "deletionTimestamp"),
        *("containerStatuses", "initContainerStatuses", "name", "ready", "state", "lastState"),
        *("waiting", "terminated", "exitCode"),
    )
)
WORDS = some.sampled_from(
    ("PodScheduled", "False", "True", "ReplicaFailure", "CrashLoopBackOff", "ReplicaSet")
)
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text() | WORDS | some.text(min_size=300),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)
STATUSES = some.lists(some.dictionaries(KEYS, JSON, max_size=6), max_size=3)
PODS = some.fixed_dictionaries(
    {
        "metadata": JSON,
        "status": JSON
        | some.fixed_dictionaries({"conditions": STATUSES, "containerStatuses": STATUSES}),
    }
)


@given(PODS)
def test_no_pod_is_too_strange_and_no_message_too_long(found: Object):
    problem = pods.trouble(found)
    sentence = "" if problem is None else str(problem)
    assert len(sentence) < 2 * pods.QUOTED
    assert "\n" not in sentence
    managed = ManagedPods()
    managed.set(("ml", "p"), found)
    managed.set(("ml", "p"), found)
    managed.report(CHAT)
    managed.set(("ml", "p"), None)
    pods.failed_create(found)


# --- what is kept of them, and when it matters ---------------------------------------------------


def test_only_pods_of_deployments_of_plans_count():
    managed = ManagedPods()
    for strip in ("labels", "ownerReferences"):
        found = pod(waiting("ImagePullBackOff"))
        del found["metadata"][strip]
        assert managed.set(("ml", "p"), found) is None
    assert managed.report(CHAT) == pods.Report(ready=True)


def test_a_heartbeat_of_a_pod_matters_to_nobody():
    managed, key = ManagedPods(), ("ml", "p")
    assert managed.set(key, pod(LOADS)) == CHAT
    assert managed.set(key, pod(LOADS, podIP="10.0.0.1")) is None
    assert managed.set(key, pod(RUNS)) == CHAT
    assert managed.set(key, None) == CHAT
    assert managed.set(key, None) is None


@pytest.mark.parametrize(
    ("between", "stuck"),
    [
        (waiting("ErrImagePull", "not found"), waiting("ImagePullBackOff", "not found")),
        (
            {**LOADS, "lastState": ended("Error", 1)},
            waiting("CrashLoopBackOff", BACK_OFF, lastState=ended("Error", 1)),
        ),
        (
            {**LOADS, "state": ended("Error", 1)},
            waiting("CrashLoopBackOff", BACK_OFF, lastState=ended("Error", 1)),
        ),
    ],
)
def test_attempts_of_a_stuck_container_change_nothing(between: Object, stuck: Object):
    managed, key = ManagedPods(), ("ml", "p")
    managed.set(key, pod(between))
    assert not managed.report(CHAT).stuck, "it may have been the only time"
    assert managed.set(key, pod(stuck)) == CHAT
    before = managed.report(CHAT)
    assert before.stuck
    for one in (between, stuck, between):
        assert managed.set(key, pod(one)) is None
    assert managed.report(CHAT) == before
    managed.set(key, pod(RUNS))
    assert managed.report(CHAT) == pods.Report(ready=True)


def test_numbers_in_a_message_are_no_change():
    managed, key = ManagedPods(), ("ml", "p")
    told = [managed.set(key, pod(waiting("CreateError", f"port {n}"))) for n in (1, 22)]
    assert told == [CHAT, None]


def test_the_worst_pod_speaks():
    managed = ManagedPods()
    managed.set(("ml", "a"), pod(conditions=[UNSCHEDULABLE]))
    managed.set(("ml", "b"), pod(waiting("ImagePullBackOff", "no")))
    managed.set(("ml", "c"), pod(RUNS))
    message = "Pod ml/b: container server: ImagePullBackOff: no (2 pods)"
    assert managed.report(CHAT) == pods.Report(ready=False, stuck=True, message=message)


def test_a_troubled_pod_wakes_its_plan_alone():
    nothing = cast("Any", None)
    settings = Settings()
    controller = Controller(settings, nothing, load(), nothing, Metrics())
    works = {key: Work({"metadata": {}, "spec": {}}) for key in (CHAT, ("ml", "b"), ("x", "chat"))}
    controller._work |= works

    def woken(found: Object | None) -> list[tuple[str, str]]:
        for work in works.values():
            work.changed.clear()
        controller.pod_changed(("ml", "chat-0-7d-x"), found)
        return [key for key, work in works.items() if work.changed.is_set()]

    assert woken(pod(waiting("ImagePullBackOff"))) == [CHAT]
    assert woken(pod(waiting("ImagePullBackOff"), podIP="10.0.0.1")) == []
    assert woken(pod(RUNS)) == [CHAT]


@pytest.mark.parametrize(
    ("reason", "stalled", "poll_s"),
    [
        (pods.NOT_STARTING, True, 15),
        (pods.NOT_STARTING, False, 3),
        (apply.ROLLOUT_STALLED, True, 15),
        ("Conflict", True, None),
    ],
)
def test_what_is_stuck_is_looked_at_until_it_heals(
    reason: str, stalled: bool, poll_s: float | None
):
    nothing = cast("Any", None)
    controller = Controller(Settings(), nothing, load(), nothing, Metrics())
    work = Work({})
    controller._decider._poll(work, statuses.unready(reason, "m", stalled=stalled))
    assert work.poll_s == poll_s


def test_a_rollout_that_lasts_is_applied_again_at_each_resync():
    nothing = cast("Any", None)
    asked: list[bool] = []

    async def scene() -> None:
        controller = Controller(Settings(resync_s=1), nothing, load(), nothing, Metrics())
        work, enough = Work({}), asyncio.Event()

        async def attempt(work: Work, _: object) -> None:
            asked.append(work.asked)
            work.asked, work.poll_s = False, 0.5
            if len(asked) == 4:
                enough.set()

        controller._attempt = attempt
        keeping = asyncio.create_task(controller._keep(work, nothing))
        async with asyncio.timeout(30):
            await enough.wait()
        keeping.cancel()

    asyncio.run(scene())
    assert asked == [True, False, True, False]
