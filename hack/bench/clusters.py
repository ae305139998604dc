"""Questions of any size: clusters of so many pools and nodes, and the plans that are asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Catalog, Inventory, Plan
from guide.spec import load_plan, resolve_plan
from hack.bench.measure import ROOT

CATALOG: Catalog = load()
CHAT = ROOT / "examples/chat.yaml"
PER_NODE = (8, 4, 2, 1)
# the question of `aiconfigurator cli default` below, as far as a plan has it
PEER_PLAN = """
apiVersion: guide.dev/v1alpha1
kind: InferencePlan
metadata: {name: peer}
spec:
  model: {name: Qwen/Qwen3-32B}
  workload:
    inputTokens: {mean: 3000, p95: 3000}
    outputTokens: {mean: 300, p95: 300}
    maxContextTokens: 4096
    requestsPerSecond: 8
  slo: {ttftP95Milliseconds: 1000, tpotP95Milliseconds: 50}
  frameworks: [vLLM]
  preference: Throughput
"""


def chat() -> Plan:
    """The example plan."""
    return resolve_plan(load_plan(CHAT.read_text(encoding="utf-8")), CATALOG)


def cluster(pools: int, nodes: int) -> list[dict[str, Any]]:
    """Node objects: `pools` pools that differ by GPU, GPUs of a node or owner, of `nodes` each."""
    products = [
        gpu.aliases[0] for gpu in CATALOG.gpus.values() if gpu.vendor == "nvidia" and gpu.aliases
    ]
    # the common ones first, so that three pools are the three of a usual cluster
    usual = ["NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB", "NVIDIA-L4"]
    products = [*usual, *(name for name in products if name not in usual)]
    return [
        _node(pool, number, products[pool % len(products)], PER_NODE[pool // len(products) % 4])
        for pool in range(pools)
        for number in range(nodes)
    ]


def _node(pool: int, number: int, product: str, gpus: int) -> dict[str, Any]:
    resources = {"nvidia.com/gpu": str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"pool-{pool}-{number}",
            "labels": {
                "nvidia.com/gpu.product": product,
                "nvidia.com/gpu.count": str(gpus),
                "example.com/pool": f"pool-{pool}",
            },
        },
        "spec": {
            "taints": [{"key": "nvidia.com/gpu", "value": f"p{pool}", "effect": "NoSchedule"}]
        },
        "status": {
            "allocatable": resources,
            "capacity": resources,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def inventory(pools: int, nodes: int) -> Inventory:
    """The same as the engine sees it; `RuntimeError` unless it has that many pools."""
    found = read_inventory(cluster(pools, nodes), [], CATALOG)
    if len(found.pools) != pools:
        raise RuntimeError(f"{pools} pools became {len(found.pools)}")
    return found


def write_nodes(folder: Path, pools: int, nodes: int) -> Path:
    """Such a cluster as `kubectl get nodes -o json` prints it."""
    return _write(folder / f"nodes-{pools}-{nodes}.json", cluster(pools, nodes))


def write_peer_question(folder: Path) -> list[str]:
    """The flags of `guide plan` for the question of the peer: 16 H100 in two nodes."""
    plan = folder / "peer.yaml"
    plan.write_text(PEER_PLAN)
    return ["-f", str(plan), "--nodes", str(_write(folder / "peer.json", cluster(1, 2)))]


def _write(path: Path, items: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return path
