"""The health rules for Argo CD (run as Lua) and Flux (run as CEL) against real statuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import celpy
import lupa
import pytest
import yaml

from guide_operator import status
from guide_operator.status import Condition, Stamp

DOCS = Path(__file__).resolve().parents[3] / "docs/gitops"
STAMP = Stamp(generation=2, now="2026-01-01T00:00:00Z", previous={})


def conditions(*wanted: Condition) -> dict[str, Any]:
    start = status.refused("Start", "m", STAMP, stalled=False)
    stamp = Stamp(generation=2, now=STAMP.now, previous=start)
    return status.progressed(wanted, stamp)


CASES = {
    "ready": (conditions(*status.available("Runs.")), "Healthy"),
    "invalid": (status.refused("InvalidSpec", "Mend it.", STAMP), "Degraded"),
    "rolling out": (status.refused("RolloutInProgress", "m", STAMP, stalled=False), "Progressing"),
    "stale": ({**conditions(*status.available("m")), "observedGeneration": 1}, "Progressing"),
}


def plan(value: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "status": value}


@pytest.mark.parametrize("name", CASES)
def test_argo_cd(name: str):
    value, health = CASES[name]
    lua = lupa.LuaRuntime()
    script = (DOCS / "argocd-health.lua").read_text()
    check = lua.eval(f"function(obj) {script} end")
    assert check(lua.table_from(plan(value), recursive=True))["status"] == health


def test_argo_cd_before_the_first_answer():
    lua = lupa.LuaRuntime()
    check = lua.eval(f"function(obj) {(DOCS / 'argocd-health.lua').read_text()} end")
    empty = lua.table_from({"metadata": {"generation": 1}}, recursive=True)
    assert check(empty)["status"] == "Progressing"


@pytest.mark.parametrize("name", CASES)
def test_flux(name: str):
    value, health = CASES[name]
    (rule,) = yaml.safe_load((DOCS / "flux-health.yaml").read_text())
    environment = celpy.Environment()
    holds = {
        key: bool(
            environment.program(environment.compile(rule[key])).evaluate(
                {part: celpy.json_to_cel(item) for part, item in plan(value).items()}
            )
        )
        for key in ("current", "failed", "inProgress")
    }
    wanted = {"Healthy": "current", "Degraded": "failed", "Progressing": "inProgress"}[health]
    if name == "stale":
        assert holds["inProgress"]
        assert not holds["current"]
    else:
        assert holds == {key: key == wanted for key in holds}
