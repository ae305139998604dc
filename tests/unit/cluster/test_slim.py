"""What is kept of an object is all that an inventory reads."""

from __future__ import annotations

from typing import Any

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.cluster.slim import slim_node, slim_pod
from hack import nodes as fake

CATALOG = load()
NODES = fake.nodes({"h100-sxm": 2, "a100-80": 1})


def pod(gpus: int) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {"cpu": "1"}
    return {
        "metadata": {"name": "a", "namespace": "ml"},
        "spec": {
            "nodeName": "h100-sxm-0000",
            "containers": [{"name": "c", "image": "i", "resources": {"limits": limits}}],
        },
        "status": {"phase": "Running"},
    }


def test_slim_objects_give_the_same_inventory():
    pods = [pod(3), pod(0)]
    slim = [slim_node(node) for node in NODES]
    slim_pods = [found for item in pods if (found := slim_pod(item, ()))]
    assert read_inventory(slim, slim_pods, CATALOG) == read_inventory(NODES, pods, CATALOG)
    assert slim_pod({"spec": {"containers": [{"name": "c"}]}}, ()) is None
