"""The rendered files of each case, and what holds for all of them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.errors import SpecError
from guide.manifests.benchmark import benchmarks
from guide.manifests.render import render_files
from guide.spec import write_document
from tests.golden.compare import compare
from tests.handmade import GROUP, INFEASIBLE
from tests.manifest_cases import BATCHES, CASES, Case

HERE = Path(__file__).resolve().parent
CATALOG = load()
ALL = CASES | BATCHES


def render(case: Case) -> dict[str, str]:
    return render_files(case.plan, case.recommendation)


def objects(case: Case) -> list[dict[str, Any]]:
    files = render(case)
    named = [n for n in files if n.endswith(".yaml") and n != "kustomization.yaml"]
    return [yaml.safe_load(files[n]) for n in named]


@pytest.mark.parametrize("name", ALL)
def test_manifests_are_the_golden_ones(name: str):
    files = render(ALL[name])
    review = files.pop("REVIEW.md")  # changes with the catalogue; the report's tests hold it
    assert review.startswith("# ")
    compare(HERE / "manifests" / name, files)


def test_the_benchmark_is_the_golden_one():
    case = CASES["vllm"]
    found = case.recommendation.best
    assert found is not None
    jobs = benchmarks(case.plan, found, "kustomize")
    compare(HERE / "benchmark", {name: write_document(job) for name, job in jobs})


@pytest.mark.parametrize("name", ALL)
def test_every_name_and_label_fits_into_63_characters(name: str):
    for value in objects(ALL[name]):
        meta = value["metadata"]
        assert len(meta["name"]) <= 63
        assert all(len(text) <= 63 for text in meta["labels"].values())
        assert meta["namespace"] == "ml"
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "guide"


@pytest.mark.parametrize("name", CASES)
def test_services_and_deployments_select_exactly_their_pods(name: str):
    found = objects(CASES[name])
    pods = [o["spec"]["template"]["metadata"]["labels"] for o in found if o["kind"] == "Deployment"]
    for value in found:
        if value["kind"] == "Deployment":
            wanted = value["spec"]["selector"]["matchLabels"]
            assert sum(wanted.items() <= labels.items() for labels in pods) == 1
            assert wanted.items() <= value["spec"]["template"]["metadata"]["labels"].items()
    services = [o["spec"]["selector"] for o in found if o["kind"] == "Service"]
    for labels in pods:
        assert sum(selector.items() <= labels.items() for selector in services) == 1


@pytest.mark.parametrize("name", CASES)
def test_volumes_and_claims_that_pods_name_exist(name: str):
    found = objects(CASES[name])
    known = {(o["kind"], o["metadata"]["name"]) for o in found}
    for value in found:
        if value["kind"] != "Deployment":
            continue
        pod = value["spec"]["template"]["spec"]
        names = {volume["name"] for volume in pod["volumes"]}
        assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == names
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in known
        for claim in pod.get("resourceClaims", []):
            assert ("ResourceClaimTemplate", claim["resourceClaimTemplateName"]) in known


@pytest.mark.parametrize("name", CASES)
def test_the_kustomization_lists_every_object_and_nothing_else(name: str):
    files = render(CASES[name])
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert sorted(listed) == sorted(set(files) - {"REVIEW.md", "kustomization.yaml"})


def test_weights_of_a_route_are_the_shares_of_the_load():
    files = render(CASES["two-pools-weighted"])
    rules = yaml.safe_load(files["httproute.yaml"])["spec"]["rules"]
    assert [ref["weight"] for ref in rules[0]["backendRefs"]] == [900, 100]


def test_a_larger_model_may_take_longer_to_start():
    def patience_s(gpus: int) -> int:
        big = replace(GROUP, tp=gpus, replicas=1)
        # the weights of the hand-made evaluation are the same, so stretch them by hand
        best = CASES["vllm"].recommendation.best
        assert best is not None
        one = replace(
            best.groups[0],
            group=big,
            memory=replace(best.groups[0].memory, weight_bytes=140e9 / gpus),
        )
        found = replace(CASES["vllm"].recommendation, best=replace(best, groups=(one,)))
        files = render_files(CASES["vllm"].plan, found)
        spec = yaml.safe_load(files["deployment-0.yaml"])["spec"]
        probe = spec["template"]["spec"]["containers"][0]["startupProbe"]
        assert spec["progressDeadlineSeconds"] > probe["failureThreshold"] * 10
        return probe["failureThreshold"] * probe["periodSeconds"]

    assert patience_s(8) == patience_s(4) >= 140e9 / 200e6
    assert patience_s(8) > 600


def test_fastgen_without_an_image_is_refused_with_a_sentence():
    case = replace(CASES["fastgen"], spec={})
    with pytest.raises(SpecError, match=r"spec\.deployment\.imageFastGen is needed"):
        render(case)


def test_an_infeasible_plan_has_a_review_and_no_manifests():
    assert set(render_files(CASES["vllm"].plan, INFEASIBLE)) == {"REVIEW.md"}


def test_plans_never_share_an_object():
    names = ["a.b", "a-b", "a", "1a", "x" * 63, "x" * 64, "x" * 65]
    seen = [(o["kind"], o["metadata"]["name"]) for name in names for o in objects(Case(name=name))]
    random.Random(0).shuffle(seen)
    assert len(seen) == len(set(seen))
