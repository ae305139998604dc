"""What an answer says of prompts that begin alike: hits as simulated, and what each router makes of
them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.domain import (
    Evaluation,
    GpuPool,
    Inventory,
    Plan,
    PrefixAdvice,
    Recommendation,
    Router,
)
from guide.insight.adjusted import adjusted
from guide.insight.explain import explain
from guide.live.by_hand import running_layout
from guide.live.expect import expect
from guide.live.measured import Observation, workload
from guide.live.verdict import Verdict, judge
from guide.report.document import to_json
from guide.report.prefixes import routers
from guide.report.review import review_markdown
from guide.search.evaluate import hit_share
from guide.search.rank import capacity_per_s
from guide.search.recommend import recommend
from guide.spec import InferencePlan, parse_plan, resolve_plan
from guide.spec.workload import WorkloadSpec

CATALOG = load()
ROOT = Path(__file__).resolve().parents[3]
# 80 groups, of which an A100 of 40 GB holds half
SHARED: dict[str, Any] = {"groups": 80, "sharedTokens": 3000}
LONG = {"inputTokens": {"mean": 3300, "p95": 3300}, "outputTokens": {"mean": 60, "p95": 60}}


def written(prefixes: dict[str, Any] | None, replicas: int = 2, **load_: Any) -> InferencePlan:
    told = {} if prefixes is None else {"prefixes": prefixes}
    return parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "chat"},
            "spec": {
                "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
                "workload": {**LONG, **(load_ or {"requestsPerSecond": 4}), **told},
                "frameworks": ["vLLM"],
                **({} if "offline" in load_ else {"deployment": {"minReplicas": replicas}}),
            },
        }
    )


def cluster(gpus: int = 2) -> Inventory:
    pool = GpuPool(
        name="a100",
        gpu=CATALOG.gpus["A100-SXM4-40GB"],
        product="NVIDIA-A100-SXM4-40GB",
        source="gfd",
        resource="nvidia.com/gpu",
        gpus_per_node=1,
        free_gpus_by_node=(1,) * gpus,
    )
    return Inventory(pools=(pool,))


def asked(plan: InferencePlan, gpus: int = 2) -> tuple[Plan, Recommendation]:
    question = resolve_plan(plan, CATALOG)
    return question, recommend(question, cluster(gpus), CATALOG)


def parts(found: Recommendation) -> tuple[Evaluation, PrefixAdvice]:
    assert found.best is not None
    assert found.prefixes is not None
    return found.best, found.prefixes


@pytest.fixture(scope="module")
def service() -> tuple[Plan, Recommendation]:
    return asked(written(SHARED))


def test_the_planned_point_is_the_answer_itself(service: tuple[Plan, Recommendation]):
    plan, found = service
    best, advice = parts(found)
    planned = advice.planned
    assert planned.router is Router.ROUND_ROBIN
    assert planned.hit_share == hit_share(best)
    assert planned.ttft_p95_s == best.predicted.ttft.p95_s
    assert planned.capacity_per_s == pytest.approx(capacity_per_s(best))
    assert planned.holds
    assert planned.replicas == best.groups[0].group.replicas == 2
    assert 0.1 < planned.hit_share < advice.most_hit_share - 0.1
    assert advice.most_hit_share == plan.workload.prefix_hit_share == pytest.approx(3000 / 3300)


def test_every_router_is_told_and_affinity_finds_more(service: tuple[Plan, Recommendation]):
    _, advice = parts(service[1])
    assert [point.router for point in advice.points] == [*Router, *Router]
    assert [point.replicas for point in advice.points] == [2] * 3 + [4] * 3
    robin, hashed, aware = (advice.behind(router) for router in Router)
    assert robin.hit_share < hashed.hit_share <= aware.hit_share + 0.02
    assert (robin.capacity_per_s or 0) < (aware.capacity_per_s or 0)
    said = " ".join(service[1].notes)
    assert "behind a Service, which deals requests out to any replica" in said
    assert "unmeasured here" in said
    assert "plan with workload.prefixes.router PrefixAware" in said


def test_json_table_and_review_tell_the_same(service: tuple[Plan, Recommendation]):
    _, advice = parts(service[1])
    document = to_json(service[1])["prefixes"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    assert document["measured"] is False
    assert document["hitShare"] == document["routers"][0]["hitShare"] < document["mostHitShare"]
    rows = routers(service[1]).rows
    assert len(rows) == len(document["routers"]) == len(advice.points)
    assert [row[2] for row in rows].count("planned") == 1
    text = review_markdown(written(SHARED), service[1])
    assert "Prefix hits by router, unmeasured here" in text
    assert all(router.value in text for router in Router)


def test_what_an_answer_takes_apart_rests_on_the_hits_that_were_simulated(
    service: tuple[Plan, Recommendation],
):
    """A perfect cache would leave 300 of 3,300 tokens to compute."""
    plan, found = service
    best, advice = parts(found)
    computed = 3300 * (1 - advice.planned.hit_share)
    (item,) = best.groups
    assert adjusted(item, plan, CATALOG).prompt_tokens == pytest.approx(computed)
    (group,) = explain(best, plan, CATALOG).groups
    assert group.prompt.shape.prefill_tokens == pytest.approx(computed, abs=2)
    flat = replace(
        plan,
        workload=replace(plan.workload, prefixes=None, prefix_hit_share=advice.planned.hit_share),
    )
    alike = recommend(flat, cluster(), CATALOG)
    sizes = {point.max_num_seqs: point.output_tokens_per_s for point in alike.batch_curve}
    for point in found.batch_curve[:3]:  # small batches, whose memory nobody shares
        assert point.output_tokens_per_s == pytest.approx(sizes[point.max_num_seqs], rel=0.02)


def test_pods_are_held_against_the_hits_that_were_simulated(service: tuple[Plan, Recommendation]):
    plan, found = service
    best, advice = parts(found)
    seen = Observation(
        requests=5000,
        requests_per_s=4,
        prompt_mean=3300,
        output_mean=60,
        prefix_hit_share=advice.planned.hit_share,
        pods=2,
    )
    told = expect(plan, cluster(), CATALOG, running_layout(best), workload(seen, plan))
    assert told is not None
    assert told.planned_hit_share == advice.planned.hit_share

    def verdict(hits: float) -> Verdict:
        observed = replace(seen, prefix_hit_share=hits)
        how = judge(plan, observed, replicas=2, off={}, hit_share=told.planned_hit_share)
        return how.verdict

    assert verdict(advice.planned.hit_share) is Verdict.AS_PLANNED
    assert verdict(advice.most_hit_share) is Verdict.LOAD_MOVED
    silent = workload(replace(seen, prefix_hit_share=None), plan)
    assert silent.prefixes == plan.workload.prefixes  # simulated, where nobody tells
    short = workload(replace(seen, prompt_mean=900, prefix_hit_share=None), plan)
    assert (short.prefixes, short.prefix_hit_share) == (None, 0.0)


def test_a_plan_for_a_router_says_that_a_service_is_none():
    _, found = asked(written({**SHARED, "router": "PrefixAware"}))
    assert any("needs a prefix-aware router, which a Service is not" in n for n in found.notes)
    _, advice = parts(found)
    assert advice.planned.router is Router.PREFIX_AWARE
    _, found = asked(written({**SHARED, "router": "SessionAffinity"}))
    assert any("GUIDE writes no such router" in note for note in found.notes)


def test_one_replica_is_alike_behind_all_routers():
    _, found = asked(written(SHARED, replicas=1, requestsPerSecond=1), gpus=1)
    _, advice = parts(found)
    alone = [replace(p, router=Router.ROUND_ROBIN) for p in advice.points if p.replicas == 1]
    assert len(alone) == len(Router)
    assert len(set(alone)) == 1
    assert not any("workload.prefixes.router" in note for note in found.notes)


def test_a_batch_has_no_router():
    _, found = asked(written(SHARED, offline={"requests": 400}))
    best, advice = parts(found)
    assert [point.router for point in advice.points] == [Router.ROUND_ROBIN]
    assert advice.planned.capacity_per_s is None
    assert best.job is not None


def test_replicas_may_follow_the_day():
    _, found = asked(written(SHARED, dayProfile={"low": 1, "mean": 2, "peak": 4}))
    assert found.scaling is not None
    assert found.scaling.limit_per_s > 0


def test_without_prefixes_nothing_is_said():
    _, found = asked(written(None))
    assert found.prefixes is None
    assert routers(found).rows == ()
    assert "prefixes" not in to_json(found)


def test_the_plan_of_the_documentation_is_one():
    text = (ROOT / "docs/prefixes.md").read_text(encoding="utf-8")
    workload = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["spec"]["workload"]
    load_ = WorkloadSpec.model_validate(workload).to_domain()
    assert load_.prefixes is not None
    assert load_.prefixes.turns == 5
    assert f"`mostHitShare`, {load_.prefix_hit_share:.0%} here".replace("%", " %") in text
