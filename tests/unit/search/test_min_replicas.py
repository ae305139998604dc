"""A plan may ask for more replicas than its load needs: search, bill, mixes and what runs obey."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.domain import (
    Budget,
    Evaluation,
    Inventory,
    MixRule,
    Plan,
    Preference,
    Reason,
    Recommendation,
)
from guide.search.assess import Running, assess
from guide.search.pricing import usd_per_h
from guide.search.recommend import recommend
from tests import toy

ONE = Inventory(pools=(toy.pool("big", toy.BIG, (8,) * 4),))
LITTLE = replace(toy.question().workload, requests_per_s=0.5)
TWO_USERS = replace(toy.question().workload, requests_per_s=None, concurrency=2)


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def asked(count: int, **changes: object) -> Plan:
    return toy.question(**{"workload": LITTLE, **changes}, min_replicas=count)


def ask(plan: Plan, cluster: Inventory = ONE) -> Recommendation:
    return recommend(plan, cluster, toy.CATALOG)


def replicas(one: Evaluation) -> int:
    return sum(group.replicas for group in one.candidate.groups)


@pytest.mark.parametrize("preference", Preference)
@pytest.mark.parametrize("workload", [LITTLE, TWO_USERS])
def test_nothing_with_fewer_replicas_is_recommended(preference: Preference, workload: object):
    found = ask(asked(3, preference=preference, workload=workload))
    shown = [found.best, found.highest_throughput, *found.alternatives, *found.pareto]
    assert min(replicas(one) for one in shown if one is not None) == 3


def test_the_bill_counts_them_and_a_note_says_why():
    one, three = ask(asked(1)).best, ask(asked(3))
    assert one is not None
    assert three.best is not None
    (group,) = three.best.candidate.groups
    assert three.best.usd_per_h == usd_per_h(group.pool, group.gpus_per_replica, 3)
    assert [note for note in three.notes if "minReplicas asks for 3 replicas" in note]
    assert not [note for note in ask(asked(1)).notes if "minReplicas" in note]


def test_a_load_that_needs_more_is_no_matter_of_the_plan():
    busy = replace(LITTLE, requests_per_s=60.0)
    found = ask(asked(2, workload=busy))
    assert found.best is not None
    assert replicas(found.best) > 2
    assert found.best == ask(asked(1, workload=busy)).best
    assert not [note for note in found.notes if "minReplicas" in note]


def test_what_cannot_hold_so_many_says_who_asked():
    short = Inventory(pools=(toy.pool("big", toy.BIG, (2,)),))
    found = ask(asked(3), short)
    assert not found.feasible
    shortages = [r.detail for r in found.rejections if r.reason is Reason.NOT_ENOUGH_GPUS]
    assert any("spec.deployment.minReplicas asks for 3" in detail for detail in shortages)
    poor = ask(asked(3, budget=Budget(max_gpus=2)))
    assert not poor.feasible


def test_pools_of_two_kinds_may_hold_them_together():
    pools = (toy.pool("big", toy.BIG, (1,)), toy.pool("small", toy.SMALL, (2,), 2))
    found = ask(asked(3, mix=MixRule.ANY), Inventory(pools=pools)).best
    assert found is not None
    assert replicas(found) == 3
    assert len(found.groups) == 2


def test_what_runs_with_fewer_is_judged_so():
    best = ask(asked(1)).best
    assert best is not None
    running = [Running(key=g.key, replicas=g.replicas) for g in best.candidate.groups]
    assert (kept := assess(asked(1), ONE, toy.CATALOG, running)) is not None
    assert kept.broken is None
    judged = assess(asked(2), ONE, toy.CATALOG, running)
    assert judged is not None
    assert judged.broken is not None
    assert judged.broken.reason is Reason.TOO_FEW_REPLICAS
