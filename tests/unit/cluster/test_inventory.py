"""Rules of the inventory one by one; whole clusters are in tests/golden/inventory."""

from __future__ import annotations

from typing import Any

import pytest

from guide.catalog import find_gpu, load
from guide.cluster.inventory import read_inventory
from guide.cluster.labels import label_rows, match
from guide.cluster.pods import pod_request
from guide.cluster.selectors import fewest_labels
from guide.manifests.names import object_name

CATALOG = load()
GPU = "nvidia.com/gpu"


def container(count: int, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {GPU: str(count)}} if count else {}, **more}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("containers", "init", "held"),
    [
        ([container(1), container(2)], [], 3),
        ([container(1)], [container(4), container(2)], 4),
        ([container(4)], [container(1)], 4),
        ([container(2)], [container(1, **SIDECAR)], 3),
        ([container(1)], [container(1, **SIDECAR), container(3)], 4),
        ([container(1)], [container(3), container(1, **SIDECAR)], 3),
        ([container(0)], [], 0),
        ([{"resources": {"limits": {GPU: 2}}}], [], 2),
        ([{}], [{}], 0),
    ],
)
def test_a_pod_holds_what_the_scheduler_counts(containers: list[Any], init: list[Any], held: int):
    assert pod_request({"containers": containers, "initContainers": init}, GPU) == held


@pytest.mark.parametrize("row", label_rows(), ids=lambda row: row.source)
def test_every_name_in_the_table_is_a_gpu_of_the_catalogue(row: Any):
    assert [name for name in row.names.values() if find_gpu(CATALOG, name) is None] == []


@pytest.mark.parametrize(
    ("product", "gpu"),
    [
        ("NVIDIA-A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA-A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA-A100-PCIE-40GB", "A100-PCIe-40GB"),
        ("NVIDIA-A100-80GB-PCIe", "A100-80GB-PCIe"),
        ("NVIDIA-H100-80GB-HBM3", "H100-SXM"),
        ("NVIDIA-H100-PCIe", "H100-PCIe"),
        ("NVIDIA-H100-NVL", "H100-NVL"),
        ("NVIDIA-H200", "H200"),
        ("NVIDIA-H200-NVL", "H200-NVL"),
        ("NVIDIA-B200", "B200"),
        ("NVIDIA-L4", "L4"),
        ("NVIDIA-L40", "L40"),
        ("NVIDIA-L40S", "L40S"),
        ("NVIDIA-A10", "A10"),
        ("NVIDIA-A10G", "A10G"),
        ("NVIDIA-A30", "A30"),
        ("NVIDIA-A40", "A40"),
        ("NVIDIA-RTX-A6000", "A6000"),
        ("NVIDIA-RTX-A5000", "RTXA5000"),
        ("NVIDIA-GeForce-RTX-4090", "RTX4090"),
        ("NVIDIA-GeForce-RTX-4090-D", "RTX4090D"),
        ("NVIDIA-GeForce-RTX-3090", "RTX3090"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "RTXPRO6000"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-Edition", "RTXPRO6000-MaxQ"),
        ("Quadro-RTX-6000", "QuadroRTX6000"),
        ("Tesla-T4", "T4"),
        ("Tesla-V100-SXM2-16GB", "V100-16GB"),
        ("Tesla-V100-SXM2-32GB", "V100-32GB"),
        ("Tesla-V100-PCIE-16GB", "V100-PCIe-16GB"),
        ("NVIDIA-L4-SHARED", "L4"),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "H100-SXM"),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb-SHARED", "A100-SXM4-40GB"),
    ],
)
def test_gpu_feature_discovery_names_are_known(product: str, gpu: str):
    found = match({"nvidia.com/gpu.product": product})
    assert found is not None
    named = find_gpu(CATALOG, found.gpu_name)
    assert named is not None
    assert named.name == gpu


def test_the_fewest_labels_are_chosen_and_those_that_change_are_not():
    member = {"p": "x", "node.kubernetes.io/instance-type": "big", "nvidia.com/gfd.timestamp": "1"}
    other = {"p": "x", "node.kubernetes.io/instance-type": "small", "nvidia.com/gfd.timestamp": "2"}
    assert fewest_labels([member], [], "p") == ({"p": "x"}, 0)
    wanted = {"p": "x", "node.kubernetes.io/instance-type": "big"}
    assert fewest_labels([member], [other], "p") == (wanted, 0)
    assert fewest_labels([member], [{**other, "node.kubernetes.io/instance-type": "big"}], "p") == (
        {"p": "x"},
        1,
    )


def test_a_label_made_needless_by_a_better_one_is_dropped():
    member = {"p": "x", "a": "1", "b": "1", "c": "1"}
    others = [
        {"p": "x", "a": "2", "b": "1", "c": "2"},
        {"p": "x", "a": "2", "b": "2", "c": "1"},
        {"p": "x", "a": "1", "b": "2", "c": "2"},
    ]
    found, left = fewest_labels([member], others, "p")
    assert left == 0
    assert len(found) == 3


@pytest.mark.parametrize("name", ["chat", "a.b", "1st", "x" * 253, "-", "ü"])
def test_names_are_valid_for_every_kind(name: str):
    for suffix in ("", "0", "manifests"):
        made = object_name(name, suffix)
        assert len(made) <= 63
        assert made[0].isalpha()
        assert made[-1].isalnum()
        assert made.isascii()
        assert made == made.lower()
        assert made.replace("-", "").isalnum()


def test_nodes_outside_the_plans_selector_are_not_considered():
    def node(name: str, team: str) -> dict[str, Any]:
        labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "team": team}
        resources = {GPU: "1"}
        return {
            "metadata": {"name": name, "labels": labels},
            "status": {"capacity": resources, "allocatable": resources},
        }

    nodes = [node("a", "search"), node("b", "ads")]
    found = read_inventory(nodes, [], CATALOG, node_selector=(("team", "search"),))
    assert [pool.free_gpus for pool in found.pools] == [1]


def test_ten_thousand_nodes_and_fifty_thousand_pods_are_counted():
    products = ["NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB", "NVIDIA-L4", "Tesla-T4"]
    resources = {"cpu": "96", GPU: "8"}
    nodes = [
        {
            "metadata": {
                "name": f"n{i:05}",
                "labels": {
                    "nvidia.com/gpu.product": products[i % 4],
                    "kubernetes.io/hostname": f"n{i:05}",
                    **{f"example.com/label-{k}": str(k) for k in range(30)},
                },
            },
            "spec": {},
            "status": {"capacity": resources, "allocatable": resources},
        }
        for i in range(10_000)
    ]
    pods = [
        {
            "metadata": {"name": f"p{i}"},
            "spec": {"nodeName": f"n{i % 10_000:05}", "containers": [container(i % 2)]},
            "status": {"phase": "Running"},
        }
        for i in range(50_000)
    ]
    found = read_inventory(nodes, pods, CATALOG)
    assert sum(pool.free_gpus + pool.used_gpus for pool in found.pools) == 80_000
    assert sum(pool.used_gpus for pool in found.pools) == 25_000
