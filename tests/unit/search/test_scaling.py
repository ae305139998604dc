"""Scale bounds of a recommendation: what a replica takes, when to scale, what the day costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guide.domain import DayProfile, Inventory, Plan, Recommendation, Slo
from guide.report.document import to_json
from guide.report.scaling import bounds
from guide.search.recommend import recommend
from guide.search.scaling import cheapest_bounds
from guide.simulate.day import TOLERANCE, rates
from tests import toy

LIMITS = Slo(ttft_p95_s=2.0, tpot_p95_s=0.2)
DAY = DayProfile(low_per_s=2, mean_per_s=8, peak_per_s=24)
BIG = toy.pool("big", toy.BIG, (8, 8))


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def planned(day: DayProfile | None = DAY, **changes: Any) -> Plan:
    peak = 24.0 if day is None else day.peak_per_s
    workload = replace(toy.question().workload, requests_per_s=peak)
    return toy.question(workload=workload, slo=LIMITS, frameworks=("vLLM",), day=day, **changes)


def asked(plan: Plan, *pools: Any) -> Recommendation:
    return recommend(plan, Inventory(pools=pools or (BIG,)), toy.CATALOG)


def test_the_bounds_hold_night_and_peak():
    found = asked(planned())
    assert found.best is not None
    assert found.scaling is not None
    rules, limit = found.scaling.rules, found.scaling.limit_per_s
    replicas = found.best.candidate.groups[0].replicas
    assert rules.max_replicas >= replicas
    assert rules.min_replicas * rules.target_per_s >= DAY.low_per_s
    assert rules.max_replicas * rules.target_per_s >= DAY.peak_per_s
    assert rules.target_per_s * (1 + TOLERANCE) < limit  # what is ignored is within the limits
    assert found.best.headroom is not None
    times = DAY.peak_per_s / replicas * (1 + found.best.headroom)
    assert limit == pytest.approx(times, rel=0.05)  # the same question, asked of one replica
    assert found.scaling.soonest_start_s < rules.start_s < found.scaling.latest_start_s
    assert rules.down_stabilization_s >= found.scaling.latest_start_s
    day = found.scaling.day
    assert day.over_limit_s == 0
    assert day.flaps == 0
    assert day.most_replicas <= rules.max_replicas


def test_the_answer_at_the_peak_is_the_same_with_and_without_a_day():
    with_day, without = asked(planned()), asked(planned(None))
    assert with_day.best == without.best
    assert without.scaling is None
    assert not bounds(without).rows
    assert "scaling" not in to_json(without)


def test_json_and_table_say_the_same():
    found = asked(planned())
    document = to_json(found)
    assert "scaling" in document
    said, rows = document["scaling"], dict(bounds(found).rows)
    assert rows["replicas"] == f"{said['minReplicas']} to {said['maxReplicas']}"
    assert said["metric"] == "vllm:request_success_total"
    assert said["metric"] in rows["metric"]
    assert said["day"]["usd"] is not None
    assert said["day"]["usdWithoutScaling"] is not None
    assert said["startSeconds"]["soonest"] < said["startSeconds"]["latest"]


def test_a_cluster_that_holds_just_the_peak_is_told():
    plan = planned()
    best = asked(plan).best
    assert best is not None
    (group,) = best.candidate.groups
    tight = toy.pool("big", toy.BIG, (group.gpus,))
    found = asked(plan, tight)
    assert found.scaling is not None
    assert found.scaling.rules.max_replicas <= group.gpus // group.gpus_per_replica
    told = any("fewer than an autoscaler would want at the peak" in n for n in found.notes)
    assert told == found.scaling.held_back


def test_scaling_that_does_not_pay_is_told():
    flat = DayProfile(low_per_s=24, mean_per_s=24, peak_per_s=24)
    said = [any("does not pay" in n for n in asked(planned(day)).notes) for day in (flat, DAY)]
    assert said[0]
    scaling = asked(planned()).scaling
    assert scaling is not None
    assert scaling.day.usd is not None
    assert scaling.fixed_usd_per_day is not None
    assert said[1] == (scaling.day.usd >= 0.999999 * scaling.fixed_usd_per_day)


def test_a_load_that_nothing_serves_is_offered_as_another_peak():
    found = asked(planned(DayProfile(low_per_s=2, mean_per_s=8, peak_per_s=4000)))
    assert not found.feasible
    assert found.scaling is None
    fields = {offer.field for offer in found.relaxations}
    assert "spec.workload.dayProfile.peak" in fields
    assert "spec.workload.requestsPerSecond" not in fields


def test_a_recorded_day_that_begins_from_nothing_is_followed():
    parts = (0.0, 0.0, 0.0, 1.0, 20.0, 24.0, 18.0, 2.0)
    day = DayProfile(low_per_s=0, mean_per_s=8.125, peak_per_s=24, recorded_per_s=parts)
    found = asked(planned(day)).scaling
    assert found is not None
    assert found.rules.min_replicas >= 1
    assert found.rules.target_per_s > 0
    assert found.day.over_limit_s == 0


def test_more_replicas_at_night_are_kept_where_they_cost_fewer_hours():
    steep = rates(DayProfile(low_per_s=0.1, mean_per_s=2, peak_per_s=40))
    few, many = (cheapest_bounds(steep, 4.0, late_s) for late_s in (60, 7200))
    assert few[0] == 1
    assert many[0] > 1
    assert 0 < many[1] <= 4.0
    flat = cheapest_bounds([20.0] * 100, 4.0, 600)
    assert flat == (5, 4.0)


def test_another_load_of_a_recorded_day_is_named_by_its_field():
    day = DayProfile(low_per_s=2, mean_per_s=2001, peak_per_s=4000, recorded_per_s=(2, 4000))
    fields = {offer.field for offer in asked(planned(day)).relaxations}
    assert "spec.workload.dayProfile.requestsPerSecond" in fields
