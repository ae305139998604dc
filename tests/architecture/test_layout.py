"""The shape of the repository: what a linter cannot see."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 350
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
PYTHON_FILES = sorted(
    path for room in ("guide", "operator", "hack", "tests") for path in (ROOT / room).rglob("*.py")
)


def test_the_operator_folder_is_not_a_package():
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "tests" / "operator").exists()


def test_python_files_are_found():
    assert ROOT / "guide" / "__init__.py" in PYTHON_FILES
    assert Path(__file__).resolve() in PYTHON_FILES


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_is_short_and_named_after_what_it_holds(path: Path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: split it by subject"
    assert path.stem not in FORBIDDEN_NAMES, "name the module after the thing it holds"


def test_both_packages_are_shipped():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["guide", "operator/guide_operator"]
    assert project["project"]["scripts"]["guide"] == project["project"]["scripts"]["kubectl-guide"]
