"""Neighbours of a pool: those that all pairs would give, in time that grows with the pools."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.cluster.imagined import nodes_of
from guide.cluster.inventory import read_inventory
from guide.cluster.neighbours import Neighbours
from guide.cluster.pools import Key

CATALOG = load()
TAINTS = st.tuples(st.sampled_from("abcde"), st.sampled_from(["", "x"]), st.just("NoSchedule"))
KEYS = st.builds(
    Key,
    source=st.just("gfd"),
    product=st.sampled_from(["H100", "L4"]),
    profile=st.just(""),
    resource=st.sampled_from(["nvidia.com/gpu", "amd.com/gpu"]),
    gpus=st.integers(1, 2),
    shared=st.booleans(),
    clients=st.just(1),
    spot=st.just(False),
    taints=st.lists(TAINTS, unique=True, max_size=5).map(tuple),
)


@given(st.lists(KEYS, unique=True, min_size=1, max_size=12))
def test_they_are_what_comparing_all_pairs_gives(keys: list[Key]):
    near = Neighbours(keys)
    for key in keys:
        pairs = [
            other
            for other in keys
            if other.resource == key.resource and set(other.taints) <= set(key.taints)
        ]
        assert near.of(key) == pairs


def seconds(count: int) -> float:
    nodes = nodes_of(CATALOG.gpus["L4"], count, 1)
    for number, node in enumerate(nodes):
        taint = {"key": "nvidia.com/gpu", "value": f"v{number}", "effect": "NoSchedule"}
        node["spec"] = {"taints": [taint]}
    began = time.process_time()
    assert len(read_inventory(nodes, [], CATALOG).pools) == count
    return time.process_time() - began


def test_distinct_taints_cost_as_much_each_however_many_there_are():
    ratios = [seconds(2000) / seconds(250) for _ in range(3)]
    assert min(ratios) < 24  # 8 where each costs the same, 64 where each is compared with all
