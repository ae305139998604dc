"""A LeaderWorkerSet lifts SpansNodes for pipelines over nodes, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.domain import Inventory, Provenance, Reason, Recommendation
from guide.search.recommend import recommend
from tests import toy

# Half of these weights fit on a node of 4, all of them on none.
HUGE = replace(toy.DECODER, name="toy/huge", layers=240, hidden=8192, ffn=28672, heads=64).arch()
SMALL_NODES = Inventory(pools=(toy.pool("big", toy.BIG, (4, 4, 3, 4), 4),))


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def answer(over_nodes: bool, inventory: Inventory = SMALL_NODES) -> Recommendation:
    plan = toy.question(model=HUGE, over_nodes=over_nodes, frameworks=("vLLM",))
    plan = replace(plan, workload=replace(plan.workload, requests_per_s=0.2))
    return recommend(plan, inventory, toy.CATALOG)


def test_a_model_too_large_for_a_node_goes_over_several():
    assert answer(over_nodes=False).best is None
    best = answer(over_nodes=True).best
    assert best is not None
    group = best.groups[0].group
    assert group.pp > 1
    assert group.tp <= 4 < group.tp * group.pp
    assert best.provenance is Provenance.EXTRAPOLATED


def test_the_reader_is_told_what_the_numbers_leave_out():
    assert any("from node to node" in note for note in answer(over_nodes=True).notes)
    assert not any("from node to node" in note for note in answer(over_nodes=False).notes)


def test_each_stage_must_find_its_gpus_on_one_node():
    pool = SMALL_NODES.pools[0]
    assert pool.replicas_that_fit(8, 2) == 1  # three nodes have 4 free, two make a replica
    assert pool.replicas_that_fit(8, 1) == 0
    scattered = Inventory(pools=(replace(pool, free_gpus_by_node=(2, 2, 2, 2)),))
    found = answer(over_nodes=True, inventory=scattered)
    assert found.best is None or found.best.groups[0].group.tp <= 2


def test_tensor_parallelism_never_leaves_a_node():
    for rejected in answer(over_nodes=True).rejections:
        if rejected.reason is Reason.SPANS_NODES and rejected.candidate is not None:
            group = rejected.candidate.groups[0]
            assert group.tp > 4 or group.pp == 1
