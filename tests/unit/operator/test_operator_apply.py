"""Mode Apply: what stays, what is replaced, what an autoscaler keeps, how far a rollout is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Reason, Recommendation
from guide.search.assess import Assessment, Running, assess
from guide.search.bounds import Broken
from guide.search.recommend import recommend
from guide.spec import parse_plan, resolve_plan
from guide_operator import layouts as apply
from hack import nodes as fake
from tests.good_plan import PLAN

CATALOG = load()
OBJECT: dict[str, Any] = {**PLAN, "metadata": {"name": "chat", "namespace": "ml"}}
WRITTEN = parse_plan(
    {
        **OBJECT,
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "workload": {
                "inputTokens": {"mean": 512},
                "outputTokens": {"mean": 128},
                "requestsPerSecond": 4,
            },
            "budget": {"billing": "FreeGPUs"},  # or one node's bill holds six replicas as well
        },
    }
)
ASKED = resolve_plan(WRITTEN, CATALOG)
INVENTORY = read_inventory(fake.nodes({"h100-sxm": 1, "a100-80": 1}), [], CATALOG)
THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"


@pytest.fixture(scope="module")
def found() -> Recommendation:
    return recommend(ASKED, INVENTORY, CATALOG)


def judged(layout: tuple[Running, ...], requests_per_s: float = 4) -> Assessment | None:
    workload = replace(ASKED.workload, requests_per_s=requests_per_s)
    return assess(replace(ASKED, workload=workload), INVENTORY, CATALOG, layout)


def layout_of(found: Recommendation, replicas: int | None = None) -> tuple[Running, ...]:
    assert found.best is not None
    recorded = apply.running({"applied": apply.record(found.best, None, 1)})
    return tuple(replace(one, replicas=replicas or one.replicas) for one in recorded)


def dearer(found: Recommendation) -> Assessment:
    """A running layout of six times the replicas that the plan needs."""
    assessment = judged(layout_of(found, 6))
    assert assessment is not None
    assert assessment.broken is None
    return assessment


def test_what_was_recorded_is_assessed_as_it_was_recommended(found: Recommendation):
    assessment = judged(layout_of(found))
    assert assessment is not None
    assert assessment.broken is None
    assert found.best is not None
    assert assessment.evaluation == replace(found.best, headroom=None)  # of the best alone


def test_a_layout_that_breaks_a_limit_is_found_broken(found: Recommendation):
    assessment = judged(layout_of(found), requests_per_s=500)
    assert assessment is None or assessment.broken is not None


def test_a_layout_on_a_pool_that_is_gone_is_no_candidate(found: Recommendation):
    (one,) = layout_of(found)
    gone = replace(one, key=one.key._replace(pool="no-such-pool"))
    assert judged((gone,)) is None


def test_nothing_runs_so_the_recommendation_does(found: Recommendation):
    chosen = apply.choose(found, None, None, 0, NOW)
    assert chosen.recommendation is found
    assert chosen.better.status is False


def test_a_running_layout_stays_and_the_saving_is_told(found: Recommendation):
    chosen = apply.choose(found, dearer(found), None, 0, NOW)
    assert chosen.recommendation.best == dearer(found).evaluation
    assert chosen.recommendation.alternatives[0] == found.best
    assert chosen.better.status is True
    assert "per hour" in chosen.better.message
    assert chosen.better_since == NOW


def test_it_is_replaced_once_the_saving_has_lasted(found: Recommendation):
    waiting = apply.choose(found, dearer(found), THEN, apply.PATIENCE_S - 1, NOW)
    assert waiting.recommendation.best != found.best
    assert waiting.better_since == THEN
    chosen = apply.choose(found, dearer(found), THEN, apply.PATIENCE_S, NOW)
    assert chosen.recommendation.best == found.best


def test_a_clock_that_was_set_back_begins_the_wait_anew(found: Recommendation):
    kept = apply.choose(found, dearer(found), NOW, -86400.0, THEN)
    assert kept.better_since == THEN
    again = apply.choose(found, dearer(found), kept.better_since, 0.0, THEN)
    assert again == kept  # and then nothing moves
    after = apply.choose(found, dearer(found), THEN, apply.PATIENCE_S, NOW)
    assert after.recommendation is found


def test_a_broken_layout_is_replaced_at_once(found: Recommendation):
    late = Broken(Reason.MISSES_TTFT, "too late", 0.5)
    assessment = replace(dearer(found), broken=late)
    assert apply.choose(found, assessment, None, 0, NOW).recommendation is found


def test_a_layout_that_still_holds_stays_when_nothing_else_does(found: Recommendation):
    nothing = replace(found, best=None, alternatives=())
    chosen = apply.choose(nothing, dearer(found), None, 0, NOW)
    assert chosen.recommendation.best == dearer(found).evaluation


def deployment(**status: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "chat-0", "generation": 2},
        "spec": {"replicas": 3},
        "status": {"observedGeneration": 2, **status},
    }


AVAILABLE = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (AVAILABLE, None),
        ({**AVAILABLE, "observedGeneration": 1}, "RolloutInProgress"),
        ({**AVAILABLE, "availableReplicas": 2}, "RolloutInProgress"),
        ({**AVAILABLE, "replicas": 4}, "RolloutInProgress"),
        ({}, "RolloutInProgress"),
        (
            {"conditions": [{"type": "Progressing", "status": "False", "message": "late"}]},
            "RolloutStalled",
        ),
    ],
)
def test_a_rollout_is_over_when_all_new_replicas_are_available(
    status: dict[str, Any], reason: str | None
):
    conditions = apply.rollout([deployment(**status)])
    assert {c.reason for c in conditions} == ({reason} if reason else set())


def objects(found: Recommendation, live: dict[str, Any], scaled: frozenset[str]) -> dict[str, Any]:
    assert found.best is not None
    wanted = apply.wanted(WRITTEN, found.best, "u", live, scaled)
    assert wanted[-1]["kind"] == "Deployment"
    assert all(o["metadata"]["ownerReferences"][0]["uid"] == "u" for o in wanted)
    return wanted[-1]


def test_an_autoscaler_keeps_the_replicas(found: Recommendation):
    target = {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "chat-0"}}}
    scaled = apply.scaled_deployments([target])
    live = {"metadata": {"managedFields": []}, "spec": {"replicas": 7}}
    assert objects(found, {}, scaled)["spec"]["replicas"] == 1  # the first apply sets them
    assert objects(found, {"chat-0": live}, scaled)["spec"]["replicas"] == 7
    owned = {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    live["metadata"]["managedFields"] = [owned]
    assert "replicas" not in objects(found, {"chat-0": live}, scaled)["spec"]


def test_only_what_the_plan_owns_is_left_over():
    def item(name: str, uid: str) -> dict[str, Any]:
        return {"kind": "Service", "metadata": {"name": name, "ownerReferences": [{"uid": uid}]}}

    wanted = [{"kind": "Service", "metadata": {"name": "chat"}}]
    found = [item("chat", "u"), item("chat-group-1", "u"), item("chat-other", "someone")]
    assert [i["metadata"]["name"] for i in apply.leftovers(found, wanted, "u")] == ["chat-group-1"]
