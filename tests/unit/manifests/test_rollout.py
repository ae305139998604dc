"""Replacing replicas: in which order, how long a leaving pod serves on, who it runs as."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from guide.domain import Evaluation
from guide.manifests.benchmark import benchmarks
from guide.manifests.render import build_objects, formats
from guide.manifests.rollout import RECREATE, drain_seconds, rolling
from guide_operator.rolling import adapted
from tests.handmade import DRA_POOL, GROUP, POOL
from tests.manifest_cases import CASES, Case

Object = dict[str, Any]
BESIDE, INSTEAD = rolling(surge=True), rolling(surge=False)


def best_of(case: Case) -> Evaluation:
    best = case.recommendation.best
    assert best is not None
    return best


def deployments(case: Case) -> list[Object]:
    built = [value for _, value in build_objects(case.plan, best_of(case))]
    return [value for value in built if value["kind"] == "Deployment"]


def on(*free: int, tp: int = 2, replicas: int = 3) -> Case:
    pool = replace(POOL, free_gpus_by_node=free)
    return Case(groups=(replace(GROUP, pool=pool, tp=tp, replicas=replicas),))


@pytest.mark.parametrize(
    ("free", "strategy"),
    [
        ((8,), BESIDE),
        ((7,), INSTEAD),
        ((6,), INSTEAD),
        ((3, 3, 3), INSTEAD),  # nine GPUs, and no node with two of them left
    ],
)
def test_a_new_replica_comes_first_where_the_pool_has_gpus_for_it(
    free: tuple[int, ...], strategy: Object
):
    (value,) = deployments(on(*free))
    assert value["spec"]["strategy"] == strategy


def test_groups_of_one_pool_do_not_count_on_the_same_gpus():
    pool = replace(POOL, free_gpus_by_node=(8,))
    one = replace(GROUP, pool=pool, tp=1, replicas=3, load_share=0.5)
    case = Case(groups=(one, replace(one, framework="vLLM", replicas=4)))
    assert [v["spec"]["strategy"] for v in deployments(case)] == [INSTEAD, INSTEAD]


def live_of(value: Object, **spec: Any) -> Object:
    live = copy.deepcopy(value)
    live["spec"] |= spec
    count = live["spec"]["replicas"]
    counts = ("replicas", "updatedReplicas", "availableReplicas")
    live["status"] = dict.fromkeys(counts, count)
    return live


def change(old: Case, new: Case, **spec: Any) -> Object:
    before = {v["metadata"]["name"]: live_of(v, **spec) for v in deployments(old)}
    (value,) = adapted(deployments(new), best_of(new), before)
    return value["spec"]


@pytest.mark.parametrize(
    ("old", "new", "strategy"),
    [
        (on(6), on(6), INSTEAD),
        (on(8), on(8), BESIDE),
        (on(6), on(6, tp=1, replicas=5), INSTEAD),  # what an old one frees is enough
        (on(6), on(6, tp=4, replicas=1), RECREATE),
        (on(8), on(8, tp=4, replicas=1), INSTEAD),  # two free ones, and two of an old one
        (on(8, 8), on(8, 8, tp=4, replicas=2), BESIDE),
    ],
)
def test_all_replicas_go_at_once_only_where_a_new_one_finds_no_room(
    old: Case, new: Case, strategy: Object
):
    assert change(old, new)["strategy"] == strategy


def claiming(*free: int, tp: int = 2, replicas: int = 3, **pool: Any) -> Case:
    """The same where GPUs come by claims on devices."""
    pool = replace(DRA_POOL, free_gpus_by_node=free, **pool)
    return Case(groups=(replace(GROUP, pool=pool, tp=tp, replicas=replicas),))


@pytest.mark.parametrize(
    ("old", "new", "strategy"),
    [
        (claiming(6), claiming(6), INSTEAD),
        (claiming(8), claiming(8), BESIDE),
        (claiming(6), claiming(6, tp=1, replicas=5), INSTEAD),
        (claiming(6), claiming(6, tp=4, replicas=1), RECREATE),
        (claiming(8), claiming(8, tp=4, replicas=1), INSTEAD),
        # Devices of another product are no room, and are not made any.
        (claiming(6, product="NVIDIA A100"), claiming(6, tp=4, replicas=1), INSTEAD),
        (on(6), claiming(6, tp=4, replicas=1), INSTEAD),
    ],
)
def test_devices_that_pods_claim_count_as_their_gpus(old: Case, new: Case, strategy: Object):
    built = dict(build_objects(old.plan, best_of(old)))
    templates = [v for v in built.values() if v["kind"] == "ResourceClaimTemplate"]
    before = {v["metadata"]["name"]: live_of(v) for v in deployments(old)}
    objects = [value for _, value in build_objects(new.plan, best_of(new))]
    after = adapted(objects, best_of(new), before, templates)
    (value,) = (v for v in after if v["kind"] == "Deployment")
    assert value["spec"]["strategy"] == strategy


@pytest.mark.parametrize(
    "form", ["kustomize", "inferencepool", "leaderworkerset", "llminferenceservice"]
)
def test_a_template_of_claims_is_never_edited(form: str):
    """Its specification is immutable, so another one has another name; the pods name theirs."""
    specs: dict[str, Object] = {}
    for case in (claiming(8), claiming(8, tp=4), claiming(8, product="NVIDIA A100")):
        built = [value for _, value in formats()[form](case.plan, best_of(case))]
        (template,) = (v for v in built if v["kind"] == "ResourceClaimTemplate")
        name = template["metadata"]["name"]
        assert specs.setdefault(name, template["spec"]) == template["spec"]
        assert name in {n for value in built for n in templates_named(value)}
    assert len(specs) == 3


def templates_named(value: object) -> list[str]:
    """The templates that pods anywhere in an object name."""
    if isinstance(value, list):
        return [name for item in value for name in templates_named(item)]
    if not isinstance(value, dict):
        return []
    own = [v for key, v in value.items() if key == "resourceClaimTemplateName"]
    return own + [name for item in value.values() for name in templates_named(item)]


def test_replicas_of_an_autoscaler_leave_no_room_for_a_surge():
    assert change(on(8), on(8), replicas=4)["strategy"] == INSTEAD


def test_another_pool_gives_room_that_the_old_pods_do_not_hold():
    old = on(6)
    selector = (("nvidia.com/gpu.product", "other"),)
    pool = replace(POOL, free_gpus_by_node=(4,), node_selector=selector)
    new = Case(groups=(replace(GROUP, pool=pool, tp=4, replicas=1),))
    assert change(old, new)["strategy"] == INSTEAD


def test_a_deployment_of_an_older_version_rolls_and_one_under_way_ends_as_it_began():
    assert change(on(6), on(6), strategy=RECREATE)["strategy"] == INSTEAD
    live = live_of(deployments(on(6))[0], strategy=RECREATE)
    live["status"]["updatedReplicas"] = 0
    (value,) = adapted(deployments(on(6)), best_of(on(6)), {live["metadata"]["name"]: live})
    assert value["spec"]["strategy"] == RECREATE


def test_a_longer_drain_that_runs_is_kept():
    slow = on(6)
    before = deployments(slow)[0]
    pod = before["spec"]["template"]["spec"]
    for container in pod["containers"]:
        container["lifecycle"]["preStop"]["sleep"]["seconds"] = 240
    live = {before["metadata"]["name"]: live_of(before)}
    (value,) = adapted(deployments(slow), best_of(slow), live)
    kept = value["spec"]["template"]["spec"]
    assert kept["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 240}}}
    assert kept["terminationGracePeriodSeconds"] == 270


@pytest.mark.parametrize(
    ("p99_s", "drain_s"), [(0.0, 30), (7.5, 30), (8.0, 60), (60, 240), (1e4, 480), (1e300, 480)]
)
def test_a_leaving_pod_serves_on_for_twice_the_slowest_requests(p99_s: float, drain_s: int):
    assert drain_seconds(p99_s) == drain_s


def test_an_infinite_latency_has_the_longest_drain():
    assert drain_seconds(float("inf")) == drain_seconds(float("nan")) == 480


def pods() -> list[tuple[str, Object]]:
    """Every pod of every form, by the name of its case."""
    found: list[tuple[str, Object]] = []
    for name, case in CASES.items():
        found += [(name, v["spec"]["template"]["spec"]) for v in deployments(case)]
    case = CASES["vllm"]
    for _, value in formats()["leaderworkerset"](case.plan, best_of(case)):
        template = value["spec"].get("leaderWorkerTemplate", {})
        for role in ("leaderTemplate", "workerTemplate"):
            found += [("vllm", template[role]["spec"])] if role in template else []
    jobs = benchmarks(case.plan, best_of(case), "kustomize")
    return [*found, *(("vllm", job["spec"]["template"]["spec"]) for _, job in jobs)]


def test_every_pod_is_one_of_pod_security_restricted():
    for name, pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        # The device files of AMD GPUs are closed to other users than root.
        assert pod["securityContext"].get("runAsNonRoot", False) is (name != "amd")
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_no_pod_is_best_effort():
    for _, pod in pods():
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])


def test_a_benchmark_reads_the_cache_of_the_plan():
    case = CASES["all-options"]
    cache = case.plan.spec.deployment.model_cache
    assert cache is not None
    for _, job in benchmarks(case.plan, best_of(case), "kustomize"):
        volumes = job["spec"]["template"]["spec"]["volumes"]
        assert {
            "name": "models",
            "persistentVolumeClaim": {"claimName": cache.claim_name},
        } in volumes


def test_one_budget_holds_for_all_replicas():
    case = CASES["two-pools-even"]
    objects = dict(build_objects(case.plan, best_of(case)))
    budget = objects["poddisruptionbudget.yaml"]["spec"]
    assert budget["maxUnavailable"] == 1
    for value in deployments(case):
        labels = value["spec"]["template"]["metadata"]["labels"]
        assert budget["selector"]["matchLabels"].items() <= labels.items()
