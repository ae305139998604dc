"""Reservations: nothing is held twice, nothing beyond what is there, and no order matters."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.cluster.inventory import read_cluster
from guide_operator.holdings import HeldPart, Holder, spots_of, stand_ins, taken
from hack import nodes as fake

VIEW = read_cluster(fake.nodes({"h100-sxm": 3, "a100-80": 2}), [], load())
SPOTS = spots_of(VIEW)
NAMES = [f"plan-{index}" for index in range(5)]

parts = st.builds(
    HeldPart,
    pool=st.sampled_from([*SPOTS.pools, "gone"]),
    tp=st.sampled_from([1, 2, 4, 8]),
    pp=st.sampled_from([1, 2]),
    replicas=st.integers(1, 4),
)
holders = st.lists(
    st.builds(
        Holder,
        owner=st.tuples(st.just("ml"), st.sampled_from(NAMES)),
        selector=st.just(()),
        parts=st.lists(parts, min_size=1, max_size=2).map(tuple),
    ),
    unique_by=lambda one: one.owner,
)


@st.composite
def bound(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Pods of plans (or of nobody) that fit where they are."""
    pods: list[dict[str, Any]] = []
    for (node, resource), gpus in SPOTS.allocatable.items():
        left = gpus
        for owner, size in draw(
            st.lists(st.tuples(st.sampled_from([*NAMES, None]), st.integers(1, 4)), max_size=3)
        ):
            if size <= left:
                left -= size
                labels = {} if owner is None else {"guide.dev/plan": owner}
                pods.append(
                    {
                        "metadata": {"namespace": "ml", "labels": labels},
                        "spec": {
                            "nodeName": node,
                            "containers": [{"resources": {"requests": {resource: str(size)}}}],
                        },
                    }
                )
    return pods


@given(holders, bound(), st.randoms())
def test_reservations(held: list[Holder], pods: list[dict[str, Any]], dice: Any):
    by_pods = taken(pods)
    made = stand_ins(held, lambda _: SPOTS, by_pods)
    both = taken([*pods, *made])
    whole: Counter[tuple[str, str]] = sum(both.values(), Counter())
    assert all(gpus <= SPOTS.allocatable[spot] for spot, gpus in whole.items())
    reserved = taken(made)
    for one in held:
        for pool in SPOTS.pools:
            wanted = sum(p.replicas * p.tp * p.pp for p in one.parts if p.pool == pool)
            spots = SPOTS.spots[pool]
            on_nodes = sum(by_pods.get(one.owner, Counter())[spot] for spot in spots)
            extra = sum(reserved.get(one.owner, Counter())[spot] for spot in spots)
            assert extra <= max(0, wanted - on_nodes)
    shuffled = dice.sample(held, len(held))
    assert stand_ins(shuffled, lambda _: SPOTS, taken(dice.sample(pods, len(pods)))) == made
    if not _short(held, both):  # the pods came to be where their stand-ins were
        assert not stand_ins(held, lambda _: SPOTS, both)


def _short(held: list[Holder], both: Any) -> bool:
    """Some layout does not fit into its pool beside the others."""
    for one in held:
        for pool in SPOTS.pools:
            wanted = sum(p.replicas * p.tp * p.pp for p in one.parts if p.pool == pool)
            if sum(both.get(one.owner, Counter())[spot] for spot in SPOTS.spots[pool]) < wanted:
                return True
    return False
