"""Metrics for those alone whom the API server lets read them, with the rights of the chart."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from hack.controlplane.kubectl import Kubectl
from tests.e2e.chart import rights
from tests.e2e.operator_process import Operator, eventually, install_crd, running


def answer(operator: Operator, token: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{operator.metrics_port}/metrics"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            assert b"guide_reconciles_total" in response.read()
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_metrics_are_for_those_who_may_get_them(
    kubectl: Kubectl, programs: Path, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    asks = {"service__metricsByToken": "true"}
    with rights(kubectl, programs, namespace, tmp_path / "kubeconfig", **asks) as kubeconfig:
        tokens: dict[str, str] = {}
        for name in ("prometheus", "stranger"):
            kubectl("-n", namespace, "create", "serviceaccount", name)
            tokens[name] = kubectl("-n", namespace, "create", "token", name).stdout.strip()
        role = f"{namespace}-metrics"
        kubectl("create", "clusterrole", role, "--verb=get", "--non-resource-url=/metrics")
        account = f"--serviceaccount={namespace}:prometheus"
        kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", account)
        with running(kubeconfig, tmp_path / "log", metrics_by_token="true") as operator:
            eventually(lambda: answer(operator, tokens["prometheus"]) == 200)
            assert answer(operator, tokens["stranger"]) == 403
            assert answer(operator, "made-up") == 401
            assert answer(operator) == 401
        kubectl("delete", "clusterrole,clusterrolebinding", role)
    assert "Traceback" not in (tmp_path / "log").read_text()
