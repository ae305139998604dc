"""Predicted against observed, on a real control plane with a real Prometheus.

Time is compressed 30-fold: a window of 20 s stands for one of 10 minutes, a look a second for one
every half minute. Requests arrive at the rate that the plan says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import GroupEvaluation, Plan
from guide.live.ledger import NAME
from guide.search.assess import assess
from guide.spec import parse_plan, resolve_plan
from guide_operator.findings import layout_of
from hack.controlplane.kubectl import Kubectl
from hack.dashboards import FOLDER
from hack.fake_vllm import pods_of, simulated
from hack.learning_picture import draw
from hack.panels import draw as draw_panels
from hack.ports import free_port
from hack.rules import RULES
from tests.e2e.conftest import ROOT, ControlPlane
from tests.e2e.operator_process import (
    Operator,
    chat,
    condition,
    eventually,
    install_crd,
    plan_when,
    running,
)
from tests.e2e.prometheus_process import Prometheus, prometheus, promtool, queries

CATALOG = load()
BIAS = 1.4
WINDOW_S = 20
DRAWN = "It draws pictures of the docs: name a folder for them with GUIDE_PANEL_PICTURES."
COMPRESSED = {
    "observe_s": "1",
    "window_s": str(WINDOW_S),
    "drift_s": "5",
    "resync_s": "3600",
}
LOOP = {
    "workload": {
        "inputTokens": {"mean": 512, "p95": 1000},
        "outputTokens": {"mean": 48, "p95": 90},
        "maxContextTokens": 8192,
        "requestsPerSecond": 20,
    },
    "slo": {"ttftP95Milliseconds": 2000, "tpotP95Milliseconds": 100, "e2eP95Milliseconds": 20000},
    "budget": {"maxGPUs": 1},
    "placement": {"gpus": ["H100-SXM"]},
}


def batch(namespace: str) -> dict[str, Any]:
    """A batch of requests to plan, not to run: what the panels of batches show."""
    lengths = {key: LOOP["workload"][key] for key in ("inputTokens", "outputTokens")}
    plan = chat(
        namespace,
        "batch",
        workload={**lengths, "maxContextTokens": 8192, "offline": {"requests": 1000}},
    )
    del plan["spec"]["slo"]
    return plan


class Loop(NamedTuple):
    """All that runs."""

    prometheus: Prometheus
    operator: Operator
    namespace: str
    group: GroupEvaluation
    question: Plan
    began_s: float  # Unix time


def test_the_rules_hold(tmp_path: Path):
    promtool("check", "rules", RULES)
    shutil.copy(RULES, tmp_path / "rules.yaml")
    shutil.copy(Path(__file__).parent / "prometheus/rules_test.yaml", tmp_path)
    promtool("test", "rules", "rules_test.yaml", cwd=tmp_path)


@pytest.fixture(scope="module")
def loop(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loop]:
    install_crd(kubectl)
    folder = tmp_path_factory.mktemp("observe")
    namespace, operator_port = "observe-loop", free_port()
    prometheus_port = free_port()
    kubectl("create", "namespace", namespace)
    settings = {
        **COMPRESSED,
        "namespace": namespace,
        "metrics_port": str(operator_port),
        "prometheus_url": f"http://127.0.0.1:{prometheus_port}",
    }
    with running(control_plane.kubeconfig, folder / "log", **settings) as operator:
        operator.metrics_port = operator_port
        kubectl.apply(chat(namespace, **LOOP), batch(namespace))
        plan_when(kubectl, namespace, "batch", "Recommended", "True")
        plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
        question = resolve_plan(parse_plan(plan), CATALOG)
        nodes = kubectl.json("get", "nodes")["items"]
        found = assess(
            question, read_inventory(nodes, (), CATALOG), CATALOG, layout_of(plan["status"])
        )
        assert found is not None
        group = found.evaluation.groups[0]
        pods = list(pods_of(group, question.workload, CATALOG, BIAS, 400))
        old = list(pods_of(group, question.workload, CATALOG, BIAS, 400, old=True))
        targets: list[tuple[int, dict[str, str]]] = [(operator_port, {})]
        for name, each in (("chat", pods), ("old", old)):
            for pod in each:
                targets.append((free_port(), {"namespace": namespace, "plan": name}))
                pod.serve(targets[-1][0])
                pod.play()
        with prometheus(folder / "prometheus", targets, prometheus_port) as server:
            yield Loop(server, operator, namespace, group, question, time.time())
        for pod in (*pods, *old):
            pod.stop()
    kubectl("delete", "namespace", namespace, "--wait=false")
    assert "Traceback" not in (folder / "log").read_text()


def plan_of(kubectl: Kubectl, loop: Loop) -> dict[str, Any]:
    return kubectl.json("-n", loop.namespace, "get", "iplan", "chat")


@retry(stop=stop_after_delay(2 * WINDOW_S), wait=wait_fixed(0.5), reraise=True)
def drift_is(kubectl: Kubectl, loop: Loop, reason: str) -> None:
    plan = plan_of(kubectl, loop)
    found = condition(plan, "PredictionDrift")
    assert found.get("reason") == reason, (found, plan["status"].get("observed"))


def corrections(kubectl: Kubectl, loop: Loop) -> dict[str, Any]:
    found = kubectl.json("-n", loop.namespace, "get", "configmap", NAME)
    return json.loads(found["data"]["corrections.json"])


def truth(loop: Loop) -> dict[str, float]:
    """Mean latencies of a long biased run at the load of the plan."""
    _, times = simulated(loop.group, loop.question.workload, CATALOG, BIAS, 8000, seed=77)
    return {metric: fmean(getattr(times, metric)) for metric in ("ttft", "tpot", "e2e")}


def errors(kubectl: Kubectl, loop: Loop) -> dict[str, float]:
    """|predicted / truth - 1| of the plan's own prediction."""
    predicted = plan_of(kubectl, loop)["status"]["best"]["predicted"]
    return {
        metric: abs(float(predicted[f"{metric}Seconds"]["mean"]) / seconds - 1)
        for metric, seconds in truth(loop).items()
    }


def test_a_bias_is_found_shown_and_learnt(kubectl: Kubectl, loop: Loop):
    before = errors(kubectl, loop)
    assert before["tpot"] > 0.25
    drift_is(kubectl, loop, "OutsideBand")
    observed = plan_of(kubectl, loop)["status"]["observed"]
    assert float(observed["predicted"]["tpot"]["observedOverPredicted"]) > 1.3
    assert "Not learnt from" in observed["learning"]  # the pods have just been started
    began = time.time()
    eventually(lambda: max(errors(kubectl, loop).values()) < 0.1, 90)
    print(f"learnt in {time.time() - began:.0f} s: {before} -> {errors(kubectl, loop)}")
    drift_is(kubectl, loop, "InsideBand")
    rate = float(plan_of(kubectl, loop)["status"]["observed"]["requestsPerSecond"])
    assert rate == pytest.approx(20, rel=0.25)
    ledger = corrections(kubectl, loop)
    (correction,) = ledger["corrections"].values()
    assert correction["requests"] >= 50
    assert ledger["version"] == len(ledger["history"])
    assert "guide_correction_ratio" in loop.operator.metrics()
    picture = os.environ.get("GUIDE_LEARNING_PICTURE")
    if picture:
        draw(loop.prometheus.url, loop.namespace, time.time() - began, Path(picture))


def test_every_query_of_every_dashboard_returns_data(loop: Loop):
    empty: list[str] = []
    for path in sorted(FOLDER.glob("*.json")):
        for name in ("chat", "batch", "old"):
            place = {"namespace": loop.namespace, "plan": name, "window_s": WINDOW_S}
            for title, expression in queries(path, **place):
                if name == "old" and ("vllm:" not in expression or "guide_" in expression):
                    continue  # there is no plan of that name
                if name != "old" and ("_job" in expression) is not (name == "batch"):
                    continue  # panels of batches have data of a batch alone
                if "sglang:" in expression and "vllm:" not in expression:
                    continue  # its start, which vLLM does not tell: test_observe_sglang
                if not loop.prometheus.query(expression):
                    empty.append(f"{path.name}, {title}: {expression}")
    assert not empty


@pytest.mark.skipif("GUIDE_PANEL_PICTURES" not in os.environ, reason=DRAWN)
def test_the_panels_can_be_drawn(loop: Loop):
    variables = {
        "__rate_interval": f"{WINDOW_S}s",
        "namespace": loop.namespace,
        "plan": "chat",
    }
    span = loop.began_s, time.time()
    for path in FOLDER.glob("*.json"):
        out = (
            Path(os.environ["GUIDE_PANEL_PICTURES"]) / f"{path.stem.replace('guide', 'panels')}.png"
        )
        draw_panels(loop.prometheus.url, path.name, variables, span, out)


def test_what_the_operator_exports_is_clean(loop: Loop):
    with urllib.request.urlopen(
        f"http://127.0.0.1:{loop.operator.metrics_port}/metrics"
    ) as response:
        promtool("check", "metrics", stdin=response.read().decode())


def test_the_same_is_learnt_by_hand(kubectl: Kubectl, loop: Loop, tmp_path: Path):
    (tmp_path / "plan.json").write_text(json.dumps(chat(loop.namespace, **LOOP)))
    (tmp_path / "nodes.json").write_text(kubectl("get", "nodes", "-o", "json").stdout)
    files = ("-f", tmp_path / "plan.json", "--nodes", tmp_path / "nodes.json")
    out = tmp_path / "fits.yaml"
    words = ("--prometheus", loop.prometheus.url, "--window", "8", "--out", out)
    text = guide("calibrate", *words, *files)
    factor = re.search(r"step times x ([0-9.]+)", text)
    assert factor, text
    assert float(factor[1]) == pytest.approx(BIAS, rel=0.1)
    corrected = json.loads(guide("plan", *files, "--calibration", out, "-o", "json"))
    predicted = corrected["best"]["predicted"]
    for metric, seconds in truth(loop).items():  # a slower step also makes batches larger
        near = pytest.approx(seconds, rel=0.2 if metric == "ttft" else 0.1)  # short windows
        assert predicted[f"{metric}Seconds"]["mean"] == near


def test_without_prometheus_the_correction_stays_and_a_condition_says_why(
    control_plane: ControlPlane, kubectl: Kubectl, loop: Loop
):
    loop.prometheus.stop()
    drift_is(kubectl, loop, "PrometheusUnavailable")
    assert condition(plan_of(kubectl, loop), "PredictionDrift")["status"] == "Unknown"
    assert condition(plan_of(kubectl, loop), "Ready")["status"] == "True"
    before = corrections(kubectl, loop)
    assert before["corrections"]
    slow = plan_of(kubectl, loop)["status"]["best"]["predicted"]["tpotSeconds"]["mean"]
    guide(
        *("calibrate", "--reset", "--operator-namespace", loop.namespace),
        kubeconfig=control_plane.kubeconfig,
    )
    after = corrections(kubectl, loop)
    assert not after["corrections"]
    assert after["version"] == before["version"] + 1

    def forgotten() -> bool:
        best = plan_of(kubectl, loop)["status"]["best"]
        return float(best["predicted"]["tpotSeconds"]["mean"]) < float(slow) / 1.2

    eventually(forgotten)


def guide(*words: str | Path, kubeconfig: Path | None = None) -> str:
    environment = {**os.environ, **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})}
    result = subprocess.run(
        [ROOT / ".venv/bin/guide", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
