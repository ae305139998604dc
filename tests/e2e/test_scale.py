"""Many objects at once; GUIDE_SCALE_OBJECTS says how many (`make scale`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from hack import nodes
from hack.controlplane.kubectl import Kubectl

LABEL = "guide.dev/scale-test"

pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def many_nodes(kubectl: Kubectl) -> Iterator[list[dict[str, Any]]]:
    count = int(os.environ.get("GUIDE_SCALE_OBJECTS", "100"))
    items = [
        nodes.node(f"scale-{index:05d}", nodes.SHAPES[nodes.MIX[index % len(nodes.MIX)]])
        for index in range(count)
    ]
    for item in items:
        item["metadata"]["labels"][LABEL] = "true"
    yield items
    kubectl("delete", "nodes", "-l", LABEL, "--wait=false")


def test_many_fake_nodes_become_ready(kubectl: Kubectl, many_nodes: list[dict[str, Any]]):
    nodes.create(kubectl, many_nodes, limit_s=60 + 0.1 * len(many_nodes))
    assert {item["metadata"]["name"] for item in many_nodes} <= nodes.ready(kubectl)
