"""Two pools, one for prefill and one for decode: what they need and cost, and whether they pay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.domain import (
    Billing,
    Budget,
    Disaggregation,
    DisaggregationAdvice,
    Evaluation,
    GpuPool,
    Inventory,
    Lengths,
    Plan,
    Recommendation,
    Route,
    Slo,
    TwoPools,
    Workload,
)
from guide.errors import SpecError
from guide.report.disaggregation import side_by_side
from guide.report.document import to_json
from guide.report.review import review_markdown
from guide.search.disaggregation import MARGIN, about_disaggregation, advice
from guide.search.evaluate import Study
from guide.search.explore import Ledger, Survey, hunt, survey
from guide.search.goal import Aim, Goal
from guide.search.pricing import packed_bill, priced
from guide.search.recommend import recommend
from guide.search.two_pools import cheapest, size_of
from guide.spec import parse_plan, resolve_plan

CATALOG = load()
ROOT = Path(__file__).resolve().parents[3]
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TOKENS, GBIT = 8000, 1e9 / 8
LONG = Workload(
    prompt=Lengths(mean_tokens=TOKENS, p95_tokens=TOKENS),
    output=Lengths(mean_tokens=100, p95_tokens=100),
    requests_per_s=8,
)
TIGHT = Plan(
    model=CATALOG.models[LLAMA],
    workload=LONG,
    slo=Slo(ttft_p95_s=2, tpot_p95_s=0.012),
    budget=Budget(billing=Billing.FREE_GPUS),
    frameworks=("vLLM",),
    disaggregation=Disaggregation(network_bytes_per_s=400 * GBIT),
)


def h100s(per_node: int, nodes: int) -> GpuPool:
    return GpuPool(
        name="h100",
        gpu=CATALOG.gpus["H100-SXM"],
        product="NVIDIA-H100-80GB-HBM3",
        source="gfd",
        resource="nvidia.com/gpu",
        gpus_per_node=per_node,
        free_gpus_by_node=(per_node,) * nodes,
    )


def surveyed(plan: Plan, pool: GpuPool) -> tuple[Study, Survey]:
    study = Study(plan=plan, catalog=CATALOG)
    return study, survey(study, priced(Inventory(pools=(pool,)), CATALOG, plan.budget.billing))


@pytest.fixture(scope="module")
def tight() -> tuple[Study, Survey, Evaluation]:
    """Long prompts that stall decodes under a limit on the time of a token."""
    study, found = surveyed(TIGHT, h100s(2, 6))
    flat = [one for one in found.prospects if one.replica.shape.pp == 1]
    (best,) = hunt(flat, study, Goal(plan=TIGHT, aim=Aim.COST), 1, Ledger())
    return study, found, best


def pools_of(found: DisaggregationAdvice | None) -> TwoPools:
    assert found is not None
    assert found.pools is not None
    return found.pools


def test_long_prompts_under_a_tight_limit_on_tokens_are_a_go(
    tight: tuple[Study, Survey, Evaluation],
):
    study, found, best = tight
    verdict = advice(best, found, study)
    pools = pools_of(verdict)
    assert verdict is not None
    assert verdict.go
    assert pools.usd_per_h is not None
    assert best.usd_per_h is not None
    assert pools.usd_per_h <= (1 - MARGIN) * best.usd_per_h
    assert pools.ttft.upper_s <= 2
    assert pools.tpot.upper_s <= 0.012
    (note,) = about_disaggregation(verdict)
    assert f"need {pools.gpus} GPUs" in note
    assert f"needs {best.gpus} GPUs" in note
    assert "unmeasured here" in note


def test_the_first_token_waits_for_prefill_transfer_and_a_step_of_decode(
    tight: tuple[Study, Survey, Evaluation],
):
    study, found, best = tight
    pools = pools_of(advice(best, found, study))
    before, after = pools.prefill, pools.decode
    assert pools.ttft.p95_s == pytest.approx(
        before.first_token_s + pools.transfer_s + after.first_token_s
    )
    assert after.first_token_s < before.first_token_s / 2  # the prompt is there already
    assert after.layout.tp % before.layout.tp == 0
    per_token = 32 * 2 * 8 * 128 * 2  # layers, keys and values, KV heads, their size, bytes
    assert pools.kv_bytes_per_token == per_token
    assert pools.transfer_bytes == TOKENS * per_token
    # the fullest node of a side has two GPUs of it, or all
    busiest = max(min(1, 2 / half.gpus) for half in (before, after))
    assert pools.route is Route.NETWORK
    assert pools.route_busy_share == pytest.approx(8 * TOKENS * per_token * busiest / 50e9)


def test_a_faster_network_never_makes_two_pools_dearer(tight: tuple[Study, Survey, Evaluation]):
    study, found, _ = tight

    def sized(gbit: float) -> TwoPools | None:
        asked = Disaggregation(network_bytes_per_s=gbit * GBIT)
        return cheapest(found.replicas, study.under(replace(TIGHT, disaggregation=asked)))

    slow, usual, fast, endless = map(sized, (10, 100, 400, 1e12))
    assert slow is None or usual is None or size_of(usual) <= size_of(slow)
    assert usual is not None
    assert fast is not None
    assert endless is not None
    assert size_of(endless) <= size_of(fast) <= size_of(usual)
    assert endless.transfer_s < 1e-3 < usual.transfer_s
    assert endless.route is Route.NETWORK
    assert sized(1) is None  # 8 GB/s do not go through


def test_more_load_never_takes_fewer_gpus(tight: tuple[Study, Survey, Evaluation]):
    study, found, _ = tight
    sizes = [
        size_of(one)
        for rate in (2, 4, 8)
        if (one := cheapest(found.replicas, study.under(under_load(rate)))) is not None
    ]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)


def under_load(rate: float) -> Plan:
    return replace(TIGHT, workload=replace(LONG, requests_per_s=rate))


def test_what_nothing_else_keeps_is_a_go_and_what_nothing_keeps_is_not(
    tight: tuple[Study, Survey, Evaluation],
):
    study, found, _ = tight
    alone = advice(None, found, study)
    assert alone is not None
    assert alone.go
    assert "no deployment of one kind keeps every limit" in alone.why
    hopeless = replace(TIGHT, budget=replace(TIGHT.budget, max_gpus=2))
    none = advice(None, found, study.under(hopeless))
    assert none == DisaggregationAdvice(
        pools=None,
        go=False,
        why="no two pools keep every limit within the free GPUs and the budget",
    )


def chat(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "model": {"name": LLAMA},
        "workload": {
            "inputTokens": {"mean": 200, "p95": 200},
            "outputTokens": {"mean": 100, "p95": 100},
            "requestsPerSecond": 8,
        },
        "budget": {"billing": "FreeGPUs"},
        "frameworks": ["vLLM"],
        "disaggregation": {"networkGbitPerSecond": 100},
    }
    spec |= changes
    return {
        "apiVersion": "guide.dev/v1alpha1",
        "kind": "InferencePlan",
        "metadata": {"name": "chat"},
        "spec": spec,
    }


def asked(document: dict[str, Any]) -> Recommendation:
    plan = resolve_plan(parse_plan(document), CATALOG)
    return recommend(plan, Inventory(pools=(h100s(2, 1),)), CATALOG)


def test_short_prompts_are_no_go_and_every_report_says_so():
    document = chat()
    found = asked(document)
    verdict = found.disaggregation
    pools = pools_of(verdict)
    assert verdict is not None
    assert not verdict.go
    assert found.best is not None
    assert pools.gpus > found.best.gpus
    assert pools.route is Route.LINK  # both on one node
    (note,) = [note for note in found.notes if note.startswith("prefill and decode apart")]
    assert "no go" in note
    told = to_json(found)["disaggregation"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    assert told["verdict"] == "NoGo"
    assert not told["measured"]
    assert told["pools"] is not None
    assert told["pools"]["gpus"] == pools.gpus
    table = side_by_side(found)
    assert table.rows[0] == ("GPUs", "2 (1 prefill, 1 decode)", "1")
    assert table.title in review_markdown(parse_plan(document), found)


def test_who_does_not_ask_is_told_nothing():
    document = chat()
    del document["spec"]["disaggregation"]
    found = asked(document)
    assert found.disaggregation is None
    assert not side_by_side(found).rows
    assert "disaggregation" not in to_json(found)
    assert not any("apart" in note for note in found.notes)


def test_caches_that_forget_are_not_modelled_and_that_is_said():
    found = asked(chat(model={"name": "openai/gpt-oss-20b"}))
    assert found.disaggregation is not None
    assert found.disaggregation.pools is None
    assert "layers of openai/gpt-oss-20b forget tokens" in found.disaggregation.why


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preference": "Latency"}, "preference Cost"),
        ({"workload": {"concurrency": 8}}, "open loop"),
        ({"workload": {"offline": {"requests": 80}}}, "open loop"),
        (
            {
                "workload": {
                    "requestsPerSecond": 8,
                    "speculation": {"method": "NGram", "tokens": 2, "acceptancePercent": [50]},
                }
            },
            "is not modelled",
        ),
        (
            {
                "workload": {
                    "requestsPerSecond": 8,
                    "prefixes": {"groups": 5, "sharedTokens": 50},
                }
            },
            "is not modelled",
        ),
        ({"disaggregation": {}}, "networkGbitPerSecond"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(changes: dict[str, Any], said: str):
    document = chat(**changes)
    lengths = {"inputTokens": {"mean": 200}, "outputTokens": {"mean": 100}}
    document["spec"]["workload"] = {**document["spec"]["workload"], **lengths}
    with pytest.raises(SpecError) as refused:
        parse_plan(document)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_pools_share_nodes_on_the_bill_and_in_the_cluster():
    whole = priced(Inventory(pools=(h100s(8, 2),)), CATALOG, Billing.NODES).pools[0]
    assert packed_bill(whole, (4, 1), (2, 2))[0] == 8
    assert packed_bill(whole, (4, 1), (2, 3))[0] == 16
    assert whole.holds((4, 2), (2, 4))
    assert not whole.holds((4, 2), (2, 5))
    assert not h100s(2, 8).holds((4, 1))


def test_the_plan_of_the_documentation_is_one():
    text = (ROOT / "docs/disaggregation.md").read_text(encoding="utf-8")
    spec = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["spec"]
    written = parse_plan(chat() | {"spec": {"model": {"name": LLAMA}, **spec}})
    plan = resolve_plan(written, CATALOG)
    assert plan.disaggregation is not None
    assert plan.disaggregation.network_bytes_per_s == 50e9
