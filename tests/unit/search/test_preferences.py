"""What each preference means: the bill, the knee of latency, tokens for money; and its ties."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from guide.domain import (
    Evaluation,
    Interval,
    Inventory,
    Plan,
    Preference,
    Recommendation,
    Tolerance,
)
from guide.models.precision import PRECISIONS
from guide.search.goal import Aim, Goal
from guide.search.rank import adds_nothing, capacity_per_s, folded, rank_key
from guide.search.recommend import recommend
from guide.search.space import is_online
from tests import toy

MANY = Inventory(pools=(toy.pool("big", toy.BIG, (8,) * 4),))
WORKLOAD = toy.question().workload
EIGHT_BIT = replace(toy.MODEL, name="toy/8b-fp8", precision="fp8", base="toy/8b")


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def ask(plan: Plan, cluster: Inventory = MANY) -> Recommendation:
    return recommend(plan, cluster, toy.CATALOG)


def best(plan: Plan, cluster: Inventory = MANY) -> Evaluation:
    found = ask(plan, cluster).best
    assert found is not None
    return found


@pytest.mark.parametrize("requests_per_s", [1.0, 5.0, 30.0])
def test_throughput_of_an_open_loop_is_tokens_for_money_not_all_gpus(requests_per_s: float):
    workload = replace(WORKLOAD, requests_per_s=requests_per_s)
    found = ask(toy.question(workload=workload, preference=Preference.THROUGHPUT))
    assert found.best is not None
    assert found.highest_throughput is not None
    fewest = min(e.gpus for e in found.pareto)
    assert found.best.gpus == fewest < 32
    assert capacity_per_s(found.highest_throughput) > capacity_per_s(found.best)


def test_throughput_counts_the_gpus_that_work_and_cost_those_that_are_billed():
    """Big nodes are billed whole, so cost avoids them where throughput need not."""
    workload = replace(WORKLOAD, requests_per_s=0.5)
    used = best(toy.question(workload=workload, preference=Preference.THROUGHPUT))
    assert used.gpus == 1


def test_throughput_of_a_closed_loop_is_tokens_per_second_then_money():
    closed = replace(WORKLOAD, requests_per_s=None, concurrency=48)
    cost = best(toy.question(workload=closed))
    most = ask(toy.question(workload=closed, preference=Preference.THROUGHPUT))
    assert most.best is not None
    assert most.best.predicted.output_tokens_per_s > cost.predicted.output_tokens_per_s
    for one in most.pareto:  # nothing cheaper is as fast, within what can be measured
        if one.gpus < most.best.gpus:
            served = one.predicted.output_tokens_per_s
            assert served < most.best.predicted.output_tokens_per_s


@pytest.mark.parametrize("requests_per_s", [1.0, 5.0, 30.0])
def test_latency_stops_at_the_knee(requests_per_s: float):
    workload = replace(WORKLOAD, requests_per_s=requests_per_s)
    found = ask(toy.question(workload=workload, preference=Preference.LATENCY))
    chosen, fastest = found.best, found.lowest_latency
    assert chosen is not None
    assert fastest is not None
    limit_s = 1.05 * fastest.predicted.e2e_interval.upper
    assert chosen.predicted.e2e_interval.upper <= limit_s
    assert chosen.usd_per_h is not None
    as_fast = [e for e in found.pareto if e.predicted.e2e_interval.upper <= limit_s]
    assert chosen.usd_per_h <= min(e.usd_per_h or 0 for e in as_fast)


def test_latency_shows_what_speed_costs():
    """The curve begins at the cheapest deployment and ends at the fastest."""
    found = ask(toy.question(preference=Preference.LATENCY))
    cheapest = best(toy.question())
    assert found.pareto[0].usd_per_h == cheapest.usd_per_h
    bills = [e.usd_per_h or 0 for e in found.pareto]
    assert bills == sorted(bills)
    assert min(e.predicted.e2e_interval.upper for e in found.pareto[1:]) < (
        cheapest.predicted.e2e_interval.upper
    )


def test_a_published_checkpoint_goes_before_one_quantised_by_the_server():
    """Of two that cost the same and give up as much precision, although the server's is faster."""
    plan = toy.question(tolerance=Tolerance.FP8)
    item = best(plan).groups[0]
    fp8 = replace(item.group, precision=PRECISIONS["fp8"])
    online, published = (
        replace(best(plan), groups=(replace(item, group=replace(fp8, model=model)),))
        for model in (toy.MODEL, EIGHT_BIT)
    )
    assert is_online(toy.MODEL, fp8.precision)
    assert not is_online(EIGHT_BIT, fp8.precision)
    p = online.predicted
    online = replace(online, predicted=replace(p, e2e_interval=Interval(lower=0, upper=1e-3)))
    goal = Goal(plan=plan, aim=Aim.COST)
    assert rank_key(published, goal) < rank_key(online, goal)


def test_ties_never_break_by_name():
    """Of two deployments that cost and do the same, the one with fewer parts wins."""
    plan = toy.question(frameworks=("vLLM",))
    one = best(plan)
    goal = Goal(plan=plan, aim=Aim.COST)
    group = one.groups[0].group
    assert (group.tp, group.pp) == (1, 1)
    staged = replace(one.groups[0], group=replace(group, tp=2, pp=2, replicas=1))
    halved = replace(one.groups[0], group=replace(group, tp=4, pp=1, replicas=1))
    keys = [rank_key(replace(one, groups=(g,)), goal)[:-1] for g in (one.groups[0], halved, staged)]
    assert keys == sorted(keys)
    assert len(set(keys)) == 3


@pytest.mark.parametrize("preference", Preference)
def test_alternatives_are_better_in_something_a_user_sees(preference: Preference):
    found = ask(toy.question(frameworks=("vLLM",), preference=preference))
    listed = [e for e in (found.best, *found.alternatives) if e is not None]
    for one, other in combinations(listed, 2):
        gpus = [[g.gpu.name for g in e.candidate.groups] for e in (one, other)]
        better = [b < a / 1.02 for a, b in zip(_numbers(one), _numbers(other), strict=True)]
        assert gpus[0] != gpus[1] or any(better)


def test_a_layout_that_nobody_would_choose_is_counted_but_not_listed():
    one = best(toy.question(frameworks=("vLLM",)))
    item, p = one.groups[0], one.predicted
    staged = replace(item, group=replace(item.group, pp=2))

    def other(e2e_times: float, ttft_times: float = 1.0) -> Evaluation:
        e2e = replace(p.e2e_interval, upper=e2e_times * p.e2e_interval.upper)
        ttft = replace(p.ttft_interval, upper=ttft_times * p.ttft_interval.upper)
        times = replace(p, e2e_interval=e2e, ttft_interval=ttft)
        return replace(one, groups=(staged,), predicted=times, gpus=2 * one.gpus)

    for e2e_times in (0.99, 1.0, 1.5):  # 1 % less is nothing that anybody would notice
        assert adds_nothing(other(e2e_times), one)
        assert folded([one, other(e2e_times)], [one]) == 1
    for e2e_times, ttft_times in ((0.97, 1.0), (2.0, 0.9)):
        assert not adds_nothing(other(e2e_times, ttft_times), one)
        assert folded([one, other(e2e_times, ttft_times)], [one]) == 0


def _numbers(one: Evaluation):
    p = one.predicted
    times = (p.ttft_interval, p.tpot_interval, p.e2e_interval)
    return one.usd_per_h or 1.0, one.gpus, *(i.upper for i in times), 1 / capacity_per_s(one)
