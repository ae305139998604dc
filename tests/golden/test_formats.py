"""The other forms of output from the same data: golden files, and what must hold in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.manifests.leaderworkerset import nodes_per_replica
from guide.manifests.render import DEFAULT_FORMAT, formats, render_files
from tests.golden.compare import compare
from tests.handmade import GROUP, POOL
from tests.manifest_cases import CASES, SGLANG, Case

HERE = Path(__file__).resolve().parent
CATALOG = load()
WIDE = Case(groups=(replace(GROUP, tp=8, pp=2, replicas=1),))
OTHERS = sorted(set(formats()) - {DEFAULT_FORMAT})


def render(case: Case, form: str) -> dict[str, str]:
    files = render_files(case.plan, case.recommendation, form=form)
    assert files.pop("REVIEW.md").startswith("# ")
    return files


@pytest.mark.parametrize("form", OTHERS)
def test_other_forms_are_the_golden_ones(form: str):
    case = WIDE if form == "leaderworkerset" else CASES["all-options"]
    compare(HERE / "formats" / form, render(case, form))


@pytest.mark.parametrize("form", OTHERS)
def test_the_operating_point_stands_in_every_form(form: str):
    text = "".join(render(CASES["vllm"], form).values())
    limits = GROUP.limits
    for value in (limits.max_num_seqs, limits.max_num_batched_tokens, limits.max_model_len):
        assert str(value) in text
    assert GROUP.model.name in text
    assert POOL.product in text


@pytest.mark.parametrize("form", OTHERS)
def test_fastgen_is_refused_with_a_sentence(form: str):
    able = " and ".join(each.name for each in FRAMEWORKS.values() if form in each.formats)
    assert "FastGen" not in able
    with pytest.raises(SpecError, match=f"--format {form} serves {able} only"):
        render(CASES["fastgen"], form)


@pytest.mark.parametrize("form", OTHERS)
def test_sglang_goes_where_its_pods_can_be_written(form: str):
    """The chart of vLLM's production stack writes the command of vLLM."""
    if form not in FRAMEWORKS["SGLang"].formats:
        with pytest.raises(SpecError, match=f"--format {form} serves vLLM only, and SGLang"):
            render(CASES["sglang"], form)
        return
    workload = "deployment" if form == "inferencepool" else form
    spec = yaml.safe_load(render(CASES["sglang"], form)[f"{workload}-0.yaml"])["spec"]
    template = spec.get("template") or spec["leaderWorkerTemplate"]["leaderTemplate"]
    (container,) = template.get("spec", template)["containers"]
    assert container["command"] == ["python3", "-m", "sglang.launch_server"]
    assert "--max-running-requests=96" in container["args"]
    port = container["ports"][0]["containerPort"]
    assert f"--port={port}" in container["args"]
    assert container["startupProbe"]["timeoutSeconds"] >= 20  # /health generates a token


def test_kserve_finds_every_engine_on_its_port():
    """Its Service and its pool ask port 8000, whatever the pod says."""
    for name in ("vllm", "sglang"):
        file = render(CASES[name], "llminferenceservice")["llminferenceservice-0.yaml"]
        spec = yaml.safe_load(file)["spec"]
        (container,) = spec["template"]["containers"]
        assert [port["containerPort"] for port in container["ports"]] == [8000]
        assert "--port=8000" in container["args"]
        assert spec["annotations"]["prometheus.io/port"] == "8000"
        assert container["name"] == "main"


def test_a_replica_of_sglang_over_nodes_runs_one_command_on_each():
    group = replace(SGLANG, tp=8, pp=2, replicas=1)
    template = sets(Case(groups=(group,)))["leaderWorkerTemplate"]
    args = [
        template[role]["spec"]["containers"][0]["args"]
        for role in ("leaderTemplate", "workerTemplate")
    ]
    assert template["size"] == 2
    assert args[0][:-1] == args[1][:-1]
    assert args[0][-3:-1] == ["--dist-init-addr=$(LWS_LEADER_ADDRESS):20102", "--nnodes=2"]
    assert (args[0][-1], args[1][-1]) == ("--node-rank=0", "--node-rank=$(LWS_WORKER_INDEX)")


def test_a_replica_goes_over_the_fewest_nodes_that_hold_whole_stages():
    def nodes(tp: int, pp: int, per_node: int = 8) -> int:
        pool = replace(POOL, gpus_per_node=per_node)
        return nodes_per_replica(replace(GROUP, pool=pool, tp=tp, pp=pp))

    assert [nodes(8, 1), nodes(8, 2), nodes(8, 4), nodes(4, 2), nodes(4, 4)] == [1, 2, 4, 1, 2]
    assert nodes(2, 2, per_node=2) == 2
    assert nodes(1, 4, per_node=3) == 2


def sets(case: Case) -> dict[str, Any]:
    return yaml.safe_load(render(case, "leaderworkerset")["leaderworkerset-0.yaml"])["spec"]


def test_each_pod_asks_for_the_gpus_of_its_stages_and_the_sum_is_the_replica():
    for case in (WIDE, CASES["vllm"]):
        template = sets(case)["leaderWorkerTemplate"]
        group = case.groups[0]
        asked = [
            int(template[role]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
            for role in ("leaderTemplate", "workerTemplate")
        ]
        assert asked[0] + asked[1] * (template["size"] - 1) == group.tp * group.pp
        assert max(asked) <= group.pool.gpus_per_node


def test_only_leaders_serve():
    files = render(WIDE, "leaderworkerset")
    selector = yaml.safe_load(files["service.yaml"])["spec"]["selector"]
    template = sets(WIDE)["leaderWorkerTemplate"]
    labels = {
        role: template[role]["metadata"]["labels"] for role in ("leaderTemplate", "workerTemplate")
    }
    assert selector.items() <= labels["leaderTemplate"].items()
    assert not selector.items() <= labels["workerTemplate"].items()
    worker = template["workerTemplate"]["spec"]["containers"][0]
    assert "--headless" in worker["args"]
    assert "readinessProbe" not in worker


def test_unequal_shares_have_no_place_in_helm_values():
    with pytest.raises(SpecError, match="unequal shares"):
        render(CASES["two-pools-weighted"], "helm-values")


def test_a_route_of_kserve_carries_the_shares():
    files = render(CASES["two-pools-weighted"], "llminferenceservice")
    routes = [
        yaml.safe_load(files[f"llminferenceservice-{n}.yaml"])["spec"]["router"]["route"]
        for n in range(2)
    ]
    assert [route["weight"] for route in routes] == [900, 100]
    assert len({route["group"] for route in routes}) == 1
