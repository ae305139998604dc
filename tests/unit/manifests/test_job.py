"""An offline batch as Jobs: what their pods run, when one Job is another, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Switches
from guide.errors import SpecError
from guide.frameworks.vllm_flags import BATCH_FLAGS, FLAGS
from guide.manifests.benchmark import benchmarks
from guide.manifests.render import build_objects, formats, render_files
from guide.search.recommend import recommend
from guide.spec import parse_plan, resolve_plan
from hack import nodes as fake
from tests.handmade import GROUP
from tests.manifest_cases import BATCHES, CASES, FASTGEN, Case
from tests.rendered import edit, render_into, rules, run


def objects(case: Case) -> list[dict[str, Any]]:
    best = case.recommendation.best
    assert best is not None
    return [value for _, value in build_objects(case.plan, best)]


def job(case: Case) -> dict[str, Any]:
    return next(value for value in objects(case) if value["kind"] == "Job")


def changed(name: str = "batch", **spec: Any) -> Case:
    case = BATCHES[name]
    return replace(case, spec={**case.spec, **spec})


def flags(value: dict[str, Any]) -> dict[str, str]:
    (container,) = value["spec"]["template"]["spec"]["containers"]
    return dict(arg.partition("=")[::2] for arg in container["args"])


def test_a_pod_works_through_its_own_part_at_the_whole_operating_point():
    found = job(BATCHES["batch"])
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["vllm", "run-batch"]
    given = flags(found)
    assert given["--input-file"] == "/batch/requests-0-$(JOB_COMPLETION_INDEX).jsonl"
    assert given["--output-file"] == "/batch/answers-0-$(JOB_COMPLETION_INDEX).jsonl"
    assert int(given["--max-num-seqs"]) == GROUP.limits.max_num_seqs
    assert int(given["--tensor-parallel-size"]) == GROUP.tp
    assert flags_of_a_server().items() <= given.items()
    assert {"mountPath": "/batch", "name": "batch"} in container["volumeMounts"]
    claim = {"claimName": "nightly-batch"}
    assert {"name": "batch", "persistentVolumeClaim": claim} in pod["volumes"]
    assert pod["restartPolicy"] == "Never"
    assert not {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle"} & container.keys()
    assert found["spec"]["completions"] == found["spec"]["parallelism"] == GROUP.replicas
    assert "ttlSecondsAfterFinished" not in found["spec"]


def flags_of_a_server() -> dict[str, str]:
    deployment = next(v for v in objects(CASES["vllm"]) if v["kind"] == "Deployment")
    given = flags(deployment)
    return {key: text for key, text in given.items() if key.startswith("--") and key != "--host"}


def test_nothing_stands_in_front_of_a_batch():
    assert {value["kind"] for value in objects(BATCHES["batch"])} == {"Job"}
    kinds = {value["kind"] for value in objects(BATCHES["batch-dra"])}
    assert kinds == {"Job", "ResourceClaimTemplate"}


def test_groups_read_files_of_their_own_and_say_how_many_requests():
    one, two = (v for v in objects(BATCHES["batch-two-pools"]) if v["kind"] == "Job")
    assert flags(one)["--input-file"] != flags(two)["--input-file"]
    told = [v["metadata"]["annotations"]["guide.dev/to-do"] for v in (one, two)]
    assert "requests-0-0.jsonl to requests-0-11.jsonl, up to 75 requests" in told[0]
    assert "requests-1-0.jsonl to requests-1-0.jsonl, up to 100 requests" in told[1]


def test_the_review_says_how_to_split_the_requests():
    case = BATCHES["batch-two-pools"]
    review = render_files(case.plan, case.recommendation)["REVIEW.md"]
    section = review[review.index("## Requests of the batch") :]
    for value in objects(case):
        if value["kind"] == "Job":
            assert value["metadata"]["name"] in section
            assert value["metadata"]["annotations"]["guide.dev/to-do"] in section
    assert '("requests-0-" (NR - 1) % 12 ".jsonl")' in section
    assert '("requests-1-" (NR - 1) % 1 ".jsonl")' in section


def test_names_leave_room_for_the_index_of_a_pod():
    for value in objects(BATCHES["batch-two-pools"]):
        if value["kind"] == "Job":
            last = value["spec"]["completions"] - 1
            assert len(f"{value['metadata']['name']}-{last}") <= 63


WORKLOAD = BATCHES["batch"].spec["workload"]


@pytest.mark.parametrize(
    "case",
    [
        changed(workload={**WORKLOAD, "offline": {"requests": 2000}}),
        changed(deployment={"image": "vllm/vllm-openai:v0.32.0"}),
        replace(BATCHES["batch"], groups=(replace(GROUP, replicas=2),)),
    ],
)
def test_other_content_is_another_job(case: Case):
    assert job(case)["metadata"]["name"] != job(BATCHES["batch"])["metadata"]["name"]


def test_a_later_deadline_is_the_same_job():
    late = {**WORKLOAD, "offline": {"requests": 1000, "completeWithin": "9h"}}
    assert job(changed(workload=late)) == job(BATCHES["batch"])


@pytest.mark.parametrize("flag", ["--root-path", "--uvicorn-log-level", "--host"])
def test_run_batch_has_no_flag_of_the_server(flag: str):
    assert flag in FLAGS
    assert flag not in BATCH_FLAGS


@pytest.mark.parametrize(
    ("deployment", "said"),
    [
        ({"extraArgs": ["--root-path=/x"]}, "--root-path is a flag of vllm serve"),
        ({"image": "vllm/vllm-openai:v0.8.5"}, "known since vLLM 0.9.1"),
        (
            {"image": "vllm/vllm-openai:v0.30.0", "extraArgs": ["--chat-template=t"]},
            "known since vLLM 0.33.0",
        ),
        ({"image": "reg.example/vllm:mine", "extraArgs": ["--root-path=/x"]}, "vllm serve"),
    ],
)
def test_what_run_batch_does_not_know_is_refused(deployment: dict[str, Any], said: str):
    with pytest.raises(SpecError, match=said):
        objects(changed(deployment=deployment))


def test_a_framework_without_a_batch_runner_says_so():
    case = replace(BATCHES["batch"], groups=(FASTGEN,))
    with pytest.raises(SpecError, match="FastGen has no program that answers a file"):
        objects(case)


@pytest.mark.parametrize("form", sorted({*formats()} - {"kustomize"}))
def test_formats_of_servers_refuse_a_batch(form: str):
    case = BATCHES["batch"]
    with pytest.raises(SpecError, match="is a batch, which is a Job"):
        render_files(case.plan, case.recommendation, form=form)


def test_a_batch_has_no_benchmark():
    best = BATCHES["batch"].recommendation.best
    assert best is not None
    with pytest.raises(SpecError, match=r"a batch .* has none"):
        benchmarks(BATCHES["batch"].plan, best, "kustomize")


SWITCHED = [
    (Switches(h2o_keep_share=0.2), "h2oKeepPercent is 20, and vLLM has no H2O"),
    (Switches(flash_attention=False), "flashAttention is false, and vLLM has no switch"),
]


@pytest.mark.parametrize("form", sorted(formats()))
@pytest.mark.parametrize(("switches", "said"), SWITCHED)
def test_a_what_if_is_not_rendered(form: str, switches: Switches, said: str):
    case = replace(CASES["vllm"], groups=(replace(GROUP, switches=switches),))
    with pytest.raises(SpecError, match=said):
        render_files(case.plan, case.recommendation, form=form)
    with pytest.raises(SpecError, match=said):
        objects(replace(BATCHES["batch"], groups=case.groups))


def test_the_answer_to_a_what_if_says_that_it_is_one():
    catalog = load()
    spec = {**CASES["vllm"].plan.spec.model_dump(by_alias=True, exclude_none=True, mode="json")}
    spec["optimizations"] = {"h2oKeepPercent": 20}
    spec["frameworks"] = ["vLLM"]
    written = parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "what-if", "namespace": "ml"},
            "spec": json.loads(json.dumps(spec)),
        }
    )
    inventory = read_inventory(fake.nodes({"h100-sxm": 1}), [], catalog)
    found = recommend(resolve_plan(written, catalog), inventory, catalog)
    assert found.best is not None
    assert found.best.candidate.groups[0].switches.h2o_keep_share == 0.2
    assert "vLLM has no H2O" in found.notes[0]


@pytest.mark.parametrize("percent", [100, 20])
def test_check_names_a_what_if(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percent: int):
    render_into(tmp_path, monkeypatch)
    before = rules(run("check", "out"))
    edit("plan.yaml", "spec:", f"spec:\n  optimizations: {{h2oKeepPercent: {percent}}}")
    result = run("check", "out", "-f", "plan.yaml")
    assert "WhatIf" not in before
    assert ("WhatIf" in rules(result)) == (percent < 100), result.output
    assert ("vLLM has no H2O" in result.output) == (percent < 100)
