"""What is chosen among deployments with the same bill, and how far a dearer one must be better."""

from __future__ import annotations

from dataclasses import replace

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Inventory, Lengths, Plan, Preference, Recommendation, Slo, Workload
from guide.search.recommend import recommend
from guide.search.sizing import pace_s
from guide.web.nodes import imagined
from guide.web.state import PoolRow

CATALOG = load()


def nodes(gpu: str, count: int) -> Inventory:
    rows = [PoolRow(gpu=gpu, nodes=str(count), per="8")]
    return read_inventory(imagined(rows, CATALOG), [], CATALOG)


def ask(gpu: str, count: int, rate: float, **changes: object) -> Recommendation:
    load_ = Workload(
        prompt=Lengths(mean_tokens=1024, p95_tokens=2000),
        output=Lengths(mean_tokens=200, p95_tokens=400),
        requests_per_s=rate,
    )
    plan = Plan(
        model=CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"],
        workload=load_,
        frameworks=("vLLM",),
    )
    plan = replace(plan, **changes)  # pyright: ignore[reportArgumentType]
    return recommend(plan, nodes(gpu, count), CATALOG)


def test_gpus_that_are_billed_anyway_hold_more_load():
    slo = Slo(ttft_p95_s=1.5, tpot_p95_s=0.055)
    found = ask("L40S", 1, 8.0, slo=slo)
    assert found.best is not None
    assert found.best.headroom is not None
    assert found.best.headroom >= 0.25
    assert found.best.gpus_billed == 8


def test_a_limit_that_is_kept_with_ease_is_worth_no_tensor_parallelism():
    found = ask("A100-80GB", 1, 8.0, slo=Slo(ttft_p95_s=1.5, tpot_p95_s=0.06))
    assert found.best is not None
    assert found.best.groups[0].group.tp == 1
    assert all(one.groups[0].group.pp == 1 for one in (found.best, *found.alternatives))


def test_nobody_pays_double_for_five_percent():
    found = ask("H100-SXM", 2, 3.0, preference=Preference.LATENCY)
    best = found.best
    assert best is not None
    assert best.usd_per_h is not None
    for other in found.pareto:
        if other.usd_per_h is not None and other.usd_per_h <= best.usd_per_h / 2:
            assert pace_s(other) > 1.05 * pace_s(best)
