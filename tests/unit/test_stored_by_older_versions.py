"""Objects and folders that 0.1.0 left are read: a plan with its status, and what it rendered."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from typer.testing import CliRunner

from guide.catalog import load
from guide.cli.app import app
from guide.question import Cluster, ask
from guide.search.assess import assess
from guide.spec import load_plan, parse_plan
from guide_operator import findings, layouts, reconcile
from guide_operator.metrics import Metrics
from guide_operator.reconcile import Observed
from hack import nodes as fake
from tests.stored_status import fits

STORED = Path(__file__).resolve().parents[1] / "stored"
TEXT = (STORED / "plan-0.1.0.yaml").read_text(encoding="utf-8")
NOW = "2026-12-01T00:00:00Z"


@pytest.fixture
def plan() -> dict[str, Any]:
    return deepcopy(yaml.safe_load(TEXT))


def test_the_status_is_kept_whole_by_the_crd(plan: dict[str, Any]):
    fits(plan["status"])


def test_the_operator_knows_what_runs_and_answers(plan: dict[str, Any]):
    catalog = load()
    (running,) = layouts.running(plan["status"])
    assert running.limits is not None
    assert findings.layout_of(plan["status"])[0].key == running.key
    question = ask(parse_plan(plan), Cluster(nodes=fake.nodes({"h100-sxm": 2})), catalog)
    pool = question.inventory.pools[0].name
    moved = (layouts.Running(key=running.key._replace(pool=pool), replicas=running.replicas),)
    assert assess(question.plan, question.inventory, catalog, moved) is not None
    observed = Observed(uid="u", generation=1, status=plan["status"], config_map=None)
    decided = reconcile.decide(
        question.written, question.answer(), catalog, observed, inputs="sha256:y", now=NOW
    )
    assert decided.status is not None
    fits(decided.status)


def test_a_status_that_says_nothing_known_stops_no_plan(plan: dict[str, Any]):
    del plan["status"]["best"]  # while its conditions still say Feasible
    metrics = Metrics()
    metrics.plans.show(plan)
    assert b"guide_predicted" in generate_latest(metrics.registry)


def test_the_command_line_reads_the_plan_with_its_status():
    assert load_plan(TEXT).metadata.name == "chat"


def test_a_rendered_folder_is_checked_and_not_refused_as_foreign(tmp_path: Path):
    shutil.copytree(STORED / "rendered-0.1.0", tmp_path / "chat")
    told = CliRunner().invoke(app, ["check", str(tmp_path / "chat")])
    assert told.exit_code == 1, told.output  # other facts and fits by now, and it says so
    assert "guide render" in told.output
