"""hack/controlplane/build.py: a build by Go tells how far it is, and a failure in few words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hack.controlplane import progress
from hack.controlplane.build import ControlPlaneError, run_go

ROOT = Path(__file__).resolve().parents[3]
DOWNLOADS = "go: downloading k8s.io/api v0.37.2\n" * 3
COMPILED = "k8s.io/api/core/v1\ngithub.com/a-b/c.d/v2\nfmt\n"
BROKEN = "# example.com/broken\n./main.go:7:2: undefined: x\n"
SEEN = """
from hack.controlplane import progress

def test_quiet():
    print("not seen")
    progress.tell("first build: 7 packages")
"""


def go(folder: Path, says: str, code: int = 0) -> Path:
    """A program that prints its arguments, says something on stderr, and ends."""
    program = folder / "go"
    program.write_text(f"#!/bin/sh\necho \"$@\"\ncat >&2 <<'END'\n{says}END\nexit {code}\n")
    program.chmod(0o755)
    return program


def test_a_build_names_what_it_compiles_and_returns_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    monkeypatch.setattr(progress, "tell", told.append)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    program = go(tmp_path, DOWNLOADS + COMPILED)
    assert run_go(program, "build", "-o", "x", module=tmp_path) == "build -v -o x\n"
    assert len(told) == 6
    assert told[-1].endswith("3 modules downloaded, 3 packages compiled")
    assert run_go(program, "list", module=tmp_path) == "list\n"


def test_lines_are_told_at_intervals_alone(monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(progress, "tell", told.append)
    seconds = iter(range(0, 1000, 4))
    assert progress.follow(["fmt\n"] * 9, lambda: next(seconds)) == []
    counts = [line.split(", ")[1] for line in told]
    assert counts == ["3 packages compiled", "6 packages compiled", "9 packages compiled"]


def test_a_failure_is_told_without_what_was_fetched_and_compiled(tmp_path: Path):
    program = go(tmp_path, DOWNLOADS + COMPILED + BROKEN, code=1)
    with pytest.raises(ControlPlaneError) as problem:
        run_go(program, "build", module=tmp_path)
    assert str(problem.value) == f"`go build` failed: {BROKEN.strip()}"


def test_progress_passes_the_capture_of_pytest(tmp_path: Path):
    (tmp_path / "conftest.py").write_text("from tests.conftest import compiling_is_seen\n")
    (tmp_path / "test_quiet.py").write_text(SEEN)
    words = ["-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "-c", "/dev/null"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *words, tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "first build: 7 packages" in ran.stderr
    assert "not seen" not in ran.stdout + ran.stderr
