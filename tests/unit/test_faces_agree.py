"""Command line, KRM function and page read one cluster alike for one plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from guide.catalog import load
from guide.cli.app import app
from guide.cli.question import Extra, about
from guide.domain import Inventory
from guide.gitops import krm_function as krm
from guide.manifests.names import instance_labels
from guide.question import Cluster
from guide.spec import InferencePlan, load_plan
from guide.spec.node_pools import read_node_pools
from guide.web import api
from guide.web.settings import Settings
from tests.rendered import H100, PLAN, pod

CATALOG = load()
POOLS = """
nodePools:
- {name: burst, gpu: H100-SXM, gpusPerNode: 8, maxNodes: 2, nodeSelector: {pool: burst}}
"""
OWN = pod("chat-0", "h100-0", 8, **instance_labels("chat"))
OTHER = pod("else-0", "h100-1", 6)
ITEM = {"apiVersion": "v1"}


def by_plan(folder: Path, written: InferencePlan, pools: Path | None) -> Inventory:
    for name, items in (("nodes", H100), ("pods", [OWN, OTHER])):
        (folder / name).write_text(json.dumps({"kind": "List", "items": items}))
    extra = Extra(node_pools=pools)
    return about(written, None, folder / "nodes", folder / "pods", CATALOG, extra).inventory


def by_function(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, items: list[Any]) -> Inventory:
    seen: list[Inventory] = []

    def ask(_: object, inventory: Inventory, *__: object) -> None:
        seen.append(inventory)
        raise krm.SpecError("enough")

    monkeypatch.setattr(krm, "ask", ask)
    listed = {"kind": "ResourceList", "items": [yaml.safe_load(PLAN), *items]}
    krm.run(listed, CATALOG, cluster)
    return seen[0]


@pytest.mark.parametrize("pools", ["", POOLS])
def test_all_faces_see_the_same_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: str):
    written = load_plan(PLAN)
    file = tmp_path / "pools.yaml"
    file.write_text(pools)
    expected = by_plan(tmp_path, written, file if pools else None)
    assert expected.pools[-1].free_gpus == 8 + 2 + 8
    potential = read_node_pools(pools, "pools") if pools else ()
    items = [{**ITEM, **each} for each in (*H100, OWN, OTHER)]
    given = Cluster(nodes=H100, pods=[OWN, OTHER], node_pools=potential)
    among = Cluster(node_pools=potential)
    assert by_function(monkeypatch, given, []) == expected
    assert by_function(monkeypatch, among, items) == expected
    live = Settings(nodes_file=tmp_path / "nodes")
    monkeypatch.setattr(api, "live", lambda _: given)
    asked = api.Ask.model_validate({"plan": yaml.safe_load(PLAN)})
    assert api._question(asked, live).inventory == expected  # pyright: ignore[reportPrivateUsage]


def test_the_function_reads_node_pools_and_promises_no_network():
    told = " ".join(
        CliRunner().invoke(app, ["fn", "--help"], env={"COLUMNS": "300"}).stdout.split()
    )
    assert "never the network" in told
    assert "kube context" not in told
    assert "--node-pools" in told
    assert "--slices" in told
