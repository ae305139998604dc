"""`import guide`: what a Python user may rely on, and that the page about it is true."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import guide

ROOT = Path(__file__).resolve().parents[2]


def test_every_public_name_is_found_and_listed():
    assert {*guide.__all__} <= {*dir(guide)}
    for name in guide.__all__:
        assert getattr(guide, name) is not None


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "guide/__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [
        (alias.asname, statement.module)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    ]
    assert [name for name, _ in sorted(seen, key=lambda row: row[0] or "")] == guide.__all__
    for name, module in seen:
        assert f"guide.{guide._HOMES[name or '']}" == module


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'recomend'"):
        _ = guide.recomend


def test_importing_the_package_imports_no_room_of_it():
    script = "import guide, sys; print([m for m in sys.modules if m.startswith('guide.')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_the_examples_of_the_page_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(str(ROOT / "docs/python.md"), module_relative=False)
    assert tried >= 15
    assert failed == 0
