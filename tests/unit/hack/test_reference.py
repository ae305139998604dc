"""The reference pages are what the types say, and leave nothing out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from guide.cli.commands import COMMANDS
from guide.domain import Reason
from guide.gitops.findings import RULES
from guide.report.reasons import MEANING
from hack.reference import FOLDER, ROOT, documents

PAGES = documents()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_the_generated_one(name: str):
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name], "run `make generate`"


def test_every_reason_has_a_meaning_and_every_rule_is_used():
    assert set(MEANING) == set(Reason)
    source = (ROOT / "guide/gitops/verify.py").read_text(encoding="utf-8")
    used = {
        keyword.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "rule" and isinstance(keyword.value, ast.Constant)
    }
    assert used == set(RULES)


def test_every_command_and_field_is_on_its_page():
    for command in COMMANDS:
        assert f"## `guide {command}`" in PAGES["cli.md"]
    for field in (
        "spec.workload.inputTokens.mean", "spec.slo.ttftP95Milliseconds", "spec.frameworks",
        "spec.deployment.tokenSecretRef.name", "status.summary.hourlyUSD",
        "status.conditions[].type",
    ):  # fmt: skip
        assert f"| `{field}` |" in PAGES["plan.md"]


def test_there_is_no_other_page_but_the_one_written_by_hand():
    assert {path.name for path in Path(FOLDER).iterdir()} == {*PAGES, "models.md"}
