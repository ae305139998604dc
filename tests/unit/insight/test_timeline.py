"""A simulated minute shows what the simulator went through, and adds up to the prediction."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from statistics import fmean

import pytest

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Budget, GroupEvaluation, Lengths, Plan, Workload
from guide.insight.minute import MINUTE_S, one_minute
from guide.search.recommend import recommend
from guide.simulate.replica import ReplicaLoop
from guide.web.nodes import imagined
from guide.web.state import PoolRow

CATALOG = load()
INVENTORY = read_inventory(
    imagined([PoolRow(gpu="L40S", nodes="2", per="4")], CATALOG), [], CATALOG
)
OPEN = Workload(
    prompt=Lengths(mean_tokens=1500),
    output=Lengths(mean_tokens=300),
    requests_per_s=3.0,
)
CLOSED = replace(OPEN, requests_per_s=None, concurrency=60)
BOTH = pytest.mark.parametrize("workload", [OPEN, CLOSED], ids=["open", "closed"])


def answered(workload: Workload) -> tuple[Plan, GroupEvaluation]:
    model = CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"]
    plan = Plan(model=model, workload=workload, budget=Budget(max_gpus=4))
    best = recommend(plan, INVENTORY, CATALOG).best
    assert best is not None
    return plan, best.groups[0]


class Watched(ReplicaLoop):
    """A replica that writes down how it stands whenever something happens."""

    seen: list[tuple[float, int, int, float]]

    def _arrive(self) -> None:
        super()._arrive()
        used = 1 - self.free_blocks / self.policy.kv_blocks
        running = len(self.decoding) + len(self.partial)
        self.seen.append((self.clock, running, len(self.waiting), used))


@BOTH
def test_it_is_what_the_simulator_went_through(workload: Workload, monkeypatch: pytest.MonkeyPatch):
    plan, item = answered(workload)
    expected = one_minute(item, plan, CATALOG)
    Watched.seen = []
    monkeypatch.setattr("guide.simulate.serve.ReplicaLoop", Watched)
    found = one_minute(item, plan, CATALOG)
    assert found == expected
    clocks = [at for at, *_ in Watched.seen]
    for moment in found.moments:
        _, running, waiting, used = Watched.seen[
            bisect_right(clocks, found.since_s + moment.second) - 1
        ]
        assert moment.running == pytest.approx(running, abs=3)
        assert moment.waiting == pytest.approx(waiting, abs=3)
        # a chunk takes its blocks at once, where the minute lets a prompt grow evenly
        assert moment.kv_share == pytest.approx(used, abs=0.06)
    assert max(m.kv_share for m in found.moments) > 0.05


@BOTH
def test_it_adds_up_to_the_prediction(workload: Workload):
    plan, item = answered(workload)
    moments = one_minute(item, plan, CATALOG).moments
    assert [m.second for m in moments] == list(range(1, len(moments) + 1))
    assert 0.75 * MINUTE_S <= len(moments) <= MINUTE_S
    inside = fmean(m.running + m.waiting for m in moments)
    report = item.report
    if workload.concurrency is None:  # Little's law; in a closed loop all users are inside
        assert inside == pytest.approx(report.requests_per_s * report.e2e.mean_s, rel=0.25)
    else:
        assert inside == workload.concurrency
    first = [m.ttft_s for m in moments if m.ttft_s is not None]
    assert fmean(first) == pytest.approx(report.ttft.mean_s, rel=0.35)
    assert max(m.kv_share for m in moments) <= 1.0


def test_more_load_keeps_more_in_flight():
    plan, item = answered(OPEN)
    busier = replace(plan, workload=replace(OPEN, requests_per_s=6.0))
    quiet, busy = (one_minute(item, p, CATALOG).moments for p in (plan, busier))
    assert fmean(m.running for m in busy) > 1.5 * fmean(m.running for m in quiet)


def test_a_minute_of_a_pipeline_is_that_of_the_whole_replica():
    plan, item = answered(OPEN)
    halves = replace(item, group=replace(item.group, pp=2))
    whole, staged = (one_minute(one, plan, CATALOG).moments for one in (item, halves))
    assert fmean(m.running for m in staged) > 0.7 * fmean(m.running for m in whole)
