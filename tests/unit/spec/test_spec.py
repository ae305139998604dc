"""Plans as users write them: what is accepted, and the one sentence for what is not."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.domain import Preference, Tolerance
from guide.errors import SpecError
from guide.report.status import to_status
from guide.spec import (
    InferencePlan,
    load_plan,
    parse_plan,
    read_document,
    resolve_model,
    resolve_plan,
    write_document,
)
from tests.broken_plans import BROKEN, broken
from tests.good_plan import ASKED, PLAN, changed

CATALOG = load()


def with_spec(**fields: Any) -> InferencePlan:
    plan = copy.deepcopy(PLAN)
    plan["spec"] |= fields
    return parse_plan(plan)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plan_gets_one_clear_sentence(name: str):
    with pytest.raises(SpecError) as error:
        load_plan(yaml.safe_dump(broken(name)))
    sentence = str(error.value)
    assert BROKEN[name][2] in sentence
    assert "\n" not in sentence
    assert error.value.field is not None
    assert error.value.field.startswith("spec")


@pytest.mark.parametrize("name", ASKED)
def test_a_plan_that_states_no_more_than_it_must_is_read(name: str):
    assert load_plan(yaml.safe_dump(changed(*ASKED[name]))).metadata.name == "chat"


def test_units_become_base_units():
    plan = with_spec(
        workload={
            "inputTokens": {"mean": 1024, "p95": 3000},
            "outputTokens": {"mean": 256},
            "requestsPerSecond": "2.5",
            "arrivalCV": "1.5",
            "prefixCacheHitPercent": 30,
        },
        slo={"ttftP95Milliseconds": 500, "e2eP95Milliseconds": 20000},
        budget={"maxHourlyUSD": "12.50", "maxGPUs": 16},
        preference="Latency",
        precisionTolerance="FP8",
        optimizations={"h2oKeepPercent": 20},
        placement={"nodeSelector": {"b": "2", "a": "1"}, "gpus": ["L4"]},
    )
    asked = resolve_plan(plan, CATALOG)
    assert asked.workload.requests_per_s == 2.5
    assert asked.workload.arrival_cv == 1.5
    assert asked.workload.prefix_hit_share == pytest.approx(0.3)
    assert asked.workload.prompt.p95_tokens == 3000
    assert asked.slo.ttft_p95_s == pytest.approx(0.5)
    assert asked.slo.tpot_p95_s is None
    assert asked.budget.max_usd_per_h == 12.5
    assert asked.preference is Preference.LATENCY
    assert asked.tolerance is Tolerance.FP8
    assert asked.switches.h2o_keep_share == pytest.approx(0.2)
    assert asked.node_selector == (("a", "1"), ("b", "2"))


def test_an_integer_quantity_and_its_text_are_the_same_plan():
    assert resolve_plan(load_plan(yaml.safe_dump(PLAN)), CATALOG) == resolve_plan(
        with_spec(workload={**PLAN["spec"]["workload"], "requestsPerSecond": "8"}), CATALOG
    )


def test_a_plan_read_back_from_a_cluster_is_accepted():
    plan = copy.deepcopy(PLAN)
    plan["metadata"] |= {"uid": "x", "generation": 2, "managedFields": [{}], "namespace": "ml"}
    plan["status"] = {"conditions": []}
    assert parse_plan(plan).metadata.namespace == "ml"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the plan must be one YAML mapping, but it is empty"),
        ("- a", "the plan must be one YAML mapping, but it is a list"),
        ("just words", "it is a str"),
        ("a: &x [1]\nb: *x", "refers to one value twice by a YAML alias (the value at line 1)"),
        ("a: 1\n---\nb: 1", "the plan holds several YAML documents: give one per file"),
        ("a: 1\na: 2", "the plan states a twice (again at line 2): keep one of them"),
        ("a: {", "the plan is not valid YAML at line 2, column 1"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: '\x00'", "the plan is not valid YAML"),
        ("[" * 100_000, "the plan is not valid YAML at line 1, column 1001: exceeded maximum"),
        ("[" * 70 + "]" * 70, "the plan is nested deeper than 64 levels"),
        ("a: " + "9" * 6000, "the plan is not valid YAML"),
        ("#" * 2_000_000, "the plan is larger than 1024 KiB: is it the right file?"),
        ("apiVersion: v1\nkind: Pod", "apiVersion is 'v1', but a plan has apiVersion: guide.dev/v"),
        (
            "apiVersion: guide.dev/v1alpha1\nkind: Plan",
            "kind is 'Plan', but a plan has kind: Infer",
        ),
    ],
)
def test_text_that_is_no_plan_gets_one_clear_sentence(text: str, sentence: str):
    with pytest.raises(SpecError) as error:
        load_plan(text)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_model_names_the_nearest():
    plan = with_spec(model={"name": "meta-llama/Llama-3.1-8B-Instruc"})
    with pytest.raises(SpecError, match=r"did you mean meta-llama/Llama-3\.1-8B-Instruct"):
        resolve_model(plan.spec, CATALOG)


def test_an_unknown_gpu_names_the_catalogue_name_behind_an_alias():
    plan = with_spec(placement={"gpus": ["L4", "NVIDIA-H100-80GB-HBM"]})
    with pytest.raises(SpecError, match=r"spec\.placement\.gpus\[1\].*did you mean H100-SXM\?"):
        resolve_plan(plan, CATALOG)


def test_a_config_that_was_not_read_is_asked_for():
    reference = {"configMapKeyRef": {"name": "chat-model", "key": "config.json"}}
    plan = with_spec(model={"name": "my/model", "configFrom": reference})
    with pytest.raises(SpecError, match=r"key config\.json of ConfigMap chat-model"):
        resolve_model(plan.spec, CATALOG)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, "{}", "x" * 2_000_000])
def test_a_config_that_is_none_gets_one_clear_sentence(text: str):
    plan = with_spec(model={"name": "my/model"})
    with pytest.raises(SpecError) as error:
        resolve_model(plan.spec, CATALOG, text)
    assert "config.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_given_config_wins_over_the_catalogue():
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "torch_dtype": "bfloat16",
    }
    model = resolve_model(with_spec().spec, CATALOG, json.dumps(config))
    assert model.layers == 16
    assert model.name == "meta-llama/Llama-3.1-8B-Instruct"


def test_documents_survive_a_round_trip_in_sorted_block_style():
    value = {"b": ["on", "1", 'q"', "two\nlines\n"], "a": {"z": None, "y": 1}}
    text = write_document(value)
    assert text.index("a:") < text.index("b:")
    assert "|\n" in text
    assert read_document(text, "it") == value


def test_the_status_schema_describes_what_the_report_writes():
    from tests.handmade import INFEASIBLE, RECOMMENDATION
    from tests.stored_status import fits

    for recommendation in (RECOMMENDATION, INFEASIBLE):
        fits(to_status(recommendation))
