"""The operations page names every setting with its default, and every reason of a condition."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from guide_operator import findings, jobs, status
from guide_operator import layouts as apply
from guide_operator import rollout as applier
from guide_operator.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_stands_there_with_its_default(name: str):
    row = next(cells for cells in ROWS if cells[0] == f"`{name}`")
    assert row[1] == str(Settings.model_fields[name].default)


def test_the_values_of_the_chart_exist():
    values = yaml.safe_load((ROOT / "charts/guide/values.yaml").read_text(encoding="utf-8"))
    settings = [cells for cells in ROWS if cells[0].strip("`") in Settings.model_fields]
    named = [name for cells in settings for name in re.findall(r"`([\w.]+)`", cells[2])]
    assert len(named) > 8
    for name in named:
        section, value = name.split(".")
        assert value in values[section]


@pytest.mark.parametrize("module", [status, apply, applier, findings, jobs])
def test_every_reason_is_explained(module: object):
    reasons = {
        value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and re.fullmatch(r"[A-Z]\w+", value)
    }
    assert reasons
    assert {reason for reason in reasons if f"`{reason}`" not in PAGE} == set()


def test_margin_and_patience_are_those_of_the_code():
    said = f"saves at least {apply.MARGIN_SHARE:.0%} for {apply.PATIENCE_S / 60:.0f} minutes"
    assert said.replace("%", " %") in PAGE
