"""Replicas over nodes of one NVLink domain (GB200 NVL72): one set of pods, one ComputeDomain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load
from guide.domain import (
    Evaluation,
    GpuPool,
    Inventory,
    Lengths,
    Plan,
    ReplicaGroup,
    Workload,
)
from guide.manifests.leaderworkerset import leader_worker_sets
from guide.search.bounds import not_enough_gpus, spans_nodes
from guide.search.recommend import recommend
from guide.search.space import Shape, shapes
from guide.spec.lock import LockedPool
from tests.handmade import POOL
from tests.manifest_cases import CASES

CATALOG = load()
RACKS = replace(
    POOL,
    name="gb200-x4",
    gpu=CATALOG.gpus["GB200"],
    gpus_per_node=4,
    free_gpus_by_node=(4, 4, 4, 4),
    used_gpus=0,
    nvlink_domains=((4, 4, 4), (4,)),
)
PLAN = Plan(
    model=CATALOG.models["moonshotai/Kimi-K2-Instruct"],
    workload=Workload(
        prompt=Lengths(mean_tokens=1000.0), output=Lengths(mean_tokens=300.0), requests_per_s=1.0
    ),
    frameworks=("vLLM",),
    over_nodes=True,
)


def shape(pool: GpuPool, tp: int, pp: int = 1) -> Shape:
    found = shapes(PLAN, Inventory(pools=(pool,)), CATALOG)
    return next(s for s in found if (s.tp, s.pp, s.ep) == (tp, pp, 1))


@pytest.fixture(scope="module")
def best() -> Evaluation:
    found = recommend(PLAN, Inventory(pools=(RACKS,)), CATALOG).best
    assert found is not None
    return found


def test_tensor_parallelism_leaves_a_node_only_inside_an_nvlink_domain():
    assert spans_nodes(shape(RACKS, 8)) is None
    assert spans_nodes(shape(replace(RACKS, nvlink_domains=()), 8)) is not None
    assert spans_nodes(replace(shape(RACKS, 8), over_nodes=False)) is not None


def test_all_nodes_of_a_replica_stand_in_one_domain():
    # three nodes and one: two replicas over two nodes only if one of them went over both
    assert shape(RACKS, 8).nodes == 2
    assert not_enough_gpus(shape(RACKS, 8), 1) is None
    refused = not_enough_gpus(shape(RACKS, 8), 2)
    assert refused is not None
    alone = not_enough_gpus(shape(replace(RACKS, nvlink_domains=((4,), (4,))), 8), 1)
    assert alone is not None
    assert "of one NVLink domain" in alone.detail


def test_two_nodes_of_a_domain_are_like_one_node_of_eight(best: Evaluation):
    group = best.groups[0].group
    assert group.gpus_per_replica == 8
    one_node = replace(RACKS, gpus_per_node=8, free_gpus_by_node=(8,), nvlink_domains=())
    same = recommend(PLAN, Inventory(pools=(one_node,)), CATALOG)
    twin = next(
        e
        for e in (same.best, *same.alternatives, *same.pareto)
        if e is not None and e.groups[0].group.key[1:] == group.key[1:]
    )
    assert twin.groups[0].report.tpot == best.groups[0].report.tpot


def test_its_pods_share_a_channel_and_stay_together(best: Evaluation):
    wide = replace(best, groups=(replace(best.groups[0], group=tensor_parallel(best)),))
    objects = dict(leader_worker_sets(CASES["all-options"].plan, wide))
    domain, workload = objects["computedomain-0.yaml"], objects["leaderworkerset-0.yaml"]
    template = workload["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 2
    for role in ("leaderTemplate", "workerTemplate"):
        pod = template[role]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": "4"}
        (claim,) = pod["resourceClaims"]
        assert container["resources"]["claims"] == [{"name": claim["name"]}]
        channel = domain["spec"]["channel"]["resourceClaimTemplate"]["name"]
        assert claim["resourceClaimTemplateName"] == channel
        required = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert [each["topologyKey"] for each in required] == ["nvidia.com/gpu.clique"]
        assert "--tensor-parallel-size=8" in container["args"]
    assert domain["spec"]["numNodes"] == 0, "else it waits for so many, whatever the replicas are"


@pytest.mark.parametrize(("replicas", "down"), [(1, 1), (4, 1), (5, 2), (12, 3)])
def test_a_quarter_of_the_replicas_rolls_at_a_time(best: Evaluation, replicas: int, down: int):
    group = replace(tensor_parallel(best), replicas=replicas)
    several = replace(best, groups=(replace(best.groups[0], group=group),))
    objects = dict(leader_worker_sets(CASES["all-options"].plan, several))
    strategy = objects["leaderworkerset-0.yaml"]["spec"]["rolloutStrategy"]
    assert strategy["rollingUpdateConfiguration"]["maxUnavailable"] == down


def tensor_parallel(best: Evaluation) -> ReplicaGroup:
    return replace(best.groups[0].group, tp=8, pp=1, ep=1, attention_dp=1)


def test_a_lock_keeps_the_domains():
    assert LockedPool.of(RACKS).to_domain(CATALOG) == RACKS
