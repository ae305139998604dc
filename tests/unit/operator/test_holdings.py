"""What applied layouts hold of the GPUs, who goes first, and what the losers are told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.domain import Inventory, Plan
from guide.manifests.claims import claim
from guide.search.recommend import recommend
from guide.spec import parse_plan, resolve_plan
from guide_operator import reconcile
from guide_operator.cluster import ClusterState
from guide_operator.holdings import holder
from guide_operator.work import Turns
from hack import nodes as fake
from tests.good_plan import PLAN
from tests.manifest_cases import CASES

CATALOG = load()
POOL = "h100-sxm-x8"


def plan(
    name: str, *, version: int = 1, mode: str = "Apply", condition: bool = True, **group: Any
) -> dict[str, Any]:
    """A plan whose status says that a layout was applied: 2 x TP2 unless `group` says otherwise."""
    layout = {"pool": POOL, "tp": 2, "pp": 1, "replicas": 2, **group}
    conditions = [{"type": "Applied", "status": "True", "reason": "Applied", "message": ""}]
    return {
        "metadata": {"name": name, "namespace": "ml", "resourceVersion": str(version)},
        "spec": {"output": {"mode": mode}},
        "status": {"applied": {"groups": [layout]}, "conditions": conditions if condition else []},
    }


def pod(name: str, owner: str, gpus: int, node: str = "h100-sxm-0000") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ml", "labels": {"guide.dev/plan": owner}},
        "spec": {
            "nodeName": node,
            "containers": [{"resources": {"requests": {"nvidia.com/gpu": str(gpus)}}}],
        },
    }


def question(**spec: Any) -> Plan:
    value = {**PLAN, "metadata": {"name": "asks", "namespace": "ml"}}
    value["spec"] = {**PLAN["spec"], **spec}
    return resolve_plan(parse_plan(value), CATALOG)


ASKS = question()


def cluster(*plans: dict[str, Any]) -> ClusterState:
    found = ClusterState(CATALOG)
    for node in fake.nodes({"h100-sxm": 2, "a100-80": 1}):
        found.set_node(node["metadata"]["name"], node)
    for one in plans:
        found.set_plan(("ml", one["metadata"]["name"]), one)
    return found


def free(found: ClusterState, name: str = "asks") -> tuple[int, ...]:
    inventory: Inventory = found.inventory(ASKS, "ml", name)
    return next(p.free_gpus_by_node for p in inventory.pools if p.name == POOL)


def test_a_layout_holds_its_gpus_before_it_has_pods():
    found = cluster(plan("holds"))
    assert free(found) == (6, 6)
    assert free(found, "holds") == (8, 8)
    assert sum(p.used_gpus for p in found.whole_inventory().pools) == 4


def test_pods_on_nodes_are_not_counted_twice():
    found = cluster(plan("holds"))
    found.set_pod(("ml", "one"), pod("one", "holds", 2))
    assert free(found) == (6, 6)
    found.set_pod(("ml", "two"), pod("two", "holds", 2))
    assert free(found) == (8, 4)
    assert free(found, "holds") == (8, 8)


def test_pods_of_a_former_layout_elsewhere_do_not_stand_for_the_new_one():
    found = cluster(plan("holds"))
    found.set_pod(("ml", "old"), pod("old", "holds", 4, "a100-80-0000"))
    assert free(found) == (6, 6)


@pytest.mark.parametrize(
    "other",
    [
        plan("other", mode="Recommend"),
        plan("other", condition=False),  # was in mode Recommend: has to ask again
        plan("other", pool="gone"),
        {**plan("other"), "status": {}},
    ],
)
def test_what_holds_nothing(other: dict[str, Any]):
    assert free(cluster(other)) == (8, 8)


def test_an_older_version_of_a_plan_does_not_undo_a_reservation():
    found = cluster(plan("holds", version=5))
    assert not found.set_plan(("ml", "holds"), {**plan("holds", version=4), "status": {}})
    assert free(found) == (6, 6)
    assert found.set_plan(("ml", "holds"), plan("holds", version=10, replicas=1))
    assert free(found) == (8, 6)
    assert found.set_plan(("ml", "holds"), None)
    assert free(found) == (8, 8)


def test_a_layout_larger_than_the_pool_holds_no_more_than_there_is():
    assert free(cluster(plan("a", replicas=40), plan("b", replicas=40))) == (0, 0)


def test_a_replica_over_two_nodes_holds_a_part_of_each():
    assert free(cluster(plan("wide", tp=8, pp=2, replicas=1))) == (0, 0)


def test_only_plans_of_the_pool_are_planned_again():
    found = cluster()
    written = parse_plan({**PLAN, "metadata": {"name": "asks", "namespace": "ml"}})
    asks = {gpu: question(placement={"gpus": [gpu]}) for gpu in ("H100-SXM", "A100-80GB")}

    def digests() -> list[str]:
        return [
            reconcile.inputs_digest(written, one, found.inventory(one, "ml", "asks"), CATALOG)
            for one in asks.values()
        ]

    before = digests()
    found.set_plan(("ml", "holds"), plan("holds"))
    after = digests()
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]


def test_the_loser_is_told_who_holds_the_gpus():
    found = cluster(*(plan(f"holder-{i}", replicas=1 + (i == 3)) for i in range(5)))
    found.set_plan(("ml", "rest"), plan("rest", tp=1, replicas=4))
    asks = question(placement={"gpus": ["H100-SXM"]})
    answer = recommend(asks, found.inventory(asks, "ml", "asks"), CATALOG)
    assert not answer.feasible
    told = found.held_by_others(asks, answer, "ml", "asks")
    assert told == (
        "16 of 16 GPUs of pool h100-sxm-x8 are held by plans ml/holder-3 (4), ml/rest (4), "
        "ml/holder-0 (2) and 3 more."
    )
    hidden = found.held_by_others(asks, answer, "ml", "asks", hide=True)
    assert hidden == told, "its own namespace is no secret"
    hidden = found.held_by_others(asks, answer, "other", "asks", hide=True)
    assert hidden == "16 of 16 GPUs of pool h100-sxm-x8 are held by other namespaces (16)."
    assert "held" not in found.held_by_others(
        ASKS, recommend(ASKS, Inventory(pools=()), CATALOG), *("ml", "x")
    )


def test_the_name_of_a_plan_with_dots_still_counts_as_its_own():
    found = cluster(plan("chat.v2"))
    assert free(found, "chat.v2") == (8, 8)
    assert holder({"metadata": {}, "spec": {}}) is None


# --- who goes first ------------------------------------------------------------------------------


def order(coming: list[str], places: list[str]) -> list[str]:
    """In which order plans get their turn; names are ages."""
    turns, got = Turns(), list[str]()

    async def one(name: str) -> None:
        await turns.come(("ml", name))
        got.append(name)
        await asyncio.sleep(0)
        assert got[-1] == name  # nobody else had a turn meanwhile
        turns.leave(("ml", name))

    async def all_of_them() -> None:
        for name in places:
            turns.join(("ml", name), (name, "ml", name))
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for name in coming:
                group.create_task(one(name))
                await asyncio.sleep(0)

    asyncio.run(all_of_them())
    return got


def test_the_oldest_goes_first_however_late_it_comes():
    assert order(["3", "2", "1"], ["2", "3", "1"]) == ["1", "2", "3"]


def test_who_stepped_aside_blocks_nobody_and_who_keeps_its_place_does():
    async def scene() -> None:
        turns = Turns()
        for name in ("1", "2"):
            turns.join(("ml", name), (name, "ml", name))
        await turns.come(("ml", "1"))
        second = asyncio.create_task(turns.come(("ml", "2")))
        await asyncio.sleep(0)
        turns.leave(("ml", "1"), keep_place=True)  # failed, and tries again
        await asyncio.sleep(0)
        assert not second.done()
        await turns.come(("ml", "1"))
        turns.leave(("ml", "1"))
        async with asyncio.timeout(5):
            await second

    asyncio.run(scene())


def test_devices_that_pods_of_the_plan_claim_are_free_for_it_alone():
    """By the labels that the API server copies from the plan's template to each claim."""
    folder = Path(__file__).resolve().parents[2] / "golden" / "inventory" / "dra"
    nodes, slices = (
        yaml.safe_load((folder / f"{kind}.yaml").read_text())["items"]
        for kind in ("nodes", "slices")
    )
    case = CASES["dra"]
    best = case.recommendation.best
    assert best is not None
    template = claim(case.plan, 0, best.groups[0].group)
    found = ClusterState(CATALOG)
    for node in nodes:
        found.set_node(node["metadata"]["name"], node)
    for item in slices:
        if item["kind"] == "ResourceClaim":
            item["metadata"] |= template["spec"]["metadata"] | {"namespace": "ml"}
        key = (item["metadata"].get("namespace"), item["metadata"]["name"])
        found.set_device(key, item)
    used = {
        owner: used_gpus(found, *owner) for owner in (("ml", "chat"), ("ml", "x"), ("a", "chat"))
    }
    assert used == {("ml", "chat"): 0, ("ml", "x"): 2, ("a", "chat"): 2}


def used_gpus(state: ClusterState, namespace: str, name: str) -> int:
    return sum(pool.used_gpus for pool in state.inventory(ASKS, namespace, name).pools)
