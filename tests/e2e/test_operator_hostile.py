"""Hostile plans on a real API server: refused at admission or answered with a condition.

GUIDE_HOSTILE_PLANS says how many.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from kubernetes import config
from kubernetes.client import ApiClient, Configuration, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import chat, condition, eventually, install_crd, running
from tests.hostile_plans import accepted, changed, changes, configs, filled

COUNT = int(os.environ.get("GUIDE_HOSTILE_PLANS", "100"))
# What people can do about a plan; anything else would be a fault of the operator.
ANSWERS = {"Recommended", "NoFeasibleConfiguration", "InvalidSpec", "TookTooLong"}

pytestmark = pytest.mark.scale


def hostile(namespace: str) -> list[dict[str, Any]]:
    """As many plans, the same ones at every run, named one by one unless the name is the attack."""
    found: list[dict[str, Any]] = []

    @settings(max_examples=COUNT, derandomize=True, database=None, phases=[Phase.generate])
    @given(changes.map(changed) | accepted.map(filled))
    def collect(plan: dict[str, Any]) -> None:
        metadata = plan["metadata"]
        if metadata.get("name") == "chat":
            plan["metadata"] = {**metadata, "name": f"hostile-{len(found)}"}
        plan["metadata"].setdefault("namespace", namespace)
        found.append(plan)

    collect()
    return found


def hostile_configs(namespace: str) -> list[dict[str, Any]]:
    """A ConfigMap each with a config.json that means harm, and a plan that takes it."""
    found: list[dict[str, Any]] = []

    @settings(max_examples=COUNT, derandomize=True, database=None, phases=[Phase.generate])
    @given(configs)
    def collect(config: dict[str, Any]) -> None:
        name = f"config-{len(found) // 2}"
        found.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace},
                "data": {"config.json": json.dumps(config)},
            }
        )
        source = {"configMapKeyRef": {"name": name, "key": "config.json"}}
        found.append(chat(namespace, name, model={"name": "own/model", "configFrom": source}))

    collect()
    return found


def admitted(kubeconfig: Path, namespace: str, plans: list[dict[str, Any]]) -> int:
    """How many the server took; it must name a reason for every other one."""
    chosen, count, refusals = Configuration(), 0, set[int]()
    config.load_kube_config(str(kubeconfig), client_configuration=chosen)
    with ApiClient(chosen) as connection:
        api = CustomObjectsApi(connection)
        for plan in plans:
            try:
                api.create_namespaced_custom_object(
                    "guide.dev", "v1alpha1", namespace, "inferenceplans", plan
                )
                count += 1
            except ApiException as error:
                refusals.add(error.status)
    assert refusals <= {400, 409, 422}  # no JSON, a name that exists, an invalid plan
    return count


def test_each_is_refused_at_admission_or_answered(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    log = tmp_path / "log"
    plans = hostile(namespace)
    with running(control_plane.kubeconfig, log) as operator:
        taken = admitted(control_plane.kubeconfig, namespace, plans)
        assert 0 < taken < len(plans)
        with_configs = hostile_configs(namespace)
        kubectl.apply(*with_configs)
        taken += len(with_configs) // 2
        print(f"{len(plans)} hostile plans: {taken} admitted")

        @retry(stop=stop_after_delay(60 + COUNT), wait=wait_fixed(1), reraise=True)
        def answered() -> list[str]:
            items = kubectl.json("-n", namespace, "get", "iplan")["items"]
            assert len(items) == taken
            reasons = [condition(item, "Ready").get("reason", "none yet") for item in items]
            assert set(reasons) <= ANSWERS, set(reasons)
            return [item["metadata"]["resourceVersion"] for item in items]

        @retry(stop=stop_after_delay(60 + COUNT), reraise=True)
        def rests() -> None:  # whatever still changes on a busy machine; a hot loop never would
            versions = answered()
            time.sleep(5)
            assert answered() == versions

        rests()
        eventually(operator.healthy)
    assert "Traceback" not in log.read_text()
