"""Statuses are read by people who may have no `guide` command: they name none of its flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer

from guide.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
# What a status says comes from here, but for files that answer commands alone.
SOURCES = (
    *(ROOT / "guide/search").glob("*.py"),
    *(ROOT / "guide/cluster").glob("*.py"),
    *(ROOT / "operator/guide_operator").glob("*.py"),
    *(ROOT / "guide/report" / f"{name}.py" for name in ("sentences", "reasons", "status")),
)
COMMANDS_ALONE = {"client.py", "potential.py", "fit.py"}


def words(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in documented:
            yield text


def test_no_flag_of_the_command_line_is_in_a_status():
    commands = typer.main.get_command(app).commands.values()  # pyright: ignore
    ours = {flag for one in commands for p in one.params for flag in p.opts if flag[:2] == "--"}
    assert {"--format", "--gpus"} <= ours
    said = {
        (file.name, flag)
        for file in SOURCES
        if file.name not in COMMANDS_ALONE
        for text in words(file)
        for flag in re.findall(r"--[a-z][a-z-]+", text)
    }
    assert said, "flags of servers are named"
    assert not {(file, flag) for file, flag in said if flag in ours}
