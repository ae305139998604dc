"""What a load alone rules out is never simulated, and what it leaves is found as before."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import Inventory, Lengths, Plan, Slo, Workload
from guide.search.evaluate import Study
from guide.search.explore import survey
from guide.search.loaded import loaded
from guide.search.recommend import forget, recommend
from guide.search.sizing import Prospect
from guide.simulate import serve
from guide.simulate.fluid import Fluid, fluid
from tests import toy

CATALOG = load()
POOLS = Inventory(
    pools=(
        toy.pool("l4", CATALOG.gpus["L4"], (8, 8)),
        toy.pool("a100", CATALOG.gpus["A100-80GB"], (8,)),
    )
)


NO_LIMITS = Slo()


def asked(slo: Slo = NO_LIMITS, **load: float | int) -> Plan:
    workload = Workload(
        prompt=Lengths(mean_tokens=1024, p95_tokens=3000),
        output=Lengths(mean_tokens=256, p95_tokens=700),
        **load,  # pyright: ignore[reportArgumentType]
    )
    model = CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"]
    return Plan(model=model, workload=workload, slo=slo, frameworks=("vLLM", "SGLang"))


@cache
def prospects(plan: Plan) -> list[Prospect]:
    return survey(Study(plan=plan, catalog=CATALOG), POOLS).prospects


def flow(plan: Plan, place: int = 0) -> Fluid:
    replica = prospects(plan)[place].replica
    found = fluid(replica.group(1), replica.memory, plan.workload, CATALOG)
    assert found is not None
    return found


def test_what_the_load_rules_out_is_told_and_not_simulated(monkeypatch: pytest.MonkeyPatch):
    plan = asked(Slo(ttft_p95_s=1.5, tpot_p95_s=0.03), requests_per_s=12.0)
    run, layouts = serve.run, set[tuple[object, ...]]()

    def watched(group: Any, *args: Any, **other: Any) -> object:
        layouts.add(tuple(group.key))
        return run(group, *args, **other)

    forget()
    monkeypatch.setattr(serve, "run", watched)
    found = recommend(plan, POOLS, CATALOG)
    refused = [one for one in found.rejections if "share the load evenly" in one.detail]
    assert found.best is not None
    assert refused
    for one in refused:
        assert one.candidate is not None
        assert tuple(one.candidate.groups[0].key) not in layouts
        assert one.margin > 0
        assert one.detail.startswith("even if ")


def test_counts_that_the_load_rules_out_are_not_tried():
    plan = asked(Slo(tpot_p95_s=0.03), requests_per_s=12.0)
    study = Study(plan=plan, catalog=CATALOG)
    under = [(one, loaded(one, study)) for one in prospects(plan)]
    left = [(one, now) for one, now in under if isinstance(now, Prospect)]
    assert any(now.fewest > one.fewest for one, now in left)
    assert all(one.fewest <= now.fewest <= one.most == now.most for one, now in left)


@pytest.mark.parametrize(
    "plan",
    [asked(concurrency=32), asked(offline=500)],
    ids=["closed loop", "batch"],
)
def test_only_a_fixed_rate_is_bounded(plan: Plan):
    study = Study(plan=replace(plan, slo=Slo(tpot_p95_s=0.001)), catalog=CATALOG)
    for one in prospects(plan):
        assert loaded(one, study) is one


@given(st.integers(0, 11), st.floats(0.0, 1.0))
def test_a_rate_and_its_time_per_token_belong_together(place: int, share: float):
    one = flow(asked(requests_per_s=1.0), place)
    busiest = min(one.largest, 64)
    rate = one.rate(1) + share * (one.rate(busiest) - one.rate(1))
    tpot_s = one.tpot_under(rate)
    assert tpot_s >= one.tpot_s(0)
    back = one.rate_within(tpot_s)
    assert back is None or back == pytest.approx(rate, rel=0.05)


def test_a_longer_time_per_token_allows_a_higher_rate():
    one = flow(asked(requests_per_s=1.0))
    alone = one.tpot_s(0)
    rates = [one.rate_within(alone * times) for times in (1.001, 1.2, 1.5, 2, 3)]
    known = [rate for rate in rates if rate is not None]
    assert known == sorted(known)
    assert len(known) >= 3
    assert one.rate_within(3600.0) is None
