"""Long queues: what is asked for is what is drawn, seeds agree, and nothing beyond saturation is
stable.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from random import Random
from statistics import fmean, median

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import Catalog, Inventory, Lengths, Plan, ServingReport, Workload
from guide.search.evaluate import Study
from guide.search.explore import survey
from guide.search.operating_point import Replica, half_width_near
from guide.search.pricing import priced
from guide.search.recommend import recommend
from guide.simulate.arrivals import requests_of
from guide.simulate.capacity import largest_batch
from guide.simulate.replica import NEVER
from guide.simulate.serve import run, serve
from guide.simulate.steady import LEAST, noise, run_length, warm_up
from tests import toy

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen2-7B",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
)
GPUS = ("H100-SXM", "A100-80GB", "L4", "A10")
FEW = settings(max_examples=8, phases=set(Phase) - {Phase.shrink})  # a run is no toy to shrink
SEEDS = range(4)


@cache
def catalog() -> Catalog:
    return load()


@st.composite
def lengths(draw: st.DrawFn, shortest: int, longest: int) -> Lengths:
    mean = draw(st.integers(shortest, longest))
    heavier = draw(st.sampled_from([None, 1.0, 1.5, 2.5]))
    return Lengths(mean_tokens=mean, p95_tokens=heavier and heavier * mean)


@st.composite
def workloads(draw: st.DrawFn, shortest: int = 1) -> Workload:
    return Workload(
        prompt=draw(lengths(shortest, 1500)),
        output=draw(lengths(shortest, 300)),
        requests_per_s=draw(st.floats(0.01, 100)),
        arrival_cv=draw(st.sampled_from([0.3, 1.0, 2.0])),
    )


@given(workloads(), st.integers(50, 3000), st.integers(0, 99))
def test_the_realised_load_is_the_asked_one(asked: Workload, count: int, seed: int):
    """Rate and lengths, at any seed: the mean is that of the plan, not that of the dice."""
    drawn = requests_of(asked, count, seed, longest=10**9)
    assert count / drawn.arrivals[-1] == pytest.approx(asked.requests_per_s, rel=1e-9)
    assert fmean(drawn.prompts) == pytest.approx(asked.prompt.mean_tokens, abs=1 / count)
    assert fmean(drawn.outputs) == pytest.approx(asked.output.mean_tokens, abs=1 / count)
    assert min(*drawn.prompts, *drawn.outputs) >= 1


def test_p95_of_a_run_is_the_stated_one():
    asked = Workload(
        prompt=Lengths(mean_tokens=1000, p95_tokens=2500),
        output=Lengths(mean_tokens=10),
        requests_per_s=1.0,
    )
    drawn = sorted(requests_of(asked, 1000, 3, longest=10**9).prompts)
    assert drawn[949] == pytest.approx(2500, rel=0.02)


@st.composite
def engines(draw: st.DrawFn) -> tuple[Replica, Workload]:
    """A replica that some plan would weigh, and the lengths and gaps of its requests."""
    asked = replace(draw(workloads(shortest=8)), requests_per_s=1.0)
    pool = toy.pool("a", catalog().gpus[draw(st.sampled_from(GPUS))], (8,))
    plan = Plan(model=catalog().models[draw(st.sampled_from(MODELS))], workload=asked)
    cluster = priced(Inventory(pools=(pool,)), catalog())
    found = survey(Study(plan=plan, catalog=catalog()), cluster).replicas
    return draw(st.sampled_from(sorted(found, key=lambda one: str(one.shape.key)))), asked


def under(one: Replica, asked: Workload, requests_per_s: float, seed: int = 0) -> ServingReport:
    load = replace(asked, requests_per_s=requests_per_s)
    return serve(one.group(1), one.memory, load, catalog(), seed=seed)


def sustained_per_s(one: Replica, asked: Workload) -> float:
    """What a replica ends a second while far more requests than it can run are waiting."""
    group = one.group(1)
    count = 5 * largest_batch(group, one.memory, asked) + LEAST
    drawn = requests_of(asked, count, 17, group.limits.max_model_len)
    replica, _ = run(group, one.memory, replace(drawn, arrivals=[0.0] * count), catalog())
    ends = sorted(t for t in replica.finish_s if t < NEVER)
    low, high = int(0.3 * len(ends)), int(0.75 * len(ends))
    return (high - low) / (ends[high] - ends[low])


@FEW
@given(engines(), st.floats(1.08, 4))
def test_nothing_above_saturation_is_stable(given_: tuple[Replica, Workload], over: float):
    one, asked = given_
    assert not under(one, asked, over * one.saturation_per_s).stable
    assert not under(one, asked, over * sustained_per_s(one, asked)).stable


@FEW
@given(engines(), st.floats(0.1, 0.7))
def test_a_load_well_below_it_is_stable(given_: tuple[Replica, Workload], busy: float):
    one, asked = given_
    most = min(one.saturation_per_s, sustained_per_s(one, asked))
    assert under(one, asked, busy * most).stable


@FEW
@given(engines(), st.floats(0.2, 0.97))
def test_seeds_agree_within_the_stated_interval(given_: tuple[Replica, Workload], busy: float):
    one, asked = given_
    most = min(one.saturation_per_s, sustained_per_s(one, asked))
    reports = [under(one, asked, busy * most, seed) for seed in SEEDS]
    for metric in ("ttft", "tpot", "e2e"):
        middle = median(getattr(r, metric).p95_s for r in reports)
        for r in reports:
            width = half_width_near(one.fit, r, metric)
            assert abs(math.log(getattr(r, metric).p95_s / middle)) <= width, metric


@given(st.floats(0, 0.99), st.integers(1, 2000))
def test_a_run_grows_with_load_and_batch(busy: float, in_flight: int):
    assert run_length(busy, in_flight) >= run_length(busy / 2, in_flight) >= LEAST
    assert run_length(busy, 2 * in_flight) >= run_length(busy, in_flight)
    assert run_length(busy, in_flight, 3.0) >= run_length(busy, in_flight)
    assert run_length(1.5, in_flight) == LEAST  # nothing settles: no need to wait for it


def test_noise_is_what_other_runs_differ_by():
    """p95 of 400 exponential values, drawn again and again: nine in ten lie inside."""
    rng = Random(5)
    runs = [[rng.expovariate(1) for _ in range(400)] for _ in range(200)]
    p95 = [sorted(run)[380] for run in runs]
    middle = median(p95)
    inside = [abs(math.log(p / middle)) <= noise(run) for p, run in zip(p95, runs, strict=True)]
    assert 0.8 <= fmean(inside) <= 0.98
    assert noise([1.0] * 100) == 0.0


def test_the_warm_up_ends_where_the_values_settle():
    wiggle = [1 + 0.1 * math.sin(7 * i) for i in range(600)]
    assert warm_up(wiggle) <= 60
    rising = [min(1.0, i / 100) for i in range(600)]
    assert 90 <= warm_up([a * b for a, b in zip(rising, wiggle, strict=True)]) <= 150
    assert warm_up(wiggle, [a * b for a, b in zip(rising, wiggle, strict=True)]) >= 90
    assert warm_up([1.0, 2.0]) == 0


@FEW
@given(engines(), st.integers(1, 600))
def test_users_are_throughput_times_residence(given_: tuple[Replica, Workload], users: int):
    """Little's law, which a closed loop obeys at any moment."""
    one, asked = given_
    load = replace(asked, requests_per_s=None, arrival_cv=1.0, concurrency=users)
    report = serve(one.group(1), one.memory, load, catalog(), seed=0)
    assert report.requests_per_s * report.e2e.mean_s == pytest.approx(users, rel=0.01)
    again = serve(one.group(1), one.memory, load, catalog(), seed=1)
    assert again.requests_per_s == pytest.approx(report.requests_per_s, rel=0.03)


def test_the_batch_of_a_closed_loop_is_that_of_its_users():
    """Not the mean over the steps of a server that empties behind its longest answers."""
    load = Workload(
        prompt=Lengths(mean_tokens=100),
        output=Lengths(mean_tokens=300, p95_tokens=1000),
        concurrency=64,
    )
    plan = Plan(model=catalog().models[MODELS[0]], workload=load, frameworks=("vLLM",))
    pool = toy.pool("a", catalog().gpus["H100-SXM"], (1,))
    best = recommend(plan, Inventory(pools=(pool,)), catalog()).best
    assert best is not None
    assert 0.95 * 64 < best.groups[0].report.batch_mean <= 64


def test_a_recommendation_obeys_it_too():
    """Over several replicas that do not share the users evenly."""
    asked = Workload(
        prompt=Lengths(mean_tokens=700), output=Lengths(mean_tokens=300), concurrency=1000
    )
    plan = Plan(model=catalog().models[MODELS[0]], workload=asked)
    pool = toy.pool("a", catalog().gpus["A100-80GB"], (7,))
    best = recommend(plan, Inventory(pools=(pool,)), catalog()).best
    assert best is not None
    served = best.predicted.requests_per_s * best.predicted.e2e.mean_s
    assert served == pytest.approx(1000, rel=0.01)
