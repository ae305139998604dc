"""The page in the cluster: off by default, and what its account may read is enough and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.spec.node_pools import read_node_pools
from guide.web.nodes import live
from guide.web.settings import ANSWERS, Settings
from hack.controlplane.kubectl import Kubectl
from tests.e2e.chart import CHART, RBAC_KINDS, helm, rendered
from tests.e2e.conftest import ControlPlane
from tests.web_questions import client_of

QUESTION = (
    "/?model=meta-llama/Llama-3.1-8B-Instruct&input=1000&output=200&rps=2&source=cluster&ask=1"
)


def of_the_page(programs: Path, namespace: str) -> list[dict[str, Any]]:
    objects = rendered(programs, namespace, web__enabled="true")
    return [d for d in objects if d["metadata"]["name"] == "guide-web"]


def test_the_page_is_off_by_default(programs: Path):
    names = [d["metadata"]["name"] for d in rendered(programs, "x")]
    assert not [name for name in names if name.endswith("-web")]


def test_the_page_is_locked_down_and_only_lists(programs: Path):
    found = {d["kind"]: d for d in of_the_page(programs, "x")}
    assert found["ClusterRole"]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]},
        {
            "apiGroups": ["resource.k8s.io"],
            "resources": ["resourceslices", "resourceclaims"],
            "verbs": ["list"],
        },
        {"apiGroups": ["guide.dev"], "resources": ["inferenceplans"], "verbs": ["list"]},
    ]
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        found["Service"]["spec"]["selector"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        found["Deployment"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    (operator,) = (
        d["spec"]["selector"]["matchLabels"]
        for d in rendered(programs, "x", web__enabled="true")
        if d["kind"] == "Deployment" and d["metadata"]["name"] == "guide"
    )
    assert not operator.items() <= labels.items()  # its metrics Service leaves the page alone


@pytest.fixture
def as_the_page(
    control_plane: ControlPlane,
    kubectl: Kubectl,
    programs: Path,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """This process reads the cluster with the token of the page's account."""
    objects = [d for d in of_the_page(programs, namespace) if d["kind"] in RBAC_KINDS]
    kubectl.apply(*objects)
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    token = kubectl("-n", namespace, "create", "token", "guide-web").stdout.strip()
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    yield namespace
    kubectl("delete", "clusterrole,clusterrolebinding", "guide-web")


def test_its_rights_are_enough_for_an_answer_and_no_more(as_the_page: str, kubectl: Kubectl):
    assert live(Settings(cluster=True)).nodes
    with client_of(Settings(cluster=True)) as client:
        page = client.get(QUESTION)
    assert page.status_code == 200
    assert re.search(r'id="answer-title"[^>]*>Run ', page.text)
    account = f"--as=system:serviceaccount:{as_the_page}:guide-web"
    for verb, resource in (
        ("list", "secrets"),
        ("get", "configmaps"),
        ("create", "pods"),
        ("patch", "nodes"),
        ("create", "inferenceplans.guide.dev"),
        ("patch", "inferenceplans.guide.dev"),
    ):
        answer = kubectl("auth", "can-i", verb, resource, "-A", account, check=False)
        assert answer.stdout.strip() == "no", (verb, resource)


def test_a_catalogue_of_ones_own_reaches_the_page(programs: Path, tmp_path: Path):
    pool = {
        "name": "burst",
        "gpu": "L4",
        "gpusPerNode": 1,
        "maxNodes": 4,
        "nodeSelector": {"a": "b"},
    }
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"web": {"enabled": True}, "catalog": {"nodePools": [pool]}}))
    text = helm(programs, "template", "guide", CHART, "-f", values, "--kube-version", "1.37.0")
    objects = {d["metadata"]["name"]: d for d in yaml.safe_load_all(text) if d}
    data = objects["guide-catalog"]["data"]
    (page,) = (
        d
        for d in yaml.safe_load_all(text)
        if d and d["kind"] == "Deployment" and d["metadata"]["name"] == "guide-web"
    )
    (container,) = page["spec"]["template"]["spec"]["containers"]
    names = {e["name"]: e["value"] for e in container["env"]}
    files = {Path(value).name for name, value in names.items() if name != ANSWERS}
    assert files == set(data)
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    load(extra_gpus=tmp_path / "gpus.yaml", prices=tmp_path / "prices.yaml")
    (read,) = read_node_pools(data["node-pools.yaml"], "node-pools.yaml")
    assert read.max_nodes == 4
