"""The KRM function: plans among resources become manifests, everything else stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from guide.cli.app import app
from guide.errors import SpecError
from tests import toy
from tests.llama_config import LLAMA
from tests.rendered import H100, PLAN

AT = {"internal.config.kubernetes.io/path": "chat/plan.yaml"}
OTHER = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}}


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def plan(**spec: Any) -> dict[str, Any]:
    value = yaml.safe_load(PLAN)
    value["metadata"]["annotations"] = dict(AT)
    value["spec"] |= spec
    return value


def call(items: list[Any], config: Any = None, code: int = 0) -> dict[str, Any]:
    value = {"apiVersion": "config.kubernetes.io/v1", "kind": "ResourceList", "items": items}
    if config:
        value["functionConfig"] = config
    result = CliRunner().invoke(app, ["fn"], input=yaml.safe_dump(value))
    assert result.exit_code == code, result.output
    return yaml.safe_load(result.stdout)


def kinds(found: dict[str, Any]) -> list[str]:
    return [item["kind"] for item in found["items"]]


def test_a_plan_among_the_items_gets_its_manifests_beside_it():
    found = call([OTHER, *H100, plan()])
    assert kinds(found) == [
        "Secret", *["Node"] * len(H100), "InferencePlan",
        "Deployment", "PodDisruptionBudget", "Service",
    ]  # fmt: skip
    paths = [i["metadata"]["annotations"][next(iter(AT))] for i in found["items"][-3:]]
    names = ("deployment-0", "poddisruptionbudget", "service")
    assert paths == [f"chat/{name}.yaml" for name in names]
    assert [result["severity"] for result in found["results"]] == ["info"]


def test_running_twice_changes_nothing():
    once = call([OTHER, *H100, plan()])
    assert call(once["items"])["items"] == once["items"]


def test_objects_of_an_earlier_run_are_replaced():
    once = call([*H100, plan()])
    more = [plan(workload={**plan()["spec"]["workload"], "requestsPerSecond": 80})]
    again = call([i for i in once["items"] if i["kind"] != "InferencePlan"] + more)
    assert kinds(again).count("Deployment") == 1
    (before,), (after,) = (
        [i["spec"]["replicas"] for i in each["items"] if i["kind"] == "Deployment"]
        for each in (once, again)
    )
    assert after > before


def test_the_function_config_may_be_the_plan():
    found = call(list(H100), config=plan())
    assert {"Deployment", "Service"} < set(kinds(found))
    assert found["functionConfig"]["kind"] == "InferencePlan"


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([*H100], "no InferencePlan"),
        ([plan()], "no cluster to plan for"),
        ([*H100, plan(slo={"ttftP95Milliseconds": 1})], "guide plan"),
        ([*H100, plan(model={"name": "nobody/knows"})], "not in the catalogue"),
        ([*H100, plan(colour="blue")], "colour"),
    ],
)
def test_what_cannot_be_done_is_a_result_and_exit_1(items: list[Any], sentence: str):
    found = call(items, code=1)
    (result,) = found["results"]
    assert result["severity"] == "error"
    assert sentence in result["message"]
    assert found["items"] == items


def test_what_is_no_resource_list_is_bad_input():
    result = CliRunner().invoke(app, ["fn"], input="kind: List\n")
    assert isinstance(result.exception, SpecError)


def test_json_in_gives_json_out():
    value = {"kind": "ResourceList", "items": [*H100, plan()]}
    result = CliRunner().invoke(app, ["fn"], input=json.dumps(value))
    assert json.loads(result.stdout)["kind"] == "ResourceList"


def test_a_model_comes_from_a_config_map_with_the_files_beside_it():
    reference = {"configMapKeyRef": {"name": "own", "key": "config.json"}}
    own = plan(model={"name": "own/model", "configFrom": reference})
    beside = {"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    data = {"config.json": json.dumps(LLAMA), "hf_quant_config.json": json.dumps(beside)}
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}, "data": data}
    info = call([held, *H100, own])["results"][0]["message"]
    assert "own/model" in info
    assert "fp8" in info.lower()
