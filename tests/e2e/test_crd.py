"""The CRD on a real API server: accepted, and its rules refuse what the command line refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.report.status import to_status
from hack.controlplane.kubectl import Kubectl
from tests import handmade
from tests.broken_plans import BROKEN, broken
from tests.e2e.operator_process import eventually, install_crd
from tests.good_plan import ASKED, PLAN, changed

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/chat.yaml"


@pytest.fixture(scope="module", autouse=True)
def _crd(kubectl: Kubectl) -> None:  # pyright: ignore[reportUnusedFunction]
    install_crd(kubectl)


def create(kubectl: Kubectl, plan: dict[str, Any], namespace: str) -> Any:
    document = {**plan, "metadata": {**plan["metadata"], "namespace": namespace}}
    arguments = ("create", "--validate=strict", "-f", "-")
    return kubectl(*arguments, stdin=json.dumps(document), check=False)


def test_no_rule_of_the_schema_costs_too_much_or_warns(kubectl: Kubectl):
    crd = kubectl.json("get", "crd", "inferenceplans.guide.dev")
    conditions = {c["type"]: c for c in crd["status"]["conditions"]}
    assert conditions["Established"]["status"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_explain_says_how_a_decimal_is_written(kubectl: Kubectl):
    asked = ("explain", "inferenceplan.spec.workload.requestsPerSecond")
    # its schema is published a little after the definition is served
    eventually(lambda: "Quote decimals" in " ".join(kubectl(*asked).stdout.split()))


def test_the_example_is_accepted_and_stays_as_it_was_written(kubectl: Kubectl, namespace: str):
    plan = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert create(kubectl, plan, namespace).returncode == 0
    assert kubectl.json("-n", namespace, "get", "iplan", "chat")["spec"] == plan["spec"]


@pytest.mark.parametrize("name", ASKED)
def test_what_states_no_more_than_it_must_is_accepted(kubectl: Kubectl, namespace: str, name: str):
    assert create(kubectl, changed(*ASKED[name]), namespace).stderr == ""


@pytest.mark.parametrize("name", BROKEN)
def test_admission_refuses_what_the_command_line_refuses(
    kubectl: Kubectl, namespace: str, name: str
):
    result = create(kubectl, broken(name), namespace)
    assert result.returncode != 0
    refusals = ('"chat" is invalid:', "unknown field", "strict decoding")
    assert any(words in result.stderr for words in refusals), result.stderr
    its = 2 if name == "too many tokens" else 1  # the p95 is below such a mean
    assert _problems(result.stderr) == its, result.stderr


def _problems(text: str) -> int:
    """Lines that name a problem. The API server adds, where a type is wrong, that it did not go on
    to check rules."""
    lines = [line for line in text.strip().splitlines() if "<nil>: Invalid value:" not in line]
    return len(lines) - (len(lines) > 1 and lines[0].rstrip().endswith("is invalid:"))


def test_a_bad_edit_is_refused_in_one_line_and_changes_nothing(kubectl: Kubectl, namespace: str):
    create(kubectl, PLAN, namespace)
    bad = {**broken("p95 below mean"), "metadata": {"name": "chat", "namespace": namespace}}
    result = kubectl("apply", "-f", "-", stdin=json.dumps(bad), check=False)
    assert result.returncode != 0
    (line,) = [one for one in result.stderr.splitlines() if not one.startswith("Warning:")]
    said = re.search(r'spec\.workload\.inputTokens: Invalid value: ("object": )?(.*)', line)
    assert said is not None  # older Kubernetes names the type of the value
    assert said.group(2).startswith("p95 must be at least the mean")
    assert kubectl.json("-n", namespace, "get", "iplan", "chat")["spec"] == PLAN["spec"]


def test_the_whole_status_is_kept_and_fills_the_columns(kubectl: Kubectl, namespace: str):
    create(kubectl, PLAN, namespace)
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Recommended",
        "message": "3 replicas",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-01T00:00:00Z",
    }
    status = {
        "observedGeneration": 1,
        "conditions": [condition],
        **to_status(handmade.RECOMMENDATION),
        "observed": {"ttftSeconds": {"p95": "0.2"}},
    }
    patch = json.dumps({"status": status})
    arguments = ("patch", "iplan", "chat", "--subresource=status", "--type=merge", "-p", patch)
    kubectl("-n", namespace, *arguments)
    assert kubectl.json("-n", namespace, "get", "iplan", "chat")["status"] == status
    header, row = kubectl("-n", namespace, "get", "iplan").stdout.splitlines()
    wanted = "NAME MODEL GPU FRAMEWORK TP PP REPLICAS USD/H TTFT(MS) READY REASON AGE"
    assert header.split() == wanted.split()
    shown = "meta-llama/Llama-3.1-8B-Instruct H100-SXM vLLM 2 1 3 17.94 200 True Recommended"
    assert row.split()[1:11] == shown.split()
