"""Latency over load: the curve goes through the recommendation, and its knee is where it bends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Budget, Lengths, Plan, Workload
from guide.insight.load_curve import LoadPoint, knee, latency_over_load
from guide.search.recommend import recommend
from guide.web.nodes import imagined
from guide.web.state import PoolRow

CATALOG = load()
INVENTORY = read_inventory(
    imagined([PoolRow(gpu="L40S", nodes="2", per="4")], CATALOG), [], CATALOG
)
OPEN = Workload(
    prompt=Lengths(mean_tokens=512),
    output=Lengths(mean_tokens=128),
    requests_per_s=6.0,
)
CLOSED = replace(OPEN, requests_per_s=None, concurrency=24)


def plan_of(workload: Workload) -> Plan:
    model = CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"]
    return Plan(model=model, workload=workload, budget=Budget(max_gpus=8))


@pytest.mark.parametrize("workload", [OPEN, CLOSED], ids=["open", "closed"])
def test_the_curve_goes_through_the_recommendation(workload: Workload):
    plan = plan_of(workload)
    best = recommend(plan, INVENTORY, CATALOG).best
    assert best is not None
    points = latency_over_load(best, plan, CATALOG)
    loads = [point.load for point in points]
    assert loads == sorted(set(loads))
    asked = workload.requests_per_s or float(workload.concurrency or 0)
    (here,) = (point for point in points if point.load == asked)
    predicted = best.predicted
    for metric, value, interval in (
        ("ttft", predicted.ttft, predicted.ttft_interval),
        ("tpot", predicted.tpot, predicted.tpot_interval),
        ("e2e", predicted.e2e, predicted.e2e_interval),
    ):
        assert here.p95_s[metric] == pytest.approx(value.p95_s)
        assert here.lower_s[metric] == pytest.approx(interval.lower)
        assert here.upper_s[metric] == pytest.approx(interval.upper)
    assert points[-1].p95_s["tpot"] > points[0].p95_s["tpot"]


def curve(values: list[float]) -> list[LoadPoint]:
    return [
        LoadPoint(load=float(n), p95_s={"ttft": v}, lower_s={}, upper_s={})
        for n, v in enumerate(values)
    ]


def test_the_knee_is_where_the_curve_bends():
    found = knee(curve([1, 1.1, 1.2, 1.3, 1.4, 6, 20]), "ttft")
    assert found is not None
    assert found.load == 4


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [1, 1, 1], [3, 2, 1], [1, 2]])
def test_a_curve_that_does_not_bend_has_no_knee(values: list[float]):
    assert knee(curve(values), "ttft") is None
