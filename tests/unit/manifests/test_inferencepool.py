"""`guide render --format inferencepool`: pools, their route, and the figure for routers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.domain import Interval, Recommendation
from guide.errors import SpecError
from guide.manifests.render import render_files
from guide.perf.fits import fit_of
from guide.question import Cluster, ask
from guide.report.document import to_json
from guide.simulate.capacity import peak_prefill
from tests.manifest_cases import CASES, Case

ROOT = Path(__file__).resolve().parents[3]
NODES = ROOT / "examples" / "nodes.yaml"
GATEWAY = {"name": "inference", "namespace": "infra"}


def behind(case: Case, **gateway: Any) -> Case:
    """The same plan with a Gateway."""
    return replace(case, spec={**case.spec, "output": {"gateway": {**GATEWAY, **gateway}}})


def rendered(case: Case, found: Recommendation | None = None) -> dict[str, Any]:
    files = render_files(case.plan, found or case.recommendation, form="inferencepool")
    return {name: yaml.safe_load(text) for name, text in files.items() if name.endswith("yaml")}


def test_a_pool_selects_the_pods_of_its_group_on_their_port_and_the_route_finds_it():
    files = rendered(behind(CASES["sglang"]))
    pool, pods = files["inferencepool-0.yaml"]["spec"], files["deployment-0.yaml"]["spec"]
    labels = pods["template"]["metadata"]["labels"]
    assert pool["selector"]["matchLabels"].items() <= labels.items()
    (container,) = pods["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [
        port["number"] for port in pool["targetPorts"]
    ]
    route = files["httproute.yaml"]["spec"]
    (parent,) = route["parentRefs"]
    assert (parent["kind"], parent["name"], parent["namespace"]) == ("Gateway", *GATEWAY.values())
    (backend,) = route["rules"][0]["backendRefs"]
    assert (backend["kind"], backend["name"]) == (
        "InferencePool",
        files["inferencepool-0.yaml"]["metadata"]["name"],
    )
    assert "service.yaml" not in files  # no way around the router


def test_the_picker_is_that_of_the_pool_or_the_one_that_the_plan_names():
    by_default = rendered(behind(CASES["vllm"]))["inferencepool-0.yaml"]
    reference = by_default["spec"]["endpointPickerRef"]
    assert reference["name"] == f"{by_default['metadata']['name']}-epp"
    assert reference["port"] == {"number": 9002}
    named = rendered(behind(CASES["vllm"], endpointPicker={"name": "mine", "port": 9010}))
    reference = named["inferencepool-0.yaml"]["spec"]["endpointPickerRef"]
    assert (reference["name"], reference["port"]) == ("mine", {"number": 9010})


def test_a_long_name_leaves_room_for_that_of_its_picker():
    case = replace(behind(CASES["vllm"]), name="a" * 80)
    assert len(rendered(case)["inferencepool-0.yaml"]["spec"]["endpointPickerRef"]["name"]) <= 63


def test_two_groups_are_two_pools_by_weight_and_no_picker_serves_both():
    case = behind(CASES["two-pools-weighted"])
    backends = rendered(case)["httproute.yaml"]["spec"]["rules"][0]["backendRefs"]
    assert [each["weight"] for each in backends] == [900, 100]
    assert len({each["name"] for each in backends}) == 2
    with pytest.raises(SpecError, match="names one picker, and the answer has 2 pools"):
        rendered(behind(CASES["two-pools-weighted"], endpointPicker={"name": "mine"}))


def test_the_gateway_of_a_plan_is_that_of_a_weighted_service_route_too():
    files = render_files(
        behind(CASES["two-pools-weighted"]).plan, CASES["two-pools-weighted"].recommendation
    )
    route = yaml.safe_load(files["httproute.yaml"])
    assert route["spec"]["parentRefs"][0]["name"] == GATEWAY["name"]
    assert "annotations" not in route["metadata"]


@pytest.fixture(scope="module")
def asked() -> tuple[Case, Recommendation]:
    case = Case(
        spec={
            "workload": {
                "inputTokens": {"mean": 512},
                "outputTokens": {"mean": 64},
                "requestsPerSecond": 20,
            },
            "frameworks": ["vLLM"],
            "placement": {"gpus": ["L4", "H100-SXM"], "mix": "Never"},
        }
    )
    nodes = Cluster(nodes=yaml.safe_load(NODES.read_text())["items"])
    return case, ask(case.plan, nodes, load()).answer()


def test_the_peak_stands_the_same_in_json_review_and_pool(asked: tuple[Case, Recommendation]):
    case, found = asked
    assert found.best is not None
    (group,) = found.best.groups
    peak, within = group.peak_prefill_tokens_per_s, group.peak_prefill_interval
    assert peak is not None
    assert isinstance(within, Interval)
    document = to_json(found)["best"]
    assert document is not None
    said = document["groups"][0].get("peakPrefillTokensPerSecond")
    assert said is not None
    assert said["value"] == pytest.approx(peak, rel=1e-4)
    assert said["interval90"]["lower"] == pytest.approx(within.lower, rel=1e-4)
    pool = rendered(case, found)["inferencepool-0.yaml"]
    marks = pool["metadata"]["annotations"]
    assert float(marks["guide.dev/peak-prefill-tokens-per-second"]) == pytest.approx(peak, rel=1e-3)
    assert marks["guide.dev/peak-prefill-provenance"] == group.provenance.value
    review = render_files(case.plan, found)["REVIEW.md"]
    assert f"{float(f'{peak:.4g}'):,.0f}" in review


def test_the_peak_is_what_the_prediction_itself_uses(asked: tuple[Case, Recommendation]):
    """A prompt as long as a step, over its time to first token on an idle replica, is at least near
    what the same replica does beside its decodes, whose waits overlap; the interval is that of the
    time to first token."""
    _, found = asked
    assert found.best is not None
    (group,) = found.best.groups
    peak, within = group.peak_prefill_tokens_per_s, group.peak_prefill_interval
    assert peak is not None
    assert within is not None
    assert peak == peak_prefill(group.group, load())
    assert peak > 0.8 * group.max_requests_per_s * 512
    assert math.log(within.upper / peak) == pytest.approx(
        fit_of(group.group, load()).residual["ttft"]
    )


@pytest.mark.parametrize(
    ("gateway", "said"),
    [
        ({"name": "Not_A_Label"}, "spec.output.gateway.name is 'Not_A_Label'"),
        ({"name": "a.b"}, "spec.output.gateway.name is 'a.b'"),
        ({**GATEWAY, "endpointPicker": {"port": 70000}}, "endpointPicker.port"),
        ({"namespace": "infra"}, "spec.output.gateway.name"),
    ],
)
def test_a_bad_gateway_is_one_sentence(gateway: dict[str, Any], said: str):
    with pytest.raises(SpecError) as refused:
        _ = replace(CASES["vllm"], spec={"output": {"gateway": gateway}}).plan
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
