"""Mixed fleets: when they are sought, that they keep their promises, and what they save."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from guide.cli.question import ask as read
from guide.domain import (
    Budget,
    Evaluation,
    Inventory,
    MixRule,
    Plan,
    Preference,
    Price,
    Recommendation,
    Slo,
)
from guide.search.evaluate import Study, load_share
from guide.search.explore import Ledger, hunt, survey
from guide.search.fleet import Fleet, parts_of
from guide.search.goal import Aim, Goal
from guide.search.pricing import group_usd_per_h, priced
from guide.search.rank import capacity_per_s
from guide.search.recommend import recommend
from tests import toy

EXAMPLES = Path(__file__).parents[3] / "examples"
LIMITS = Slo(ttft_p95_s=2.0, tpot_p95_s=0.2)


@pytest.fixture
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def busy(requests_per_s: float, **changes: object) -> Plan:
    workload = replace(toy.question().workload, requests_per_s=requests_per_s)
    return toy.question(workload=workload, slo=LIMITS, frameworks=("vLLM",), **changes)


def ask(plan: Plan, *pools: object) -> Recommendation:
    cluster = Inventory(pools=pools) if pools else toy.CLUSTER  # pyright: ignore
    return recommend(plan, cluster, toy.CATALOG)


def pools_of(one: Evaluation | None) -> list[str]:
    return [] if one is None else [item.group.pool.name for item in one.groups]


BIG = toy.pool("big", toy.BIG, (2,))
SMALL = toy.pool("small", toy.SMALL, (4,), 4)


def beyond_one_pool() -> Plan:
    """A load between what the larger pool and what both pools sustain."""
    alone = ask(busy(1), BIG).highest_throughput
    small = ask(busy(1), SMALL).highest_throughput
    assert alone is not None
    assert small is not None
    return busy(0.85 * capacity_per_s(alone) + 0.4 * capacity_per_s(small))


@pytest.mark.usefixtures("_toy_engine")
def test_a_mix_serves_what_no_pool_serves_alone():
    plan = beyond_one_pool()
    assert not ask(plan, BIG).feasible
    assert not ask(plan, SMALL).feasible
    best = ask(plan, BIG, SMALL).best
    assert pools_of(best) == ["big", "small"]
    assert best is not None
    assert sum(g.load_share for g in best.candidate.groups) == pytest.approx(1)
    assert best.predicted.ttft_interval.upper <= 2.0
    assert best.predicted.requests_per_s == pytest.approx(plan.workload.requests_per_s)
    assert capacity_per_s(best) > (plan.workload.requests_per_s or 0)


@pytest.mark.usefixtures("_toy_engine")
def test_each_group_is_simulated_under_its_own_share():
    plan = beyond_one_pool()
    best = ask(plan, BIG, SMALL).best
    assert best is not None
    for item in best.groups:
        g = item.group
        share = load_share(plan.workload, g.replicas, g.load_share)
        again = toy.serve(g, item.memory, share, toy.CATALOG, seed=0)
        assert again == item.report
    worst = max(item.report.ttft.p95_s for item in best.groups)
    assert best.predicted.ttft.p95_s == worst


@pytest.mark.usefixtures("_toy_engine")
def test_a_mix_is_the_best_when_it_is_cheaper_and_only_then():
    dear = replace(BIG, free_gpus_by_node=(8,), price=Price(usd_per_gpu_h=3, source="s", as_of="d"))
    cheap = replace(SMALL, price=Price(usd_per_gpu_h=0.8, source="s", as_of="d"))
    mixed = 0
    for rate in (8, 20, 24, 28, 40, 60):
        both = ask(busy(rate), dear, cheap).best
        alone = [ask(busy(rate), one).best for one in (dear, cheap)]
        bills = [one.usd_per_h for one in alone if one is not None and one.usd_per_h is not None]
        assert both is not None
        assert both.usd_per_h is not None
        assert both.usd_per_h == group_usd_per_h(both.candidate.groups)
        if len(both.groups) > 1:
            mixed += 1
            assert both.usd_per_h < min(bills)
        else:
            assert both.usd_per_h == min(bills)
    assert mixed


@pytest.mark.usefixtures("_toy_engine")
def test_no_combination_that_was_left_out_is_cheaper():
    """Against all pairs of counts of single-GPU replicas, equal and proportional shares."""
    from guide.search.evaluate import Member, Study, evaluate
    from guide.search.explore import survey
    from guide.search.knobs import verdict
    from guide.search.pricing import priced

    plan = beyond_one_pool()
    cluster = priced(Inventory(pools=(BIG, SMALL)), toy.CATALOG)
    study = Study(plan=plan, catalog=toy.CATALOG)
    parts = survey(study, cluster).replicas
    best = ask(plan, BIG, SMALL).best
    assert best is not None
    assert best.usd_per_h is not None
    big = [r for r in parts if r.shape.pool.name == "big"]
    small = [r for r in parts if r.shape.pool.name == "small"]
    for a, b in product(big, small):
        for m, n in product(range(1, 2 // a.shape.gpus + 1), range(1, 4 // b.shape.gpus + 1)):
            weights = (m * a.saturation_per_s, n * b.saturation_per_s)
            for share in (m / (m + n), weights[0] / sum(weights)):
                members = (
                    Member(replica=a, replicas=m, load_share=share),
                    Member(replica=b, replicas=n, load_share=1 - share),
                )
                one = evaluate(members, study)
                if verdict(one, members, plan) is None:
                    assert one.usd_per_h is not None
                    assert best.usd_per_h <= one.usd_per_h + 0.01


@pytest.mark.usefixtures("_toy_engine")
def test_what_carries_nothing_within_its_limits_is_left_out_of_later_mixes():
    plan = busy(8)
    study = Study(plan=plan, catalog=toy.CATALOG)
    found = survey(study, priced(toy.CLUSTER, toy.CATALOG))
    goal = Goal(plan=plan, aim=Aim.COST)
    top, parts = hunt(found.prospects, study, goal, 1, Ledger()), parts_of(found, plan)
    best = top[0] if top else None
    first = Fleet(study=study, goal=goal, parts=parts)
    assert isinstance(first.may_win(best), bool)
    study.carried.update({first._asked(part): 0.0 for part in parts if part is not parts[0]})
    later = Fleet(study=study, goal=goal, parts=parts)
    assert later.parts == parts[:1]
    assert not later.may_win(best)


@pytest.mark.usefixtures("_toy_engine")
def test_whole_instances_are_billed_in_a_mix():
    by_two = toy.pool("big", toy.BIG, (2,), 2)
    best = ask(replace(beyond_one_pool(), budget=Budget()), by_two, SMALL).best
    assert pools_of(best) == ["big", "small"]
    assert best is not None
    assert best.usd_per_h == pytest.approx(2 * 3 + 4 * 0.8)


@pytest.mark.usefixtures("_toy_engine")
def test_the_budget_binds_mixes_too():
    plan = beyond_one_pool()
    best = ask(plan, BIG, SMALL).best
    assert best is not None
    assert best.usd_per_h is not None
    for budget in (Budget(max_usd_per_h=best.usd_per_h - 0.01), Budget(max_gpus=best.gpus - 1)):
        found = ask(replace(plan, budget=budget), BIG, SMALL)
        if found.best is not None:
            assert found.best.gpus <= (budget.max_gpus or best.gpus + 99)
            assert (found.best.usd_per_h or 0) <= (budget.max_usd_per_h or 1e9)
        else:
            assert {r.field for r in found.relaxations} & {
                "spec.budget.maxHourlyUSD",
                "spec.budget.maxGPUs",
            }


@pytest.mark.usefixtures("_toy_engine")
@pytest.mark.parametrize("preference", Preference)
def test_where_no_type_serves_alone_every_preference_mixes(preference: Preference):
    assert pools_of(ask(replace(beyond_one_pool(), preference=preference), BIG, SMALL).best) == [
        "big",
        "small",
    ]


@pytest.mark.usefixtures("_toy_engine")
def test_never_mixes_when_the_plan_forbids_it():
    assert not ask(replace(beyond_one_pool(), mix=MixRule.NEVER), BIG, SMALL).feasible


@pytest.mark.usefixtures("_toy_engine")
def test_a_mix_must_pay_well():
    """At every load the best of one type stands unless a mix of two saves 15 %; under Any, any
    saving counts, so Any is never dearer than Auto, and Auto by no more than the rule.
    """
    third = toy.pool("third", replace(toy.SMALL, name="Third"), (4,), 4)
    gave_up = 0
    for rate in (9, 33, 90, 105, 112, 120, 128):
        usd: dict[MixRule, float] = {}
        for rule in MixRule:
            best = ask(busy(rate, mix=rule), toy.pool("big", toy.BIG, (8,)), SMALL, third).best
            if best is None:
                continue
            assert best.usd_per_h is not None
            usd[rule] = best.usd_per_h
            types = {g.gpu.name for g in best.candidate.groups}
            assert len(types) <= {MixRule.NEVER: 1, MixRule.AUTO: 2}.get(rule, 3)
        if MixRule.NEVER in usd:
            auto, never = usd[MixRule.AUTO], usd[MixRule.NEVER]
            assert auto == never or auto <= 0.85 * never
            assert usd[MixRule.ANY] <= auto <= usd[MixRule.ANY] / 0.85 + 0.01
            gave_up += usd[MixRule.ANY] < auto
    assert gave_up


@pytest.mark.usefixtures("_toy_engine")
def test_pools_of_one_type_are_no_mix():
    halves = [toy.pool(name, toy.BIG, (2,)) for name in ("a", "b")]
    alone = ask(busy(1), halves[0]).highest_throughput
    assert alone is not None
    plan = busy(1.3 * capacity_per_s(alone), mix=MixRule.NEVER)
    assert pools_of(ask(plan, *halves).best) == ["a", "b"]


def test_the_example_is_a_mix_that_no_pool_replaces():
    question = read(EXAMPLES / "mixed-fleet.yaml", EXAMPLES / "mixed-nodes.yaml", None, None)
    found = recommend(question.plan, question.inventory, question.catalog)
    assert found.best is not None
    assert len(found.best.groups) == 2
    for pool in question.inventory.pools:
        alone = recommend(question.plan, Inventory(pools=(pool,)), question.catalog)
        assert not alone.feasible


def test_the_solver_is_not_loaded_when_no_mix_can_matter():
    code = (
        "import sys; from guide.cli.question import ask, answer; from pathlib import Path;"
        f"answer(ask(Path({str(EXAMPLES / 'chat.yaml')!r}), Path({str(EXAMPLES / 'nodes.yaml')!r}),"
        "None, None)); sys.exit('highspy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
