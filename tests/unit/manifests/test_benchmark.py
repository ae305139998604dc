"""The Job that `guide render --with-benchmark` adds, and that it stays out of the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.errors import SpecError
from guide.manifests.benchmark import LASTS_S, benchmarks
from guide.manifests.render import build_objects
from guide.measured.bench_file import Setup
from guide.measured.sources import runs_of
from tests.manifest_cases import CASES, Case
from tests.rendered import edit, render_into, rules, run


def jobs(case: Case) -> list[dict[str, Any]]:
    best = case.recommendation.best
    assert best is not None
    return [value for _, value in benchmarks(case.plan, best, "kustomize")]


def flags(job: dict[str, Any]) -> dict[str, str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(arg.partition("=")[::2] for arg in container["args"])


def test_it_asks_the_service_of_the_plan_for_the_planned_load():
    (job,) = jobs(CASES["vllm"])
    given, load = flags(job), CASES["vllm"].plan.spec.workload.to_domain()
    assert given["--base-url"] == "http://chat.ml.svc:80"
    assert float(given["--request-rate"]) == load.requests_per_s
    assert int(given["--num-prompts"]) == LASTS_S * (load.requests_per_s or 0)
    assert int(given["--random-input-len"]) == load.prompt.mean_tokens
    assert int(given["--random-output-len"]) == load.output.mean_tokens
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_a_closed_loop_keeps_its_users():
    spec = {"workload": {**CASES["vllm"].plan.spec.workload.model_dump(by_alias=True)}}
    spec["workload"] |= {"requestsPerSecond": None, "concurrency": 40}
    (job,) = jobs(replace(CASES["vllm"], spec=spec))
    assert flags(job)["--max-concurrency"] == "40"
    assert "--request-rate" not in flags(job)


def test_services_with_weights_are_asked_each_for_its_share():
    given = [flags(job) for job in jobs(CASES["two-pools-weighted"])]
    rates = [float(one["--request-rate"]) for one in given]
    assert rates[0] == pytest.approx(9 * rates[1])
    assert len({one["--base-url"] for one in given}) == 2


@pytest.mark.parametrize("name", CASES)
def test_no_service_and_no_monitor_selects_its_pods(name: str):
    best = CASES[name].recommendation.best
    assert best is not None
    for job in jobs(CASES[name]):
        assert len(job["metadata"]["name"]) <= 63
        labels = job["spec"]["template"]["metadata"]["labels"]
        for _, value in build_objects(CASES[name].plan, best):
            spec = value.get("spec", {})
            selector = spec.get("selector", {})
            selector = selector.get("matchLabels", selector)
            assert not selector or not selector.items() <= labels.items()


def test_sglang_is_asked_by_its_own_benchmark():
    case = CASES["sglang"]
    (job,) = jobs(case)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "-m", "sglang.bench_serving"]
    assert container["image"].startswith("lmsysorg/sglang:")
    given, load = flags(job), case.plan.spec.workload.to_domain()
    assert given["--base-url"] == "http://chat.ml.svc:80"
    assert float(given["--request-rate"]) == load.requests_per_s
    assert int(given["--num-prompts"]) == LASTS_S * (load.requests_per_s or 0)
    assert int(given["--random-input-len"]) == load.prompt.mean_tokens
    assert given["--random-range-ratio"] == "1"  # by itself it would draw from 1 to that


@pytest.mark.parametrize("more", [{"prefixCacheHitPercent": 25}, {"arrivalCV": 2}])
def test_a_load_of_sglang_that_is_not_plain(more: dict[str, int]):
    workload = CASES["sglang"].plan.spec.workload.model_dump(by_alias=True, exclude_none=True)
    case = replace(CASES["sglang"], spec={"workload": {**workload, **more}})
    if "arrivalCV" in more:
        with pytest.raises(SpecError, match="Poisson arrivals alone"):
            jobs(case)
        return
    given = flags(jobs(case)[0])
    assert given["--dataset-name"] == "generated-shared-prefix"
    assert 3 * int(given["--gsp-system-prompt-len"]) == int(given["--gsp-question-len"])
    assert given["--gsp-prompts-per-group"] == given["--num-prompts"]


def with_prefixes(name: str, **more: int) -> Case:
    """Its plan with 7 groups of prompts."""
    workload = CASES[name].plan.spec.workload.model_dump(by_alias=True, exclude_none=True)
    prefixes = {"groups": 7, "sharedTokens": 500, **more}
    return replace(CASES[name], spec={"workload": {**workload, "prefixes": prefixes}})


def test_groups_of_prompts_are_sent_as_they_are():
    """So that the router decides what is found, as in the load of the plan."""
    (job,) = jobs(with_prefixes("vllm"))
    given = flags(job)
    assert given["--dataset-name"] == "prefix_repetition"
    assert given["--prefix-repetition-num-prefixes"] == "7"
    assert given["--prefix-repetition-prefix-len"] == "500"
    (job,) = jobs(with_prefixes("sglang"))
    given = flags(job)
    assert given["--gsp-num-groups"] == "7"
    assert given["--gsp-system-prompt-len"] == "500"
    asked = int(given["--num-prompts"])
    assert asked <= 7 * int(given["--gsp-prompts-per-group"]) < asked + 7


def test_conversations_are_sent_by_no_benchmark():
    with pytest.raises(SpecError, match="no benchmark of a framework sends conversations"):
        jobs(with_prefixes("vllm", turns=2))


def test_a_quantised_checkpoint_is_asked_by_the_name_of_the_plan():
    """Servers that take an alias serve it under the name that clients know."""
    case = CASES["vllm"]
    best = case.recommendation.best
    assert best is not None
    (one,) = best.groups
    other = replace(one.group, model=replace(one.group.model, name="maker/8b-awq"))
    quantised = replace(best, groups=(replace(one, group=other),))
    ((_, job),) = benchmarks(case.plan, quantised, "kustomize")
    assert flags(job)["--served-model-name"] == case.plan.spec.model.name


def test_fastgen_serves_the_checkpoint_by_its_own_name():
    (job,) = jobs(CASES["fastgen"])
    assert flags(job)["--served-model-name"] == CASES["fastgen"].groups[0].model.name


def test_formats_without_its_service_are_refused():
    best = CASES["vllm"].recommendation.best
    assert best is not None
    with pytest.raises(SpecError, match="--with-benchmark works with"):
        benchmarks(CASES["vllm"].plan, best, "helm-values")


def test_a_folder_holds_it_and_is_checked_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    render_into(tmp_path, monkeypatch)
    asked = ("-f", "plan.yaml", "--nodes", "nodes.yaml")
    assert run("render", *asked, "--out", "out", "--with-benchmark").exit_code == 0
    kustomization = yaml.safe_load(Path("out/kustomization.yaml").read_text())
    assert "benchmark.yaml" not in kustomization["resources"]
    assert run("check", "out").exit_code == 0
    assert run("diff", "out", *asked).exit_code == 0
    edit("out/benchmark.yaml", "backoffLimit: 0", "backoffLimit: 6")
    assert rules(run("check", "out"))
    assert run("render", *asked, "--out", "out2").exit_code == 0
    assert not Path("out2/benchmark.yaml").exists()


def test_the_last_line_of_its_log_is_what_calibrate_reads(tmp_path: Path):
    """Only that the flags ask for the file which `guide calibrate` takes, in the log."""
    (job,) = jobs(CASES["vllm"])
    assert flags(job).keys() >= {"--save-result"}
    assert flags(job)["--result-dir"] + "/" + flags(job)["--result-filename"] == "/dev/stdout"
    line = (
        '{"date": "20261125-101500", "model_id": "meta-llama/Llama-3.1-8B-Instruct",'
        ' "num_prompts": 7200, "completed": 7200, "request_rate": 2.0, "burstiness": 1.0,'
        ' "max_concurrency": null, "duration": 3600, "total_input_tokens": 7372800,'
        ' "total_output_tokens": 1843200, "mean_ttft_ms": 80, "mean_tpot_ms": 9}'
    )
    (tmp_path / "run.json").write_text(line)
    ((row, _),) = runs_of(tmp_path / "run.json", Setup(gpu="H100-SXM"))
    assert (row.kind, row.load) == ("rate", 2.0)
