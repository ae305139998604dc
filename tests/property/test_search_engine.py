"""The search on the real engine: bounds are bounds, and every answer keeps its promises."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from statistics import quantiles
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import (
    Catalog,
    GpuPool,
    Inventory,
    Lengths,
    Plan,
    Preference,
    Prefixes,
    Slo,
    Tolerance,
    Workload,
)
from guide.search.asked import tails
from guide.search.evaluate import ROUNDING, Member, Study, evaluate
from guide.search.explore import survey
from guide.search.loaded import loaded
from guide.search.pricing import priced
from guide.search.recommend import forget, recommend
from guide.search.sizing import AMPLE, Prospect
from guide.simulate.arrivals import requests_of
from tests import toy

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen2-7B",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
)
WINDOWED = (
    "mistralai/Mistral-7B-v0.1",
    "google/gemma-2-9b",
    "google/gemma-3-1b-it",
    "openai/gpt-oss-20b",  # with experts as well
)
MLA = ("deepseek-ai/DeepSeek-V3",)
RELEASES = tuple(release.version for release in load().releases)
GPUS = ("H100-SXM", "A100-80GB", "L4", "A10", "T4")
FEW = settings(max_examples=12)
LOAD = Workload(prompt=Lengths(mean_tokens=500), output=Lengths(mean_tokens=100), requests_per_s=2)


@cache
def catalog() -> Catalog:
    return load()


@st.composite
def plans(draw: st.DrawFn, models: tuple[str, ...] = MODELS, longest_tokens: int = 2000) -> Plan:
    def lengths(low: int, high: int) -> Lengths:
        mean = draw(st.integers(low, high))
        p95 = draw(st.none() | st.just(1.0) | st.floats(1.0, 3.0))
        return Lengths(mean_tokens=mean, p95_tokens=p95 and p95 * mean)

    open_loop = draw(st.booleans())
    return Plan(
        model=catalog().models[draw(st.sampled_from(models))],
        workload=Workload(
            prompt=lengths(50, longest_tokens),
            output=lengths(10, 500),
            requests_per_s=draw(st.floats(0.1, 20)) if open_loop else None,
            concurrency=None if open_loop else draw(st.integers(1, 64)),
            arrival_cv=draw(st.sampled_from([0.5, 1.0, 2.0])) if open_loop else 1.0,
            prefix_hit_share=draw(st.sampled_from([0.0, 0.3])),
        ),
        tolerance=draw(st.sampled_from(Tolerance)),
        preference=draw(st.sampled_from(Preference)),
    )


@st.composite
def clusters(draw: st.DrawFn) -> Inventory:
    names = draw(st.lists(st.sampled_from(GPUS), min_size=1, max_size=3, unique=True))
    return Inventory(
        pools=tuple(
            toy.pool(name.lower(), catalog().gpus[name], (8,) * draw(st.integers(1, 2)))
            for name in names
        )
    )


@FEW
@given(plans(), clusters(), st.data())
def test_no_simulation_beats_the_bounds(plan: Plan, cluster: Inventory, data: st.DataObject):
    bounds_hold(plan, cluster, catalog(), data)


@pytest.mark.parametrize("version", RELEASES)
@FEW
@given(plans((*WINDOWED, *MODELS, *MLA), 12_000), st.data())
def test_no_simulation_beats_the_bounds_of_any_release(
    version: str, plan: Plan, data: st.DataObject
):
    """Windows, experts and latent attention under every scheduler, with prompts of many steps."""
    only = tuple(release for release in catalog().releases if release.version == version)
    known = replace(catalog(), releases=only, digest=version)
    plan = replace(plan, frameworks=(only[0].framework,))
    pool = toy.pool("a", catalog().gpus["H200"], (8, 8))
    bounds_hold(plan, Inventory(pools=(pool,)), known, data)


def test_a_window_is_counted_alike_by_bound_and_simulation():
    """The longest prompt inside a window: an empty server cannot be slower than a simulated one."""
    fixed = {"prompt": 3900, "output": 64}
    plan = Plan(
        model=catalog().models["mistralai/Mistral-7B-v0.1"],
        workload=Workload(
            **{side: Lengths(mean_tokens=n, p95_tokens=n) for side, n in fixed.items()},
            requests_per_s=0.05,
        ),
        slo=Slo(ttft_p95_s=1.0),
    )
    cluster = Inventory(pools=(toy.pool("a", catalog().gpus["A100-80GB"], (1,)),))
    found = recommend(plan, cluster, catalog()).best
    assert found is not None
    just = Slo(ttft_p95_s=found.predicted.ttft_interval.upper * 1.001)
    assert recommend(replace(plan, slo=just), cluster, catalog()).feasible


def test_no_user_is_bounded_by_a_prompt_that_the_model_refuses():
    """A closed loop with a p95 beyond the context: simulation cuts it, so the bound does."""
    longest = Lengths(mean_tokens=3213, p95_tokens=9639)
    asked = Workload(prompt=longest, output=Lengths(mean_tokens=10), concurrency=1)
    found = tails(asked, longest_tokens=8192)
    assert found.prompt_tokens + found.output_tokens <= 8192


@st.composite
def laws(draw: st.DrawFn) -> Lengths:
    mean = draw(st.floats(20, 4000))
    return Lengths(mean_tokens=mean, p95_tokens=mean * draw(st.floats(1.05, 4)))


@FEW
@given(laws(), laws(), st.data())
def test_no_part_of_a_run_that_is_counted_has_shorter_tails(
    prompt: Lengths, output: Lengths, data: st.DataObject
):
    """Prompts drawn one by one, or alike at their beginning over some turns."""
    asked = Workload(prompt=prompt, output=output, requests_per_s=1.0)
    if data.draw(st.booleans()):
        shared = data.draw(st.integers(1, max(1, int(0.95 * prompt.mean_tokens))))
        groups, turns = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 6))
        alike = Prefixes(groups=groups, shared_tokens=shared, turns=turns)
        asked = replace(asked, prefixes=alike)
    bound = tails(asked, longest_tokens=131_072)
    drawn = requests_of(asked, 600, data.draw(st.integers(0, 5)), 131_072)
    cut = data.draw(st.integers(0, 300))  # of the warm-up
    assert (
        quantiles(drawn.prompts[cut:], n=20, method="inclusive")[-1]
        >= bound.prompt_tokens * 0.999 - 1
    )
    assert (
        quantiles(drawn.outputs[cut:], n=20, method="inclusive")[-1]
        >= bound.output_tokens * 0.999 - 1
    )


def bounds_hold(plan: Plan, cluster: Inventory, known: Catalog, data: st.DataObject) -> None:
    """Prospects drawn from all: none is simulated faster than an empty server would be, nor faster
    than its load alone allows: limits that it just keeps are never refused.
    """
    study = Study(plan=plan, catalog=known)
    prospects = survey(study, priced(cluster, known)).prospects
    if not prospects:
        return
    for found in data.draw(st.lists(st.sampled_from(prospects), min_size=1, max_size=4)):
        replica = found.replica
        count = min(found.most, AMPLE * found.fewest)
        predicted = evaluate((Member(replica=replica, replicas=count),), study).predicted
        assert predicted.ttft.p95_s >= replica.zero_load_ttft_s * (1 - ROUNDING)
        assert predicted.tpot.p95_s >= replica.zero_load_tpot_s * 0.98
        assert predicted.e2e.p95_s >= replica.zero_load_e2e_s * (1 - ROUNDING)
        ends_s = predicted.tpot_interval.upper, predicted.e2e_interval.upper
        just = Slo(tpot_p95_s=ends_s[0] * 1.02, e2e_p95_s=ends_s[1] * (1 + ROUNDING))
        under = loaded(replace(found, most=count), study.under(replace(plan, slo=just)))
        assert isinstance(under, Prospect), under
        assert under.fewest <= count
        assert predicted.e2e.p95_s >= under.least_e2e_s * (1 - ROUNDING)


def test_pools_of_one_gpu_are_priced_by_their_own_nodes():
    """A replica inside of a node is not one over two, neither bounded nor simulated, in whatever
    order they come.
    """
    a100 = catalog().gpus["A100-80GB"]
    small, large = toy.pool("small", a100, (2, 2), 2), toy.pool("large", a100, (8,))
    model = catalog().models["meta-llama/Llama-3.1-8B-Instruct"]
    plan = Plan(model=model, workload=LOAD, over_nodes=True)

    def times(*pools: GpuPool) -> dict[Any, tuple[float, float]]:
        """Of replicas of two stages of two GPUs: TTFT on an empty server, and as simulated."""
        forget()
        study = Study(plan=plan, catalog=catalog())
        found = survey(study, Inventory(pools=pools)).replicas
        return {
            one.shape.key: (one.zero_load_ttft_s, study.report(one, LOAD).ttft.mean_s)
            for one in found
            if one.shape.tp == one.shape.pp == 2
        }

    over, inside = times(small), times(large)
    assert times(small, large) == times(large, small) == over | inside
    shorter = {key[1:]: both for key, both in inside.items()}
    assert over
    for key, (bound_s, simulated_s) in over.items():
        assert bound_s > shorter[key[1:]][0]
        assert simulated_s > shorter[key[1:]][1]


@FEW
@given(plans(), clusters(), st.floats(0.05, 3), st.floats(0.01, 0.2))
def test_the_answer_keeps_its_promises(
    plan: Plan, cluster: Inventory, ttft_s: float, tpot_s: float
):
    plan = replace(plan, slo=Slo(ttft_p95_s=ttft_s, tpot_p95_s=tpot_s))
    found = recommend(plan, cluster, catalog())
    placed = len(found.rejections) + len(found.alternatives) + (found.best is not None)
    assert placed == found.candidates
    for one in (e for e in (found.best, *found.alternatives, *found.pareto) if e is not None):
        assert one.predicted.ttft_interval.upper <= ttft_s
        assert one.predicted.tpot_interval.upper <= tpot_s
        assert all(item.report.stable for item in one.groups)
        for item in one.groups:
            assert item.memory.kv_capacity_tokens >= item.group.limits.max_model_len
            assert item.group.model.heads % item.group.tp == 0


@FEW
@given(plans(), clusters())
def test_the_order_of_pools_does_not_matter(plan: Plan, cluster: Inventory):
    backwards = Inventory(pools=cluster.pools[::-1])
    forget()
    forth = recommend(plan, cluster, catalog())
    forget()
    assert recommend(plan, backwards, catalog()) == forth
