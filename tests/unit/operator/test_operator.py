"""The operator's pure rooms: status, decisions, what it keeps of the cluster, metrics, settings."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Inventory, Plan, Recommendation
from guide.errors import SpecError
from guide.manifests.render import render_files
from guide.search.recommend import recommend
from guide.spec import InferencePlan, parse_plan, resolve_plan
from guide_operator import reconcile, status
from guide_operator.cluster import ClusterState
from guide_operator.metrics import Metrics
from guide_operator.plan_metrics import METRICS, PLAN
from guide_operator.reconcile import Decision, Observed
from guide_operator.settings import Settings, from_environment
from hack import nodes as fake
from tests.stored_status import fits

ROOT = Path(__file__).resolve().parents[3]
CATALOG = load()
NODES = fake.nodes({"h100-sxm": 2, "a100-80": 1})
UID = "0b1c"
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"


def plan_object(**spec: Any) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
    value["metadata"] |= {"uid": UID, "generation": 3, "resourceVersion": "7"}
    value["spec"] |= spec
    return value


WRITTEN = parse_plan(plan_object())
PLAN_ASKED = resolve_plan(WRITTEN, CATALOG)
INVENTORY = read_inventory(NODES, [], CATALOG)
IMPOSSIBLE = parse_plan(plan_object(slo={"ttftP95Milliseconds": 1}))


@pytest.fixture(scope="module")
def found() -> Recommendation:
    return recommend(PLAN_ASKED, INVENTORY, CATALOG)


@pytest.fixture(scope="module")
def nothing() -> Recommendation:
    return recommend(resolve_plan(IMPOSSIBLE, CATALOG), INVENTORY, CATALOG)


def observed(
    status: dict[str, Any] | None = None, config_map: dict[str, Any] | None = None
) -> Observed:
    return Observed(uid=UID, generation=3, status=status or {}, config_map=config_map)


def decide(
    answer: Recommendation, state: Observed, now: str = NOW, plan: InferencePlan = WRITTEN
) -> Decision:
    return reconcile.decide(plan, answer, CATALOG, state, inputs="sha256:in", now=now)


def by_type(value: dict[str, Any] | None) -> dict[str, tuple[str, str]]:
    assert value is not None
    return {c["type"]: (c["status"], c["reason"]) for c in value["conditions"]}


# --- decisions -----------------------------------------------------------------------------------


def test_a_new_plan_gets_the_rendered_files_and_then_its_status(found: Recommendation):
    decision = decide(found, observed())
    (config_map,) = decision.objects
    assert config_map["data"] == render_files(WRITTEN, found)
    assert config_map["metadata"]["name"] == "chat-manifests"
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == UID
    assert by_type(decision.status) == {
        "Feasible": ("True", "Recommended"),
        "Ready": ("True", "Recommended"),
        "Reconciling": ("False", "Recommended"),
        "Stalled": ("False", "Recommended"),
    }
    assert decision.status is not None
    assert decision.status["observedGeneration"] == 3
    assert [event.reason for event in decision.events] == ["Recommended"]


def test_nothing_is_written_when_the_cluster_already_says_so(found: Recommendation):
    first = decide(found, observed())
    state = observed(first.status, first.objects[0])
    assert decide(found, state, LATER) == Decision()
    assert reconcile.settled(state, "sha256:in")
    assert reconcile.intact(WRITTEN, state)


def test_status_fits_the_schema_of_the_crd_and_stays_small(found: Recommendation):
    value = decide(found, observed()).status
    assert value is not None
    fits(value)
    assert len(json.dumps(value)) < 64 * 1024


def test_transition_times_move_only_with_the_status(found: Recommendation, nothing: Recommendation):
    first = decide(found, observed()).status
    assert first is not None
    second = decide(nothing, observed(first), LATER, IMPOSSIBLE).status
    assert second is not None
    times = {c["type"]: c["lastTransitionTime"] for c in second["conditions"]}
    assert times == {"Feasible": LATER, "Ready": LATER, "Stalled": LATER, "Reconciling": NOW}


def test_an_infeasible_plan_is_stalled_and_says_what_would_help(nothing: Recommendation):
    decision = decide(nothing, observed(), plan=IMPOSSIBLE)
    assert by_type(decision.status)["Ready"] == ("False", "NoFeasibleConfiguration")
    assert by_type(decision.status)["Stalled"] == ("True", "NoFeasibleConfiguration")
    assert by_type(decision.status)["Feasible"] == ("False", "NoFeasibleConfiguration")
    assert decision.status is not None
    assert "best" not in decision.status
    assert decision.status["rejectionCounts"]
    (event,) = decision.events
    assert event.type == "Warning"
    assert nothing.relaxations
    assert nothing.relaxations[0].field in event.message
    assert set(decision.objects[0]["data"]) == {"REVIEW.md"}


def test_a_changed_config_map_is_put_right(found: Recommendation):
    first = decide(found, observed())
    damaged = deepcopy(first.objects[0])
    damaged["data"]["service.yaml"] = "kind: Nothing\n"
    state = observed(first.status, damaged)
    assert reconcile.settled(state, "sha256:in")
    assert not reconcile.intact(WRITTEN, state)
    decision = decide(found, state, LATER)
    assert decision.objects == first.objects
    assert decision.status is None


def test_the_config_map_of_someone_else_is_left_alone(found: Recommendation):
    foreign = {"metadata": {"name": "chat-manifests"}, "data": {"mine": "yes"}}
    decision = decide(found, observed(config_map=foreign))
    assert decision.objects == ()
    assert by_type(decision.status)["Stalled"] == ("True", "NameTaken")


def test_the_config_map_of_a_deleted_namesake_is_waited_for(found: Recommendation):
    old = deepcopy(decide(found, observed()).objects[0])
    old["metadata"]["ownerReferences"][0]["uid"] = "before"
    assert reconcile.left_behind(observed(config_map=old))
    assert not reconcile.left_behind(observed(config_map=decide(found, observed()).objects[0]))


def test_a_bad_spec_keeps_the_last_good_result_and_is_told_once(found: Recommendation):
    good = decide(found, observed()).status
    refusal = reconcile.refuse("InvalidSpec", "Mend it.", observed(good), LATER)
    assert refusal.status is not None
    assert refusal.status["best"] == (good or {})["best"]
    assert by_type(refusal.status)["Stalled"] == ("True", "InvalidSpec")
    assert by_type(refusal.status)["Feasible"] == ("Unknown", "InvalidSpec")
    assert len(refusal.events) == 1
    again = reconcile.refuse("InvalidSpec", "Mend it.", observed(refusal.status), LATER)
    assert again == Decision(refused=True)
    assert not reconcile.settled(observed(refusal.status), "sha256:in")


def test_a_framework_without_an_image_is_a_bad_spec():
    value = plan_object(frameworks=["FastGen"])
    plan = parse_plan(value)
    answer = recommend(resolve_plan(plan, CATALOG), INVENTORY, CATALOG)
    assert answer.feasible
    decision = decide(answer, observed(), plan=plan)
    assert by_type(decision.status)["Stalled"] == ("True", "InvalidSpec")
    assert decision.objects == ()


# --- what the answer depends on -------------------------------------------------------------------


def digest(plan: InferencePlan, asked: Plan, inventory: Inventory) -> str:
    return reconcile.inputs_digest(plan, asked, inventory, CATALOG)


def test_the_digest_ignores_pools_that_the_plan_rules_out():
    only = parse_plan(plan_object(placement={"gpus": ["H100-SXM"]}))
    asked = resolve_plan(only, CATALOG)
    more = read_inventory(fake.nodes({"h100-sxm": 2, "a100-80": 4}), [], CATALOG)
    assert digest(only, asked, more) == digest(only, asked, INVENTORY)
    assert digest(WRITTEN, PLAN_ASKED, more) != digest(WRITTEN, PLAN_ASKED, INVENTORY)
    assert digest(only, asked, INVENTORY) != digest(WRITTEN, PLAN_ASKED, INVENTORY)


def test_heartbeats_and_discovery_timestamps_are_no_change():
    cluster = ClusterState(CATALOG)
    node = deepcopy(NODES[0])
    node["status"]["conditions"] = [
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": NOW}
    ]
    node["metadata"]["labels"]["nvidia.com/gfd.timestamp"] = "1"
    assert cluster.set_node("n", node)
    node["status"]["conditions"][0]["lastHeartbeatTime"] = LATER
    node["status"]["images"] = [{"names": ["x"]}]
    node["metadata"]["labels"]["nvidia.com/gfd.timestamp"] = "2"
    assert not cluster.set_node("n", node)
    node["status"]["conditions"][0]["status"] = "False"
    assert cluster.set_node("n", node)
    assert cluster.set_node("n", None)
    assert not cluster.set_node("n", None)


def pod(name: str, gpus: int, **labels: str) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus), "cpu": "4"}
    return {
        "metadata": {"name": name, "namespace": "ml", "labels": labels},
        "spec": {
            "nodeName": "h100-sxm-0000",
            "containers": [{"name": "c", "image": "i", "resources": {"limits": limits}}],
        },
        "status": {"phase": "Running"},
    }


def test_gpus_of_the_plans_own_pods_count_as_free():
    cluster = ClusterState(CATALOG)
    for node in NODES:
        cluster.set_node(node["metadata"]["name"], node)
    cluster.set_pod(("ml", "own"), pod("own", 2, **{"guide.dev/plan": "chat"}))
    cluster.set_pod(("ml", "other"), pod("other", 3))

    def free(name: str) -> int:
        inventory = cluster.inventory(PLAN_ASKED, "ml", name)
        return next(p.free_gpus for p in inventory.pools if p.name == "h100-sxm-x8")

    assert free("chat") == 16 - 3
    assert free("another") == 16 - 5


# --- metrics -------------------------------------------------------------------------------------


def exported(metrics: Metrics) -> dict[str, list[Any]]:
    text = openmetrics(metrics.registry).decode()
    families = text_string_to_metric_families(text.replace("# EOF\n", ""))
    return {family.name: family.samples for family in families}


def answered(answer: Recommendation, plan: InferencePlan = WRITTEN) -> dict[str, Any]:
    return {**plan_object(), "status": decide(answer, observed(), plan=plan).status}


def test_predictions_are_exported_and_vanish_with_their_plan(found: Recommendation):
    metrics = Metrics()
    metrics.plans.show(answered(found))
    assert found.best is not None
    samples = exported(metrics)
    ttft = {
        (s.labels["percentile"], s.labels["bound"]): s.value
        for s in samples["guide_predicted_ttft_seconds"]
    }
    predicted = found.best.predicted
    assert ttft["p95", "estimate"] == pytest.approx(predicted.ttft.p95_s, rel=1e-3)
    assert ttft["p95", "upper"] == pytest.approx(predicted.ttft_interval.upper, rel=1e-3)
    assert set(ttft) == {
        *((p, "estimate") for p in ("p50", "p95", "p99")),
        ("p95", "lower"),
        ("p95", "upper"),
    }
    (cost,) = samples["guide_plan_cost_usd_per_hour"]
    assert cost.value == pytest.approx(found.best.usd_per_h)
    assert cost.labels == {"namespace": "ml", "plan": "chat"}
    metrics.plans.forget(("ml", "chat"))
    assert not [s for family in exported(metrics).values() for s in family if "plan" in s.labels]


def test_an_infeasible_plan_exports_only_that(nothing: Recommendation):
    metrics = Metrics()
    metrics.plans.show(answered(nothing, IMPOSSIBLE))
    samples = exported(metrics)
    assert [s.value for s in samples["guide_plan_feasible"]] == [0]
    assert not samples["guide_predicted_ttft_seconds"]


def test_a_plan_that_became_invalid_exports_no_old_prediction(found: Recommendation):
    good = decide(found, observed()).status
    refusal = reconcile.refuse("InvalidSpec", "Mend it.", observed(good), LATER)
    metrics = Metrics()
    metrics.plans.show({**plan_object(), "status": refusal.status})
    assert not exported(metrics)["guide_plan_feasible"]


def test_the_inventory_is_exported_by_state():
    metrics = Metrics()
    metrics.plans.show_inventory(INVENTORY)
    gpus = {
        (s.labels["pool"], s.labels["state"]): s.value
        for s in exported(metrics)["guide_inventory_gpus"]
    }
    assert gpus["h100-sxm-x8", "free"] == 16
    assert gpus["h100-sxm-x8", "used"] == 0


@pytest.mark.parametrize("row", METRICS, ids=lambda row: row.name)
def test_names_have_prefix_and_base_unit(row: Any):
    assert row.name.startswith("guide_")
    assert row.labels[:2] == PLAN
    assert "quantile" not in row.labels
    assert not any(unit in row.name for unit in ("_ms", "_milli", "_minutes", "percent"))


# --- settings ------------------------------------------------------------------------------------


def test_settings_come_from_the_environment():
    found = from_environment({"GUIDE_WORKERS": "3", "GUIDE_SERVICE_HOST": "10.0.0.1", "PATH": "x"})
    assert found == replace_settings(workers=3)


def replace_settings(**changes: Any) -> Settings:
    return Settings().model_copy(update=changes)


@pytest.mark.parametrize(("name", "value"), [("GUIDE_WORKERS", "0"), ("GUIDE_RESYNC_S", "soon")])
def test_a_wrong_setting_is_one_sentence(name: str, value: str):
    with pytest.raises(SpecError, match=f"^{name}={value}: "):
        from_environment({name: value})


def test_conditions_of_one_type_replace_each_other(found: Recommendation):
    stamp = status.Stamp(generation=1, now=NOW, previous={})
    more = status.Condition(type="Ready", status=False, reason="Waiting", message="m")
    value = status.answered(found, "sha256:x", stamp, more=[more])
    assert by_type(value)["Ready"] == ("False", "Waiting")
