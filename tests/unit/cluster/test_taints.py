"""Whose nodes a plan may use: the scheduler's rule, and nothing tolerated that nobody named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.cluster.taints import ANY, NodeBounds, untolerated
from hack import nodes

CATALOG = load()
KEYS, VALUES = ("team", "node-role.kubernetes.io/control-plane"), ("", "a", "b")
EFFECTS = ("NoSchedule", "NoExecute")
taints = st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES), st.sampled_from(EFFECTS))
tolerations = st.fixed_dictionaries(
    {
        "key": st.sampled_from(("", *KEYS)),
        "operator": st.sampled_from(("Exists", "Equal")),
        "value": st.sampled_from(VALUES),
        "effect": st.sampled_from(("", *EFFECTS)),
    }
)


def scheduler(toleration: dict[str, str], taint: tuple[str, str, str]) -> bool:
    """`ToleratesTaint` of k8s.io/api/core/v1, line by line."""
    if toleration["effect"] and toleration["effect"] != taint[2]:
        return False
    if toleration["key"] and toleration["key"] != taint[0]:
        return False
    if toleration["operator"] == "Equal":
        return bool(toleration["key"]) and toleration["value"] == taint[1]
    return True


@given(taints, st.lists(tolerations, max_size=3))
def test_a_taint_is_tolerated_as_the_scheduler_does(
    taint: tuple[str, str, str], known: list[dict[str, str]]
):
    fields = [tuple((key, value) for key, value in each.items() if value) for each in known]
    expected = any(scheduler(each, taint) for each in known)
    assert (untolerated([taint], fields) is None) == expected


@pytest.mark.parametrize("key", ["nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/xe"])
def test_the_taint_of_the_vendor_keeps_off_pods_without_gpus_alone(key: str):
    assert untolerated([(key, "present", "NoSchedule")], ()) is None


def node(name: str, *extra: dict[str, str], **labels: str) -> dict[str, Any]:
    value = nodes.node(name, nodes.SHAPES["h100-sxm"])
    value["metadata"]["labels"] |= labels
    value["spec"]["taints"] += extra
    value["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    return value


CONTROL = {"key": KEYS[1], "effect": "NoSchedule"}
FLEET = [node("free"), node("control", CONTROL), node("vision", team="vision")]


def names(**options: Any) -> tuple[int, dict[str, str]]:
    """Free GPUs, and why nodes are left out."""
    found = read_inventory(FLEET, [], CATALOG, **options)
    gpus = sum(pool.free_gpus for pool in found.pools)
    return gpus, {each.node: each.reason for each in found.skipped}


def test_a_control_plane_is_left_alone_and_named():
    gpus, skipped = names()
    assert gpus == 16
    assert skipped == {
        "control": "has taint node-role.kubernetes.io/control-plane:NoSchedule, which "
        "spec.placement.tolerations does not tolerate"
    }


def test_pools_are_named_alike_whatever_a_plan_tolerates():
    every = {pool.name for pool in read_inventory(FLEET, [], CATALOG, tolerations=ANY).pools}
    some = {pool.name for pool in read_inventory(FLEET, [], CATALOG).pools}
    assert some < every


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        (NodeBounds(excluded=(("team", ""),)), "it has label team=vision"),
        (NodeBounds(excluded=(("team", "vision"),)), "it has label team=vision"),
        (NodeBounds(selector=(("pool", "x"),)), "it lacks label pool=x"),
    ],
)
def test_bounds_of_the_operator_hold_for_every_plan(bounds: NodeBounds, reason: str):
    _, skipped = names(bounds=bounds, tolerations=ANY)
    assert skipped["vision"] == f"is not for plans: {reason}"


def test_other_values_of_an_excluded_label_stay():
    _, skipped = names(bounds=NodeBounds(excluded=(("team", "audio"),)), tolerations=ANY)
    assert not skipped
