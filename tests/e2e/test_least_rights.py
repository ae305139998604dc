"""Each right that the chart gives the operator is used, and none is missing: by the audit log."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.cluster.client import connect
from guide_operator.rollout import apply_layout
from hack.controlplane.kubectl import Kubectl
from tests.e2e.breakable import Breakable, breakable_plane
from tests.e2e.chart import rendered, rights
from tests.e2e.conftest import needs_devices
from tests.e2e.operator_process import chat, eventually, install_crd, plan_when, running
from tests.manifest_cases import BATCHES, CASES, Case

NAMESPACE = "ml"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:guide"
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
}
FOREIGN = {"monitoring.coreos.com": "PodMonitor", "gateway.networking.k8s.io": "HTTPRoute"}
Use = tuple[str, str, str]  # API group, resource, verb


@pytest.fixture(scope="module")
def plane(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    run_dir = tmp_path_factory.mktemp("audited")
    with breakable_plane(programs, run_dir, {"h100-sxm": 1, "l40s": 1}) as plane:
        yield plane


def definition(group: str, kind: str) -> dict[str, Any]:
    """Of a kind that others bring, with any content."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def granted(programs: Path, **values: str) -> set[Use]:
    roles = (
        one
        for one in rendered(programs, NAMESPACE, fullnameOverride="guide", **values)
        if one["kind"] in ("ClusterRole", "Role")
        and not one["metadata"]["name"].endswith(("-edit", "-view"))  # for people
    )
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def events(log: Path) -> Iterator[tuple[Use, dict[str, Any]]]:
    for line in log.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        what = event.get("objectRef", {})
        resource = "/".join(p for p in (what.get("resource"), what.get("subresource")) if p)
        if resource:
            yield (what.get("apiGroup", ""), resource, event["verb"]), event


def used(log: Path) -> set[Use]:
    """What was done. A patch that makes an object (201) is asked for `create` as well."""
    found: set[Use] = set()
    for (group, resource, verb), event in events(log):
        if event["responseStatus"]["code"] < 400:
            found.add((group, resource, verb))
        if event["responseStatus"]["code"] == 201:
            found.add((group, resource, "create"))
    return found


def scrape(port: int, token: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as response:
        return response.status


def answers(kubectl: Kubectl, kubeconfig: Path, log: Path) -> None:
    """Plans of both modes from question to pods."""
    settings = {"lease": "guide", "namespace": NAMESPACE, "metrics_by_token": "true"}
    with running(kubeconfig, log, **settings) as operator:
        kubectl.apply(chat(NAMESPACE, "asked"))
        plan_when(kubectl, NAMESPACE, "asked", "Recommended", "True")
        kubectl("label", "namespace", NAMESPACE, "guide.dev/deployment-fields=serviceAccountName")
        kubectl("-n", NAMESPACE, "create", "serviceaccount", "models")
        applies = {
            "output": {"mode": "Apply"},
            "placement": {"gpus": ["H100-SXM"]},
            "deployment": {"serviceAccountName": "models"},
        }
        kubectl.apply(chat(NAMESPACE, "applied", **applies))
        plan_when(kubectl, NAMESPACE, "applied", "Recommended", "True")
        kubectl.apply(chat(NAMESPACE, "asked", preference="Latency"))
        plan_when(kubectl, NAMESPACE, "asked", "Recommended", "True")
        token = kubectl("-n", NAMESPACE, "create", "token", "reader").stdout.strip()
        eventually(lambda: scrape(operator.metrics_port, token) == 200)
        kubectl("-n", NAMESPACE, "delete", "iplan", "applied", "asked")


def layouts(kubectl: Kubectl) -> None:
    """Every kind of object that a layout may have comes and goes, by the operator's own code."""
    kubectl.apply(chat(NAMESPACE))
    uid = kubectl.json("-n", NAMESPACE, "get", "iplan", "chat")["metadata"]["uid"]
    client = connect()
    weighted = replace(CASES["two-pools-weighted"], spec={"output": {"monitoring": "PodMonitor"}})

    def put(case: Case, *, rehearsal: bool = False) -> None:
        case = replace(case, name="chat")
        best = case.recommendation.best
        assert best is not None
        said = apply_layout(client, case.plan, best, uid, rehearsal=rehearsal)
        assert not [one for one in said if one.reason in ("Refused", "KindMissing", "PodsRefused")]

    put(CASES["vllm"], rehearsal=True)
    for case in (CASES["fastgen"], weighted, CASES["dra"], BATCHES["batch"], CASES["vllm"]):
        put(case)  # Jobs begin at once, so that the batch takes the place of all before it


@needs_devices  # which it has a right to
def test_each_right_is_used_and_none_is_missing(
    plane: Breakable, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.log"
    policy.write_text(yaml.safe_dump(POLICY))
    values = {"apply__namespaces": f"{{{NAMESPACE}}}", "service__metricsByToken": "true"}
    kubectl, kubeconfig = plane.kubectl, tmp_path / "kubeconfig"
    install_crd(kubectl)
    kubectl.apply(*(definition(group, kind) for group, kind in FOREIGN.items()))
    kubectl("create", "namespace", NAMESPACE)
    kubectl("-n", NAMESPACE, "create", "serviceaccount", "reader")
    kubectl("create", "clusterrole", "reader", "--verb=get", "--non-resource-url=/metrics")
    kubectl(
        *("create", "clusterrolebinding", "reader", "--clusterrole=reader"),
        f"--serviceaccount={NAMESPACE}:reader",
    )
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={log}")
    with (
        plane.with_api_flags(*flags),
        rights(kubectl, programs, NAMESPACE, kubeconfig, **values),
    ):
        answers(kubectl, kubeconfig, tmp_path / "operator.log")
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        layouts(kubectl)
    refused = {use for use, event in events(log) if event["responseStatus"]["code"] == 403}
    assert not refused
    rights_given, rights_used = granted(programs, **values), used(log)
    assert rights_used - rights_given == set(), "done by a right that the chart does not give"
    assert rights_given - rights_used == set(), "given for nothing"
