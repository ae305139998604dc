"""What must hold of every answer, whatever the question; on the toy engine, by the hundred."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guide.domain import (
    Budget,
    Candidate,
    Evaluation,
    Inventory,
    Plan,
    Preference,
    Recommendation,
    ReplicaGroup,
)
from guide.search.pricing import group_usd_per_h
from tests import toy
from tests.toy_questions import ask, clusters, plans

SETTINGS = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def counts(group: ReplicaGroup) -> tuple[object, ...]:
    return group.limits.kv_cache_dtype, group.tp, group.pp, group.replicas


def name(candidate: Candidate) -> object:
    return tuple(
        (g.pool.name, g.framework, g.model.name, g.precision.name, *counts(g))
        for g in candidate.groups
    )


def feasible_ones(found: Recommendation) -> list[Evaluation]:
    best = [found.best] if found.best else []
    return [*best, *found.alternatives]


@SETTINGS
@given(plans, clusters)
def test_each_candidate_is_in_exactly_one_bucket(plan: Plan, cluster: Inventory):
    found = ask(plan, cluster)
    placed = [name(e.candidate) for e in feasible_ones(found)]
    placed += [name(r.candidate) if r.candidate else r.pool for r in found.rejections]
    assert max(Counter(placed).values(), default=1) == 1
    assert len(placed) == found.candidates
    seen = set(placed)
    for extra in (found.lowest_latency, found.highest_throughput, *found.pareto):
        assert extra is None or name(extra.candidate) in seen


@SETTINGS
@given(plans, clusters)
def test_what_is_offered_keeps_every_limit(plan: Plan, cluster: Inventory):
    found = ask(plan, cluster)
    extremes = [e for e in (found.lowest_latency, found.highest_throughput) if e]
    for one in (*feasible_ones(found), *extremes, *found.pareto):
        p, slo, budget = one.predicted, plan.slo, plan.budget
        assert slo.ttft_p95_s is None or p.ttft_interval.upper <= slo.ttft_p95_s
        assert slo.tpot_p95_s is None or p.tpot_interval.upper <= slo.tpot_p95_s
        assert slo.e2e_p95_s is None or p.e2e_interval.upper <= slo.e2e_p95_s
        assert budget.max_gpus is None or one.gpus <= budget.max_gpus
        usd = group_usd_per_h(one.candidate.groups)
        assert usd == one.usd_per_h
        if budget.max_usd_per_h is not None:
            assert usd is not None
            assert usd <= budget.max_usd_per_h
        for group in one.candidate.groups:
            assert group.replicas <= group.pool.replicas_that_fit(group.tp * group.pp)
            assert all(g.report.stable for g in one.groups)


@SETTINGS
@given(plans, clusters, st.data())
def test_neither_the_order_of_pools_nor_of_nodes_matters(
    plan: Plan, cluster: Inventory, data: st.DataObject
):
    shuffled = Inventory(
        pools=tuple(
            replace(
                pool, free_gpus_by_node=tuple(data.draw(st.permutations(pool.free_gpus_by_node)))
            )
            for pool in data.draw(st.permutations(cluster.pools))
        )
    )
    assert _without_nodes(ask(plan, shuffled)) == _without_nodes(ask(plan, cluster))


def _without_nodes(found: Recommendation) -> object:
    return (
        [
            (e.predicted, e.usd_per_h, [_name(g) for g in e.candidate.groups])
            for e in feasible_ones(found)
        ],
        [(r.pool, r.reason, r.detail, r.margin) for r in found.rejections],
        found.relaxations,
        found.notes,
    )


def _name(group: object) -> str:
    return repr(replace(group, pool=replace(group.pool, free_gpus_by_node=())))  # pyright: ignore


@SETTINGS
@given(plans, clusters, st.floats(1.01, 5))
def test_more_budget_never_costs_more(plan: Plan, cluster: Inventory, factor: float):
    plan = replace(plan, preference=Preference.COST)
    tight = ask(plan, cluster)
    budget = Budget(
        max_usd_per_h=plan.budget.max_usd_per_h and plan.budget.max_usd_per_h * factor,
        max_gpus=plan.budget.max_gpus and int(plan.budget.max_gpus * factor) + 1,
    )
    loose = ask(replace(plan, budget=budget), cluster)
    if tight.best is not None:
        assert loose.best is not None
        assert _cost(loose.best) <= _cost(tight.best)


@SETTINGS
@given(plans, clusters)
def test_more_hardware_never_costs_more(plan: Plan, cluster: Inventory):
    plan = replace(plan, preference=Preference.COST)
    grown = Inventory(
        pools=tuple(
            replace(p, free_gpus_by_node=(*p.free_gpus_by_node, p.gpus_per_node))
            for p in cluster.pools
        )
    )
    before, after = ask(plan, cluster), ask(plan, grown)
    if before.best is not None:
        assert after.best is not None
        assert _cost(after.best) <= _cost(before.best)


def _cost(one: Evaluation) -> tuple[bool, float, int]:
    return (one.usd_per_h is None, round(one.usd_per_h or 0.0, 4), one.gpus)


@SETTINGS
@given(plans, clusters)
def test_every_relaxation_works(plan: Plan, cluster: Inventory):
    from guide.search.relax import DIALS

    found = ask(plan, cluster)
    for offer in found.relaxations:
        dial = next(d for d in DIALS if d.field == offer.field)
        assert ask(dial.turned(plan, offer.needed), cluster).feasible
    together = plan
    for offer in found.combined:
        dial = next(d for d in DIALS if d.field == offer.field)
        together = dial.turned(together, offer.needed)
    assert not found.combined or ask(together, cluster).feasible


@SETTINGS
@given(plans, clusters)
def test_the_front_is_a_front(plan: Plan, cluster: Inventory):
    from guide.search.rank import objectives

    front = [objectives(e) for e in ask(plan, cluster).pareto]
    for one in front:
        others = [o for o in front if o is not one]
        assert not any(all(a <= b for a, b in zip(o, one, strict=True)) for o in others)


@SETTINGS
@given(plans, clusters)
def test_the_same_question_has_the_same_answer(plan: Plan, cluster: Inventory):
    assert ask(plan, cluster) == ask(plan, cluster)
