"""Nodes that are labelled in uncommon ways: partitions by resource, device ids, changed cards."""

from __future__ import annotations

from typing import Any

import pytest

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.cluster.slim import slim_node
from guide.domain import Inventory
from guide.spec.lock import LockedInventory
from guide.units import GIB

CATALOG = load()
GFD_4090 = {
    "nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090",
    "nvidia.com/gpu.count": "8",
    "nvidia.com/gpu.memory": "49140",
}


def node(
    labels: dict[str, str], resources: dict[str, int], name: str = "n", **annotations: str
) -> dict[str, Any]:
    offered = {key: str(value) for key, value in resources.items()}
    notes = {f"guide.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": notes},
        "status": {"capacity": offered, "allocatable": offered},
    }


def read(*nodes: dict[str, Any]) -> Inventory:
    found = read_inventory(nodes, [], CATALOG)
    assert read_inventory(map(slim_node, nodes), [], CATALOG) == found
    return found


@pytest.mark.parametrize(
    ("resource", "gpu"),
    [("amd.com/cpx_nps4", "MI300X-CPX_NPS4"), ("amd.com/spx_nps1", "MI300X")],
)
def test_amd_resources_may_be_named_by_partition(resource: str, gpu: str):
    labels = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}
    (pool,) = read(node(labels, {resource: 32})).pools
    assert pool.gpu is not None
    assert (pool.gpu.name, pool.resource) == (gpu, resource)


def test_partitions_of_two_modes_on_a_node_share_its_price():
    labels = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}
    found = read(node(labels, {"amd.com/cpx_nps4": 32, "amd.com/spx_nps1": 4}))
    assert [pool.node_share for pool in found.pools] == [0.5, 0.5]


@pytest.mark.parametrize(("device", "gpu"), [("74a5", "MI325X"), ("740f", "MI210")])
@pytest.mark.parametrize("prefix", ["", "beta."])
def test_a_device_id_names_a_gpu_without_a_product_name(device: str, gpu: str, prefix: str):
    (pool,) = read(node({f"{prefix}amd.com/gpu.device-id": device}, {"amd.com/gpu": 8})).pools
    assert pool.gpu is not None
    assert pool.gpu.name == gpu


def test_a_product_name_is_better_than_a_device_id_of_two_products():
    labels = {
        "amd.com/gpu.device-id": "740c",
        "amd.com/gpu.product-name": "AMD_Instinct_MI250X",
    }
    (pool,) = read(node(labels, {"amd.com/gpu": 8})).pools
    assert pool.gpu is not None
    assert pool.gpu.name == "MI250X"


@pytest.mark.parametrize("resource", ["huawei.com/Ascend910", "huawei.com/Ascend310P"])
def test_accelerators_that_are_not_modelled_are_named(resource: str):
    (skipped,) = read(node({}, {resource: 8})).skipped
    assert skipped.reason == f"offers {resource}, which GUIDE does not model"


def test_changed_memory_is_taken_when_an_annotation_says_so():
    plain = node(GFD_4090 | {"nvidia.com/gpu.memory": "24564"}, {"nvidia.com/gpu": 8}, "plain")
    grown = node(GFD_4090, {"nvidia.com/gpu": 8}, "grown", gpu_memory="48Gi")
    found = read(plain, grown)
    assert not found.skipped
    pools = {pool.name: pool for pool in found.pools}
    assert set(pools) == {"rtx4090-x8", "rtx4090-48gib-x8"}
    pool = pools["rtx4090-48gib-x8"]
    gpu, its = pool.gpu, CATALOG.gpus["RTX4090"]
    assert gpu is not None
    assert (gpu.hbm_bytes, gpu.relative) == (48 * GIB, "RTX4090")
    assert (gpu.hbm_bytes_per_s, gpu.fp8_flop_per_s) == (its.hbm_bytes_per_s, its.fp8_flop_per_s)
    assert dict(pool.node_selector)["nvidia.com/gpu.memory"] == "49140"
    assert "guide.dev/gpu-memory" in " ".join(pool.notes)
    assert LockedInventory.of(found).to_domain(CATALOG) == found
    assert gpu.linked


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({}, "has label nvidia.com/gpu.memory=49140, yet RTX4090 has"),
        ({"gpu_memory": "24Gi"}, "has label nvidia.com/gpu.memory=49140, yet RTX4090-24GiB has"),
        ({"gpu_memory": "plenty"}, "has annotation guide.dev/gpu-memory=plenty; write it like"),
        ({"gpu_memory": "9000Gi"}, "has annotation guide.dev/gpu-memory=9000Gi; write it like"),
    ],
)
def test_memory_that_nothing_vouches_for_is_no_gpu(annotation: dict[str, str], reason: str):
    (skipped,) = read(node(GFD_4090, {"nvidia.com/gpu": 8}, **annotation)).skipped
    assert skipped.reason.startswith(reason)


def test_one_label_for_two_gpus_makes_two_pools():
    def a100(kind: str, mib: str) -> dict[str, Any]:
        labels = {
            "node.kubernetes.io/instance-type": kind,
            "eks.amazonaws.com/instance-gpu-name": "a100",
            "eks.amazonaws.com/instance-gpu-count": "8",
            "eks.amazonaws.com/instance-gpu-memory": mib,
        }
        return node(labels, {"nvidia.com/gpu": 8}, kind)

    found = read(a100("p4d.24xlarge", "40960"), a100("p4de.24xlarge", "81920"))
    assert not found.skipped
    assert {
        pool.name: dict(pool.node_selector)["node.kubernetes.io/instance-type"]
        for pool in found.pools
    } == {"a100-sxm4-40gb-x8": "p4d.24xlarge", "a100-80gb-x8": "p4de.24xlarge"}
