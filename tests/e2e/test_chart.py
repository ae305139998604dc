"""The Helm chart on a real API server: its rights are enough and no more, and it comes and goes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from tests.e2e.chart import CHART, helm, rendered, rights
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import chat, condition, eventually, install_crd, plan_when, running


def test_lint_and_schema(programs: Path):
    helm(programs, "lint", "--strict", CHART)
    words = [programs / "helm", "template", CHART, "--kube-version", "1.37.0"]
    for wrong in ("replicas=-1", "no.such=value", "apply.namespaces={Bad_Name}"):
        refused = subprocess.run(
            [*words, f"--set={wrong}"], capture_output=True, text=True, check=False
        )
        assert refused.returncode, wrong
        assert "schema" in refused.stderr


def test_the_pod_is_locked_down(programs: Path):
    (deployment,) = (d for d in rendered(programs, "x") if d["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_test_pod_is_let_in_whoever_else_may_scrape(programs: Path):
    one = {"networkPolicy__enabled": "true"}
    who = {"networkPolicy__metricsFrom[0]__namespaceSelector__matchLabels__name": "monitoring"}
    objects = rendered(programs, "x", **one, **who)
    (policy,) = (d for d in objects if d["kind"] == "NetworkPolicy")
    (tester,) = (d for d in objects if d["kind"] == "Pod")
    metrics, _ = policy["spec"]["ingress"]
    people, ours = metrics["from"]
    assert people == {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    assert ours["podSelector"]["matchLabels"].items() <= tester["metadata"]["labels"].items()


def test_the_operator_needs_no_more_than_the_chart_grants(
    kubectl: Kubectl, programs: Path, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    log = tmp_path / "log"
    with (
        rights(kubectl, programs, namespace, tmp_path / "kubeconfig") as kubeconfig,
        running(kubeconfig, log, lease="guide", namespace=namespace) as operator,
    ):
        kubectl.apply(chat(namespace))
        plan_when(kubectl, namespace, "chat", "Recommended", "True")
        eventually(lambda: operator.of_plan(namespace, "chat"))
        eventually(lambda: kubectl.json("-n", namespace, "get", "events")["items"])
        account = f"--as=system:serviceaccount:{namespace}:guide"
        for verb, resource in (
            ("get", "secrets"),
            ("list", "secrets"),
            ("create", "pods"),
            ("patch", "nodes"),
            ("patch", "inferenceplans.guide.dev"),
            ("delete", "inferenceplans.guide.dev"),
            ("list", "configmaps"),
            ("delete", "configmaps"),
            ("patch", "deployments.apps"),
            ("create", "clusterroles.rbac.authorization.k8s.io"),
        ):
            answer = kubectl("auth", "can-i", verb, resource, "-A", account, check=False)
            assert answer.stdout.strip() == "no", (verb, resource)
    text = log.read_text()
    assert "Traceback" not in text
    # plans of other tests may be there, of mode Apply or in namespaces that are on their way out
    refused = [line for line in text.splitlines() if "forbidden" in line.lower()]
    assert not [one for one in refused if "trying again" not in one or f" {namespace}/" in one]


def test_its_token_writes_no_configmap_of_others(
    kubectl: Kubectl, programs: Path, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    with rights(kubectl, programs, namespace, tmp_path / "kubeconfig") as kubeconfig:
        operator = Kubectl(kubectl.program, kubeconfig)
        patch = ("patch", "configmap", "--type=merge", "-p")

        def refused() -> bool:  # a policy counts a moment after it was made
            told = operator(
                *("-n", "kube-system", *patch, '{"data":{"x":"y"}}', "--dry-run=server"),
                "extension-apiserver-authentication",
                check=False,
            )
            return "managed by guide" in told.stderr

        eventually(refused)
        kubectl("-n", namespace, "create", "configmap", "theirs", "--from-literal=a=b")
        mine = '{"metadata":{"labels":{"app.kubernetes.io/managed-by":"guide"}}}'
        for words in (
            ("create", "configmap", "new", "--from-literal=a=b"),
            (*patch, mine, "theirs"),
        ):
            assert operator("-n", namespace, *words, check=False).returncode, words
        kubectl("-n", namespace, "label", "cm", "theirs", "app.kubernetes.io/managed-by=guide")
        operator("-n", namespace, *patch, '{"data":{"a":"c"}}', "theirs")


def test_its_token_rehearses_pods_and_makes_none(
    kubectl: Kubectl, programs: Path, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    kubeconfig = tmp_path / "kubeconfig"
    with rights(kubectl, programs, namespace, kubeconfig, apply__namespaces=f"{{{namespace}}}"):
        operator = Kubectl(kubectl.program, kubeconfig)
        run = ("-n", namespace, "run", "one", "--image=example.com/x:1", "--restart=Never")

        def refused() -> bool:  # a policy counts a moment after it was made
            return "rehearses pods and makes none" in operator(*run, check=False).stderr

        eventually(refused)
        operator("-n", namespace, "run", "two", "--image=example.com/x:1", "--dry-run=server")


def test_named_namespaces_are_all_that_it_writes_in(programs: Path):
    def answers(**values: str) -> list[str]:
        roles = (d for d in rendered(programs, "x", **values) if d["kind"] == "Role")
        return [d["metadata"]["namespace"] for d in roles if "answers" in d["metadata"]["name"]]

    def cluster_wide(**values: str) -> set[str]:
        (role,) = (
            d
            for d in rendered(programs, "x", **values)
            if d["kind"] == "ClusterRole" and d["metadata"]["name"] == "guide"
        )
        return {r for rule in role["rules"] for r in rule["resources"]}

    assert answers(operator__namespaces="{one,two}") == ["one", "two", "x"]
    assert "configmaps" not in cluster_wide(operator__namespaces="{one,two}")
    for values in ({}, {"operator__namespaces": "{team-*}"}):
        assert not answers(**values)
        assert "configmaps" in cluster_wide(**values)


def test_mode_apply_works_in_listed_namespaces_alone(
    kubectl: Kubectl, programs: Path, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    other = f"{namespace[:50]}-other"
    kubectl("create", "namespace", other)
    granted = {"apply__namespaces": f"{{{namespace}}}"}
    try:
        with (
            rights(kubectl, programs, namespace, tmp_path / "kubeconfig", **granted) as kubeconfig,
            running(kubeconfig, tmp_path / "log"),
        ):
            applies = {"output": {"mode": "Apply"}, "placement": {"gpus": ["H100-SXM"]}}
            kubectl.apply(chat(namespace, **applies), chat(other, **applies))
            plan_when(kubectl, namespace, "chat", "Recommended", "True")
            refused = plan_when(kubectl, other, "chat", "Refused", "False")
            message = condition(refused, "Applied")["message"]
            assert "apply.namespaces" in message
            assert not kubectl("-n", other, "get", "deployments", "--ignore-not-found").stdout
    finally:
        kubectl("delete", "namespace", other, "--wait=false")


def test_apply_rights_are_given_by_namespace(programs: Path):
    (lease,) = (d for d in rendered(programs, "x") if d["kind"] == "Role")
    assert lease["rules"][0]["resourceNames"] == ["guide"]
    objects = rendered(programs, "x", apply__namespaces="{one,two}")
    roles = [d for d in objects if d["kind"] in ("Role", "RoleBinding")]
    roles = [d for d in roles if d["metadata"]["name"] == "guide-apply"]
    assert [(d["kind"], d["metadata"]["namespace"]) for d in roles] == [
        *(("Role", ns) for ns in ("one", "two")),
        *(("RoleBinding", ns) for ns in ("one", "two")),
    ]
    (cluster,) = (
        d for d in objects if d["kind"] == "ClusterRole" and d["metadata"]["name"] == "guide"
    )
    assert "deployments" not in {r for rule in cluster["rules"] for r in rule["resources"]}


def test_install_upgrade_uninstall(
    control_plane: ControlPlane,
    kubectl: Kubectl,
    programs: Path,
    namespace: str,
    tmp_path: Path,
):
    values = tmp_path / "values.yaml"
    # onto a fake node, whose pods are Running without an image
    values.write_text(yaml.safe_dump({"tolerations": [nodes.TOLERATION]}))
    where = ("--namespace", namespace, "-f", values, "--wait", "--timeout", "90s")

    def run(*words: str | Path) -> str:
        return helm(programs, *words, kubeconfig=control_plane.kubeconfig)

    run("install", "guide", CHART, *where, "--take-ownership")
    deployment = kubectl.json("-n", namespace, "get", "deployment", "guide")
    assert deployment["status"]["availableReplicas"] == 1
    kubectl.apply(chat(namespace))
    run("upgrade", "guide", CHART, *where, "--set", "replicas=2")
    deployment = kubectl.json("-n", namespace, "get", "deployment", "guide")
    assert deployment["status"]["availableReplicas"] == 2
    run("uninstall", "guide", "--namespace", namespace, "--wait")
    left = kubectl("-n", namespace, "get", "deployment,role,pdb", "--ignore-not-found").stdout
    assert not left
    assert not kubectl("get", "clusterrole", "guide", "--ignore-not-found").stdout
    assert kubectl.json("-n", namespace, "get", "iplan", "chat")["spec"]  # plans outlive the chart
