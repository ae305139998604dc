"""The go.mod files pin exactly the programs that hack/controlplane and hack/node build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hack.controlplane.build import GOMOD, NODE_PROGRAMS, PROGRAMS, SERVERS, module_version
from hack.node.programs import HERE, METRICS_SERVER, POLICY_AGENT, PROMETHEUS, program_sets

VERSION = r"v(\d+)\.(\d+)\.(\d+)"


def imported(module: Path) -> set[str]:
    return set(re.findall(r'_ "(\S+)"', (module / "tools.go").read_text(encoding="utf-8")))


def test_tools_go_imports_every_program():
    built = {*PROGRAMS.values(), *NODE_PROGRAMS.values()}
    assert imported(GOMOD) == {package for package in built if not package.startswith("./")}


def test_each_module_of_the_node_pins_its_programs_and_nothing_else():
    sets = [*program_sets()[1:], PROMETHEUS, METRICS_SERVER, POLICY_AGENT]
    assert {each.module for each in sets} == set((HERE / "gomod").iterdir())
    for each in sets:
        fetched = {package for package in each.packages if not package.startswith("./")}
        assert imported(each.module) == fetched
        assert (
            f"module guide.dev/hack/node/{each.module.name}" in (each.module / "go.mod").read_text()
        )


def test_staging_modules_follow_the_kubernetes_version():
    major, minor, patch = re.fullmatch(VERSION, module_version("k8s.io/kubernetes")).groups()
    assert major == "1"
    replaced = re.findall(
        rf"^\t(k8s\.io/\S+) => \1 {VERSION}$",
        (GOMOD / "go.mod").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert len(replaced) > 25
    assert {tuple(row[1:]) for row in replaced} == {("0", minor, patch)}


@pytest.mark.parametrize("pins", sorted(GOMOD.glob("kubernetes-*")), ids=lambda path: path.name)
def test_an_older_kubernetes_pins_its_servers_at_one_version(pins: Path):
    assert imported(pins) == {PROGRAMS[name] for name in SERVERS}
    minor = pins.name.partition("-")[2]
    version = module_version("k8s.io/kubernetes", pins)
    assert version.startswith(f"v{minor}.")
    text = (pins / "go.mod").read_text(encoding="utf-8")
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (\S+) (v\S+)$", text, re.MULTILINE)
    assert len(replaced) > 25
    for name, by, at in replaced:
        assert (by, at) == (name, version.replace("v1.", "v0.", 1))
