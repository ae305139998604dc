"""The answer as JSON, status and review: names by contract, valid, small, reproducible."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from guide.domain import (
    Budget,
    Inventory,
    Preference,
    Reason,
    Recommendation,
    Rejection,
    SkippedNode,
    Slo,
)
from guide.report.document import to_json
from guide.report.review import review_markdown
from guide.report.status import MAX_BYTES, MAX_REJECTIONS, nearest_misses, to_status
from guide.search.recommend import recommend
from guide.spec import load_plan
from tests import toy

PLAN = """
apiVersion: guide.dev/v1alpha1
kind: InferencePlan
metadata: {name: chat, namespace: ml}
spec:
  model: {name: toy/8b}
  workload:
    inputTokens: {mean: 1024, p95: 3000}
    outputTokens: {mean: 256, p95: 700}
    requestsPerSecond: 8
  slo: {ttftP95Milliseconds: 500}
"""


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


@pytest.fixture
def feasible() -> Recommendation:
    return recommend(toy.question(slo=Slo(ttft_p95_s=0.5)), toy.CLUSTER, toy.CATALOG)


@pytest.fixture
def infeasible() -> Recommendation:
    return recommend(toy.question(budget=Budget(max_usd_per_h=1)), toy.CLUSTER, toy.CATALOG)


def test_json_has_the_contract_names(feasible: Recommendation):
    found = to_json(feasible)
    assert {
        "apiVersion", "kind", "feasible", "best", "alternatives", "highestThroughput",
        "lowestLatency", "candidates", "rejectionCounts", "rejections", "relaxations", "inventory",
        "engine",
    } <= set(found)  # fmt: skip
    best = found["best"]
    assert {
        "groups", "predicted", "gpus", "gpusBilled", "usdPerHour", "usdPerMillionOutputTokens",
        "usdPerMillionTokens", "provenance",
    } <= set(best)  # fmt: skip
    assert set(best["predicted"]) == {
        "ttftSeconds", "tpotSeconds", "e2eSeconds", "outputTokensPerSecond", "requestsPerSecond",
    }  # fmt: skip
    assert {"p50", "p95", "p99", "interval90"} <= set(best["predicted"]["ttftSeconds"])
    assert {
        "pool", "gpu", "framework", "checkpoint", "precision", "tp", "pp", "replicas",
        "nodeSelector", "limits", "memory", "loadShare", "maxRequestsPerSecond", "provenance",
        "bound",
    } <= set(best["groups"][0])  # fmt: skip
    assert best["groups"][0]["limits"]["gpuMemoryUtilization"] == "0.90"
    assert {
        "name", "gpu", "product", "source", "gpusPerNode", "freeGPUs", "usdPerGPUHour",
    } <= set(found["inventory"]["pools"][0])  # fmt: skip


def test_json_is_valid_and_counts_add_up(feasible: Recommendation, infeasible: Recommendation):
    for found in (to_json(feasible), to_json(infeasible)):
        text = json.dumps(found, allow_nan=False)
        assert json.loads(text) == found
        assert sum(found["rejectionCounts"].values()) == len(found["rejections"])
        placed = len(found["rejections"]) + len(found["alternatives"]) + (found["best"] is not None)
        assert placed == found["candidates"]


def test_interval_surrounds_the_p95(feasible: Recommendation):
    for metric in ("ttftSeconds", "tpotSeconds", "e2eSeconds"):
        value = to_json(feasible)["best"]["predicted"][metric]  # pyright: ignore[reportOptionalSubscript]
        assert value["interval90"]["lower"] < value["p95"] < value["interval90"]["upper"]


def test_cost_follows_from_the_price(feasible: Recommendation):
    best: Any = to_json(feasible)["best"]
    assert best["usdPerHour"] == pytest.approx(3.0 * best["gpus"])
    tokens_per_h = best["predicted"]["outputTokensPerSecond"]["value"] * 3600
    assert best["usdPerMillionOutputTokens"] == pytest.approx(
        best["usdPerHour"] / tokens_per_h * 1e6, rel=1e-3
    )


def test_status_has_no_floats_and_no_nulls(feasible: Recommendation, infeasible: Recommendation):
    for found in (feasible, infeasible):
        kinds = set(_leaf_types(to_status(found)))
        assert kinds <= {str, int, bool}


def _leaf_types(value: Any) -> list[type]:
    if isinstance(value, dict):
        return [t for item in value.values() for t in _leaf_types(item)]
    if isinstance(value, list):
        return [t for item in value for t in _leaf_types(item)]
    return [type(value)]


def test_status_summary_feeds_the_columns(feasible: Recommendation, infeasible: Recommendation):
    summary = to_status(feasible)["summary"]
    assert set(summary) == {
        "gpu", "framework", "tp", "pp", "replicas", "hourlyUSD", "ttftP95Milliseconds",
    }  # fmt: skip
    assert summary["hourlyUSD"] == "3.00"
    assert isinstance(summary["ttftP95Milliseconds"], int)
    assert "summary" not in to_status(infeasible)
    assert to_status(infeasible)["relaxations"]


def test_status_stays_small_whatever_the_cluster(infeasible: Recommendation):
    crowded = Inventory(
        pools=tuple(replace(toy.CLUSTER.pools[0], name=f"pool-{n}") for n in range(3000)),
        skipped=tuple(SkippedNode(node=f"node-{n}", reason="x" * 900) for n in range(5000)),
    )
    many = tuple(
        Rejection(
            candidate=None, reason=Reason.UNKNOWN_GPU, detail="y" * 5000, margin=1, pool=str(n)
        )
        for n in range(5000)
    )
    status = to_status(replace(infeasible, inventory=crowded, rejections=many))
    assert len(json.dumps(status)) < MAX_BYTES
    assert len(status["rejections"]) <= MAX_REJECTIONS


def test_nearest_misses_show_every_reason_first(infeasible: Recommendation):
    ordered = nearest_misses(infeasible.rejections)
    reasons = {r.reason for r in ordered}
    assert {r.reason for r in ordered[: len(reasons)]} == reasons
    first = ordered[0]
    assert first.margin == min(r.margin for r in ordered if r.reason is first.reason)


def test_review_tells_choice_cost_memory_and_digest(feasible: Recommendation):
    text = review_markdown(load_plan(PLAN), feasible)
    assert text.splitlines()[0].startswith("# chat")
    for part in (
        "## Top three", "## Predictions", "## Cost", "toy price list", "2026-01-01",
        "## Memory of one GPU", "## What would change the decision", "## Pareto front",
        "## Rejected", "sha256:toy",
    ):  # fmt: skip
        assert part in text


def test_review_states_the_limits_and_what_it_was_made_with(feasible: Recommendation):
    text = review_markdown(load_plan(PLAN), feasible)
    assert "Limits: p95 TTFT 500 ms." in text
    assert text.count("sha256:") == 2  # catalogue, prices
    dearer = tuple(
        replace(p, price=p.price and replace(p.price, usd_per_gpu_h=p.price.usd_per_gpu_h + 1))
        for p in feasible.inventory.pools
    )
    moved = replace(feasible, inventory=replace(feasible.inventory, pools=dearer))
    (before,), (after,) = (
        re.findall("Prices of the pools: `(.*)`", review_markdown(load_plan(PLAN), r))
        for r in (feasible, moved)
    )
    assert before != after


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("vllm/vllm-openai:v1.0.0", ""),
        ("vllm/vllm-openai:v0.8.5", "is vLLM 0.8.5; the numbers are those of 1.0.0"),
        ("registry.example/mine:latest", "does not tell its vLLM version"),
    ],
)
def test_review_warns_of_an_image_that_was_not_modelled(
    feasible: Recommendation, image: str, said: str
):
    plan = load_plan(PLAN + f"  deployment: {{image: '{image}'}}\n")
    text = review_markdown(plan, feasible)
    assert (said in text) is True
    assert ("the numbers are those of" in text) is bool(said)


def test_review_of_an_infeasible_plan_offers_changes(infeasible: Recommendation):
    text = review_markdown(load_plan(PLAN), infeasible)
    assert "spec.budget.maxHourlyUSD" in text
    assert "## Top three" not in text


def test_review_tables_are_rectangular(feasible: Recommendation):
    blocks = review_markdown(load_plan(PLAN), feasible).split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) >= 6
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_the_same_answer_gives_the_same_bytes(feasible: Recommendation):
    shuffled = Inventory(pools=toy.CLUSTER.pools[::-1])
    again = recommend(toy.question(slo=Slo(ttft_p95_s=0.5)), shuffled, toy.CATALOG)
    plan = load_plan(PLAN)
    assert review_markdown(plan, again) == review_markdown(plan, feasible)
    assert json.dumps(to_json(again)) == json.dumps(to_json(feasible))


def test_every_preference_can_be_reported():
    for preference in Preference:
        found = recommend(toy.question(preference=preference), toy.CLUSTER, toy.CATALOG)
        assert to_json(found)["feasible"] is True
        assert review_markdown(load_plan(PLAN), found)
