"""`guide render --autoscaling`: what scales a Deployment, and that it alone counts replicas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.frameworks import FRAMEWORKS
from guide.manifests.autoscaling import METRIC, PROMETHEUS
from tests.rendered import PLAN, render_into, run

ROOT = Path(__file__).resolve().parents[3]
DAY = PLAN.replace("    requestsPerSecond: 8\n", "    dayProfile: {low: 2, mean: 10, peak: 30}\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = render_into(tmp_path_factory.mktemp("scaled"), patch)
        (folder / "day.yaml").write_text(DAY)
        yield folder


def rendered(kind: str, *more: str, plan: str = "day.yaml") -> Any:
    words = ("--nodes", "nodes.yaml", "--out", kind, "--autoscaling", kind)
    return run("render", "-f", plan, *words, *more)


def objects(folder: str) -> dict[str, Any]:
    return {p.name: yaml.safe_load(p.read_text()) for p in Path(folder).glob("*.yaml")}


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("kind", ["hpa", "keda", "wva"])
def test_an_autoscaler_counts_the_replicas_alone(kind: str):
    assert rendered(kind).exit_code == 0
    files = objects(kind)
    assert "replicas" not in files["deployment-0.yaml"]["spec"]
    name = "scaledobject.yaml" if kind == "keda" else "horizontalpodautoscaler.yaml"
    assert name in files["kustomization.yaml"]["resources"]
    target = files[name]["spec"]["scaleTargetRef"]
    assert target["name"] == files["deployment-0.yaml"]["metadata"]["name"]
    assert "Scale bounds over the day" in Path(kind, "REVIEW.md").read_text()
    assert run("check", kind).exit_code == 0
    same = run("diff", "-f", "day.yaml", "--nodes", "nodes.yaml", kind)
    assert same.exit_code == 0, same.output


@pytest.mark.usefixtures("place")
def test_both_kinds_say_the_same():
    assert rendered("hpa").exit_code == rendered("keda").exit_code == 0
    hpa = objects("hpa")["horizontalpodautoscaler.yaml"]["spec"]
    keda = objects("keda")["scaledobject.yaml"]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (
        keda["minReplicaCount"],
        keda["maxReplicaCount"],
    )
    (metric,), (trigger,) = hpa["metrics"], keda["triggers"]
    average = metric["pods"]["target"]["averageValue"]
    milli = int(average[:-1]) if average.endswith("m") else 1000 * int(average)
    assert float(trigger["metadata"]["threshold"]) == pytest.approx(milli / 1000)
    behavior = keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == hpa["behavior"]
    query = trigger["metadata"]["query"]
    assert query == 'sum(rate(vllm:request_success_total{namespace="ml", plan="chat"}[2m]))'


@pytest.mark.usefixtures("place")
def test_the_variant_autoscaler_finds_what_it_steers():
    assert rendered("wva").exit_code == rendered("hpa").exit_code == 0
    wva, hpa = (objects(kind)["horizontalpodautoscaler.yaml"] for kind in ("wva", "hpa"))
    deployment = objects("wva")["deployment-0.yaml"]
    command = " ".join(deployment["spec"]["template"]["spec"]["containers"][0]["args"])
    assert wva["metadata"]["annotations"]["llm-d.ai/managed"] == "true"
    assert wva["metadata"]["annotations"]["llm-d.ai/model-id"] in command  # as servers name it
    (metric,) = (each["external"] for each in wva["spec"].pop("metrics"))
    assert metric["metric"]["selector"]["matchLabels"] == {
        "exported_namespace": "ml",
        "variant_name": deployment["metadata"]["name"],
    }
    hpa["spec"].pop("metrics")
    assert wva["spec"] == hpa["spec"]  # the same bounds


@pytest.mark.usefixtures("place")
def test_none_keeps_the_replicas_of_the_peak():
    assert rendered("none").exit_code == 0
    files = objects("none")
    assert files["deployment-0.yaml"]["spec"]["replicas"] >= 1
    assert not {"horizontalpodautoscaler.yaml", "scaledobject.yaml"} & set(files)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("more", "plan", "said"),
    [
        ((), "plan.yaml", "needs the load over the day: state spec.workload.dayProfile"),
        (("--format", "helm-values"), "day.yaml", "scales Deployments, which --format helm-values"),
    ],
)
def test_what_cannot_be_scaled_is_refused(more: tuple[str, ...], plan: str, said: str):
    refused = rendered("hpa", *more, plan=plan)
    assert refused.exit_code != 0
    assert said in str(refused.exception or refused.output)


def test_the_page_of_the_docs_names_what_is_written():
    text = (ROOT / "docs/autoscaling.md").read_text()
    assert METRIC in text
    assert PROMETHEUS in text
    series = re.findall(r'__name__=~"([^"]+)"', text)
    assert series == ["|".join(dict.fromkeys(f.metrics.ended for f in FRAMEWORKS.values()))]
