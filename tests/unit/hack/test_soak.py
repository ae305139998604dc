"""The soak run tells writes with a cause from writes without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hack.controlplane.kubectl import Kubectl
from hack.soak import Soak

BEFORE = {("InferencePlan", "plan-0000"): "1", ("ConfigMap", "plan-0001-manifests"): "2"}


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> Soak:
    held: list[dict[str, Any]] = [
        {"kind": "InferencePlan", "metadata": {"name": "plan-0000", "resourceVersion": "3"}},
        {"kind": "ConfigMap", "metadata": {"name": "plan-0001-manifests", "resourceVersion": "2"}},
        {"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "resourceVersion": "9"}},
    ]
    monkeypatch.setattr(Kubectl, "json", lambda *_: {"items": held})
    monkeypatch.setattr(Soak, "count_replans", lambda *_: None)
    return Soak(Kubectl(Path("kubectl"), Path("kubeconfig")), 2, "")


def test_a_write_that_nothing_explains_is_reported(soak: Soak):
    soak.account(BEFORE, "noise", set())
    assert soak.without_cause == ["InferencePlan plan-0000 during noise"]
    assert not soak.writes


def test_a_write_to_a_plan_that_was_edited_has_its_cause(soak: Soak):
    after = soak.account(BEFORE, "edit", {"plan-0000"})
    assert not soak.without_cause
    assert soak.writes == {"edit: InferencePlan": 1}
    assert after["InferencePlan", "plan-0000"] == "3"


def test_an_object_that_vanishes_is_a_change_too(soak: Soak):
    soak.account({**BEFORE, ("ConfigMap", "plan-0000-manifests"): "4"}, "edit", {"plan-0001"})
    assert soak.without_cause == [
        "ConfigMap plan-0000-manifests during edit",
        "InferencePlan plan-0000 during edit",
    ]
