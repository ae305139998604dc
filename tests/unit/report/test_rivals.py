"""Why this framework and not the other: the cause, computed from the best of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Evaluation, Recommendation, Rival
from guide.report.document import to_json
from guide.report.frameworks import side_by_side
from guide.report.review import review_markdown
from guide.report.rivals import cause, reasons
from guide.report.status import to_status
from guide.search.recommend import recommend
from guide.spec import InferencePlan, parse_plan, resolve_plan
from tests.handmade import GROUP, recommendation
from tests.manifest_cases import SGLANG

CATALOG = load()
NODES = Path(__file__).resolve().parents[3] / "examples" / "nodes.yaml"


def asked(*frameworks: str, **more: object) -> InferencePlan:
    spec = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "workload": {
            "inputTokens": {"mean": 1024, "p95": 3000},
            "outputTokens": {"mean": 256, "p95": 700},
            "requestsPerSecond": 8,
        },
        "slo": {"ttftP95Milliseconds": 800, "tpotP95Milliseconds": 40},
        "placement": {"gpus": ["A100-80GB"]},
        "frameworks": list(frameworks),
        **more,
    }
    head = {"apiVersion": "guide.dev/v1alpha1", "kind": "InferencePlan"}
    return parse_plan({**head, "metadata": {"name": "chat"}, "spec": spec})


def answer(plan: InferencePlan) -> Recommendation:
    nodes = yaml.safe_load(NODES.read_text(encoding="utf-8"))["items"]
    return recommend(resolve_plan(plan, CATALOG), read_inventory(nodes, (), CATALOG), CATALOG)


@pytest.fixture(scope="module")
def both() -> Recommendation:
    return answer(asked("vLLM", "SGLang"))


def test_the_best_of_each_stand_side_by_side(both: Recommendation):
    assert both.best is not None
    (rival,) = both.rivals
    frameworks = {one.groups[0].group.framework for one in (both.best, rival.evaluation)}
    assert frameworks == {"vLLM", "SGLang"}
    assert len(side_by_side(both).rows) == 2
    (said,) = reasons(both)
    assert said.startswith("Why ")
    review = review_markdown(asked("vLLM", "SGLang"), both)
    assert f"- {said}" in review
    assert "## The best of each framework" in review


def test_programs_read_why_too(both: Recommendation):
    (said,), (rival,) = reasons(both), both.rivals
    other = rival.evaluation.groups[0].group.framework
    document, status = to_json(both), to_status(both)
    (told,) = document.get("otherFrameworks", [])
    assert (told["framework"], told["why"]) == (other, said)
    assert told["best"] is not None
    assert told["best"]["gpus"] == rival.evaluation.gpus
    assert status["otherFrameworks"] == [{"framework": other, "why": said}]


def test_steps_are_those_of_the_batch_that_is_named(both: Recommendation):
    (rival,) = both.rivals
    batches = [
        one.groups[0].report.batch_mean for one in (rival.evaluation, both.best) if one is not None
    ]
    assert (rival.decode_step_s > rival.same_batch_step_s) == (batches[0] > batches[1])
    assert 0 < rival.best_step_s < 1


def test_one_framework_has_no_rival():
    found = answer(asked("vLLM"))
    assert found.rivals == ()
    assert list(reasons(found)) == []
    assert side_by_side(found).rows == ()
    assert "otherFrameworks" not in to_json(found)
    assert "The best of each framework" not in review_markdown(asked("vLLM"), found)


def test_one_that_runs_nothing_says_why():
    short = {"inputTokens": {"mean": 200}, "outputTokens": {"mean": 50}, "requestsPerSecond": 1}
    model = {"name": "tiiuae/falcon-7b-instruct"}
    found = answer(asked("vLLM", "SGLang", model=model, workload=short, slo={}))
    assert found.best is not None
    assert found.rivals == ()
    (told,) = to_json(found).get("otherFrameworks", [])
    assert told["best"] is None
    assert list(reasons(found)) == [
        "Why vLLM and not SGLang: none of its layouts keeps every limit; the nearest fails by "
        "this: SGLang has no implementation of FalconForCausalLM of its own."
    ]


def one(
    framework: str, tpot_s: float, kv_tokens: int = 100_000, kv_peak: float = 0.5, tp: int = 2
) -> Evaluation:
    base = SGLANG if framework == "SGLang" else GROUP
    found = recommendation(replace(base, tp=tp)).best
    assert found is not None
    item = found.groups[0]
    item = replace(
        item,
        memory=replace(item.memory, kv_capacity_tokens=kv_tokens),
        report=replace(item.report, kv_peak_share=kv_peak),
    )
    tpot = replace(found.predicted.tpot, mean_s=tpot_s)
    return replace(found, groups=(item,), predicted=replace(found.predicted, tpot=tpot))


def rival(other: Evaluation, own_s: float, same_s: float, best_s: float) -> Rival:
    return Rival(
        evaluation=other, decode_step_s=own_s, same_batch_step_s=same_s, best_step_s=best_s
    )


def test_the_largest_part_is_the_cause():
    best = one("vLLM", 0.010)
    stalled = rival(one("SGLang", 0.015), 0.010, 0.010, 0.0099)
    assert cause(best, stalled).startswith("the cause is the scheduler: tokens take 1.01 times")
    slow = rival(one("SGLang", 0.013), 0.013, 0.013, 0.010)
    assert cause(best, slow) == (
        "the cause is kernels: a decode step of the same batch takes 10 ms, 13 ms under SGLang."
    )
    small = rival(one("SGLang", 0.010, kv_tokens=50_000, kv_peak=1.0), 0.010, 0.010, 0.010)
    assert "memory: the cache of a replica holds 100,000 tokens, 50,000 under SGLang" in cause(
        best, small
    )
    unfilled = rival(one("SGLang", 0.010, kv_tokens=50_000), 0.010, 0.010, 0.010)
    assert cause(best, unfilled).endswith("less than 2 % each: either would do.")


def test_other_layouts_have_no_common_step():
    other = rival(one("SGLang", 0.010, tp=4), 0.010, 0.010, 0.010)
    assert "their best layouts differ" in cause(one("vLLM", 0.010), other)
