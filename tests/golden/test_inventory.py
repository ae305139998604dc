"""Node dumps of real cluster kinds -> the inventory that GUIDE sees in them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.cluster.potential import with_potential
from guide.cluster.taints import ANY
from guide.domain import GpuPool, Inventory
from guide.spec import write_document
from guide.spec.node_pools import read_node_pools
from guide.units import MIB
from tests.golden.compare import compare

HERE = Path(__file__).resolve().parent / "inventory"
CASES = sorted(path.name for path in HERE.iterdir() if path.is_dir())
CATALOG = load()


def items(case: str, kind: str) -> list[dict[str, Any]]:
    path = HERE / case / f"{kind}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["items"] if path.exists() else []


def inventory(case: str) -> Inventory:
    nodes, pods, slices = (items(case, kind) for kind in ("nodes", "pods", "slices"))
    # how nodes are cut into pools, whoever may use them
    found = read_inventory(nodes, pods, CATALOG, slices=slices, tolerations=ANY)
    asked = HERE / case / "node-pools.yaml"
    if not asked.exists():
        return found
    pools = read_node_pools(asked.read_text(encoding="utf-8"), asked.name)
    return with_potential(found, pools, nodes, CATALOG)


def shown(pool: GpuPool) -> dict[str, Any]:
    """All of a pool but the catalogue's own facts and prices, which change by themselves."""
    fields = {k: v for k, v in asdict(pool).items() if v not in (None, (), False)}
    fields["gpu"] = pool.gpu.name if pool.gpu else None
    if pool.gpu and pool.gpu.parent:
        whole = CATALOG.gpus[pool.gpu.parent]
        fields["part"] = {
            "memory_mib": round(pool.gpu.hbm_bytes / MIB),
            "compute_share": round(pool.gpu.fp16_flop_per_s / whole.fp16_flop_per_s, 4),
            "bandwidth_share": round(pool.gpu.hbm_bytes_per_s / whole.hbm_bytes_per_s, 4),
        }
    if pool.node_share == 1:
        del fields["node_share"]
    fields["instance_types"] = list(pool.instance_types)
    fields["free_gpus_by_node"] = list(pool.free_gpus_by_node)
    fields["node_selector"] = dict(pool.node_selector)
    fields["tolerations"] = [dict(toleration) for toleration in pool.tolerations]
    fields["notes"] = list(pool.notes)
    return fields


def test_there_is_a_dump_of_every_kind_of_cluster():
    assert len(CASES) >= 20


@pytest.mark.parametrize("case", CASES)
def test_the_inventory_is_the_golden_one(case: str):
    found = inventory(case)
    document = {
        "pools": [shown(pool) for pool in found.pools],
        "skipped": [asdict(node) for node in found.skipped],
    }
    files = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((HERE / case).iterdir())
        if path.name != "expected.yaml"
    }
    compare(HERE / case, {**dict(sorted(files.items())), "expected.yaml": write_document(document)})


@pytest.mark.parametrize("case", CASES)
def test_a_selector_matches_exactly_the_nodes_of_its_pool(case: str):
    found = inventory(case)
    skipped = {node.node for node in found.skipped}
    for pool in found.pools:
        if (
            pool.potential
            or pool.device_class
            or any("no label tells" in note for note in pool.notes)
        ):
            continue
        tolerated = {(t.get("key"), t.get("value", "")) for t in map(dict, pool.tolerations)}
        reached = [
            node
            for node in items(case, "nodes")
            if dict(pool.node_selector).items() <= node["metadata"]["labels"].items()
            and node["metadata"]["name"] not in skipped
            and int(node["status"]["allocatable"].get(pool.resource, 0)) > 0
            and all(
                (t["key"], t.get("value", "")) in tolerated
                for t in node["spec"].get("taints", [])
                if t["effect"] != "PreferNoSchedule"
            )
        ]
        assert len(reached) == len(pool.free_gpus_by_node)
