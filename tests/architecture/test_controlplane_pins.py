"""hack/gomod pins exactly the programs that hack/controlplane builds."""

from __future__ import annotations

import re

from hack.controlplane.build import GOMOD, NODE_PROGRAMS, PROGRAMS, module_version

VERSION = r"v(\d+)\.(\d+)\.(\d+)"


def test_tools_go_imports_every_program():
    imported = set(re.findall(r'_ "(\S+)"', (GOMOD / "tools.go").read_text(encoding="utf-8")))
    built = {*PROGRAMS.values(), *NODE_PROGRAMS.values()}
    assert imported == {package for package in built if not package.startswith("./")}


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
