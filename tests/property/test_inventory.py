"""The inventory is a function of the set of objects, never of their order or of passing labels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.cluster.inventory import read_inventory

HERE = Path(__file__).resolve().parents[1] / "golden/inventory"
CATALOG = load()


def items(case: Path, kind: str) -> list[dict[str, Any]]:
    path = case / f"{kind}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["items"] if path.exists() else []


CLUSTERS = [
    tuple(items(case, kind) for kind in ("nodes", "pods", "slices"))
    for case in sorted(HERE.iterdir())
    if case.is_dir()
]
# all of them in one: names differ, so nothing hides anything
FLEET = tuple(
    [copy.deepcopy(item) for cluster in CLUSTERS for item in cluster[kind]] for kind in range(3)
)
for number, node in enumerate(FLEET[0]):
    node["metadata"]["name"] = f"{node['metadata']['name']}.{number}"

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda child: (
        st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=5), child, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=30)
@given(data=st.data())
def test_order_does_not_matter(data: st.DataObject):
    cluster = data.draw(st.sampled_from([*CLUSTERS, FLEET]))
    nodes, pods, slices = (data.draw(st.permutations(part)) for part in cluster)
    expected = read_inventory(cluster[0], cluster[1], CATALOG, slices=cluster[2])
    assert read_inventory(nodes, pods, CATALOG, slices=slices) == expected


@settings(max_examples=30)
@given(data=st.data())
def test_free_and_used_and_unusable_are_all_there_is(data: st.DataObject):
    nodes, pods, slices = data.draw(st.sampled_from(CLUSTERS))
    found = read_inventory(nodes, pods, CATALOG, slices=slices)
    for pool in found.pools:
        total = pool.free_gpus + pool.used_gpus + pool.unusable_gpus
        assert total % pool.gpus_per_node == 0
        assert all(0 <= free <= pool.gpus_per_node for free in pool.free_gpus_by_node)
    names = [pool.name for pool in found.pools]
    assert len(names) == len(set(names))


@settings(max_examples=30)
@given(data=st.data())
def test_what_the_plan_itself_holds_counts_as_free(data: st.DataObject):
    nodes, pods, slices = data.draw(st.sampled_from([c for c in CLUSTERS if c[1] or c[2]]))
    unclaimed = [item for item in slices if item["kind"] != "ResourceClaim"]
    empty = read_inventory(nodes, [], CATALOG, slices=unclaimed)
    assert read_inventory(nodes, pods, CATALOG, slices=slices, own=lambda held: True) == empty


@settings(max_examples=100)
@given(data=st.data())
def test_objects_of_any_shape_are_read_without_an_error(data: st.DataObject):
    nodes, pods, slices = copy.deepcopy(data.draw(st.sampled_from(CLUSTERS)))
    for parts in (nodes, pods, slices):
        for item in parts:
            place = item
            for _ in range(data.draw(st.integers(0, 4))):
                keys = [k for k, v in place.items() if isinstance(v, dict)]
                if not keys:
                    break
                place = place[data.draw(st.sampled_from(sorted(keys)))]
            if place:
                place[data.draw(st.sampled_from(sorted(place)))] = data.draw(junk)
    read_inventory(nodes, pods, CATALOG, slices=slices)
