"""Random plans and clusters for the toy engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from guide.domain import (
    Budget,
    GpuPool,
    Inventory,
    Plan,
    Preference,
    Price,
    Recommendation,
    Slo,
    Tolerance,
)
from guide.search.recommend import recommend
from tests import toy

T = TypeVar("T")


def maybe(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    """A value, or None."""
    return st.none() | strategy


slos = st.builds(
    Slo,
    ttft_p95_s=maybe(st.floats(0.005, 2)),
    tpot_p95_s=maybe(st.floats(0.003, 0.1)),
    e2e_p95_s=maybe(st.floats(0.5, 30)),
    min_output_tokens_per_s=maybe(st.floats(10, 50_000)),
)
budgets = st.builds(
    Budget, max_usd_per_h=maybe(st.floats(0.5, 200)), max_gpus=maybe(st.integers(1, 32))
)


@st.composite
def workloads(draw: st.DrawFn):
    base = toy.question().workload
    if draw(st.booleans()):
        return replace(base, requests_per_s=draw(st.floats(0.1, 100)))
    return replace(base, requests_per_s=None, concurrency=draw(st.integers(1, 500)))


plans = st.builds(
    toy.question,
    workload=workloads(),
    slo=slos,
    budget=budgets,
    preference=st.sampled_from(Preference),
    tolerance=st.sampled_from(Tolerance),
)


@st.composite
def pools(draw: st.DrawFn, name: str) -> GpuPool:
    gpu = draw(st.sampled_from([toy.BIG, toy.SMALL, None]))
    per_node = draw(st.sampled_from([1, 4, 8]))
    free = draw(st.lists(st.integers(0, per_node), min_size=1, max_size=4))
    price = draw(
        st.none()
        | st.builds(
            Price,
            usd_per_gpu_h=st.floats(0.1, 10),
            billed_gpus=st.sampled_from([1, per_node]),
            source=st.just("s"),
            as_of=st.just("d"),
        )
    )
    return toy.pool(name, gpu, tuple(free), per_node, price=price)


clusters = st.builds(lambda *found: Inventory(pools=found), pools("a"), pools("b"), pools("c"))


def ask(plan: Plan, cluster: Inventory) -> Recommendation:
    return recommend(plan, cluster, toy.CATALOG)
