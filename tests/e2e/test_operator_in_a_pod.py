"""What a pod takes away: a user with a name, a home, a writable disk, rights and the network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from hack.controlplane.kubectl import Kubectl
from hack.ports import free_port
from tests.e2e.chart import rights
from tests.e2e.operator_process import chat, eventually, install_crd, plan_when, running

# As in the chart: a user that no passwd knows, and nothing writable but one folder.
ENTER = """
set -e
mount --make-rprivate /
mount -o remount,bind,ro /
mount -t tmpfs tmpfs /var/tmp
exec env -u USER -u LOGNAME -u LNAME -u USERNAME -u HOME PYTHONDONTWRITEBYTECODE=1 \\
  setpriv --reuid 65532 --regid 65532 --clear-groups \\
  --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"  # it may lie in a closed home
"""


def test_it_runs_as_a_user_without_a_name_on_a_read_only_disk(
    kubectl: Kubectl, namespace: str, tmp_path: Path
):
    if os.geteuid() or not (shutil.which("setpriv") and shutil.which("unshare")):
        pytest.skip("Another user needs root and `apt-get install util-linux` (setpriv, unshare).")
    install_crd(kubectl)
    folder = tmp_path / "open"
    folder.mkdir()
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)
    kubeconfig = folder / "kubeconfig"
    shutil.copy(kubectl.kubeconfig, kubeconfig)
    kubeconfig.chmod(0o644)
    under = ["unshare", "--mount", "bash", "-c", ENTER, "enter"]
    with running(kubeconfig, tmp_path / "log", under=under) as operator:
        eventually(lambda: operator.readiness() == (200, "ok"))
        assert operator.metrics()["guide_ready"][frozenset()] == 1
        kubectl.apply(chat(namespace))
        plan_when(kubectl, namespace, "chat", "Recommended", "True")


def test_it_says_that_it_cannot_read_its_lease(
    kubectl: Kubectl, programs: Path, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    settings = {"lease": "not-ours", "namespace": namespace}
    with (
        rights(kubectl, programs, namespace, tmp_path / "kubeconfig") as kubeconfig,
        running(kubeconfig, tmp_path / "log", **settings) as operator,
    ):
        eventually(lambda: operator.readiness()[0] == 503 and "Lease" in operator.readiness()[1])
        assert operator.healthy()  # to start it again would not help


def test_one_that_waits_for_another_is_ready(
    kubectl: Kubectl, programs: Path, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    settings = {"lease": "guide", "namespace": namespace}
    with (
        rights(kubectl, programs, namespace, tmp_path / "kubeconfig") as kubeconfig,
        running(kubeconfig, tmp_path / "one", **settings, identity="one") as one,
        running(kubeconfig, tmp_path / "two", **settings, identity="two") as two,
    ):
        for replica in (one, two):
            eventually(lambda replica=replica: replica.readiness() == (200, "ok"))


def test_it_says_that_nothing_answers_where_the_cluster_should_be(kubectl: Kubectl, tmp_path: Path):
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    closed = tmp_path / "kubeconfig"
    closed.write_text(yaml.safe_dump(config))
    with running(closed, tmp_path / "log") as operator:
        status, text = operator.readiness()
        assert status == 503
        assert "list nodes" in text
