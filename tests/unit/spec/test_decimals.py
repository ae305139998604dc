"""Decimals without quotes: files and the page take them, and learn how a cluster wants them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from guide.cli.app import app
from guide.errors import SpecError
from guide.spec import load_plan, write_document
from guide.spec.resolve import unquoted
from guide.web.api import Ask

ROOT = Path(__file__).resolve().parents[3]
PLAN = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
PLAN["spec"]["workload"] |= {"requestsPerSecond": 2.5, "arrivalCV": 0.75}
PLAN["spec"]["budget"] = {"maxHourlyUSD": 99.5}
TEXT = write_document(PLAN)
SENTENCE = (
    'spec.workload.requestsPerSecond is 2.5: `kubectl apply` takes it in quotes only, as "2.5"'
)


def test_a_float_is_its_shortest_decimal():
    spec = load_plan(TEXT).spec
    assert spec.workload.requests_per_second == Decimal("2.5")
    assert spec.workload.arrival_cv == Decimal("0.75")
    assert spec.budget.max_hourly_usd == Decimal("99.5")
    assert len(unquoted(TEXT)) == 3
    assert SENTENCE in unquoted(TEXT)
    assert not unquoted((ROOT / "examples/chat.yaml").read_text())


@pytest.mark.parametrize("value", [".nan", ".inf", "1.0e-9", "1.0e+30", "-2.5", "0.0"])
def test_a_float_that_is_no_quantity_is_refused(value: str):
    with pytest.raises(SpecError, match=r"spec\.workload\.requestsPerSecond"):
        load_plan(TEXT.replace("requestsPerSecond: 2.5", f"requestsPerSecond: {value}"))


def test_the_command_line_answers_and_says_how_a_cluster_wants_it(tmp_path: Path):
    (tmp_path / "plan.yaml").write_text(TEXT)
    nodes = str(ROOT / "examples/nodes.yaml")
    ran = CliRunner().invoke(app, ["plan", "-f", str(tmp_path / "plan.yaml"), "--nodes", nodes])
    assert ran.exit_code == 0, ran.output
    assert f"guide: {SENTENCE}." in ran.stderr
    assert SENTENCE not in ran.stdout


def test_the_api_of_the_page_takes_it_too():
    pools = [{"gpu": "H100-SXM", "nodes": 1, "gpusPerNode": 8}]
    body = {"plan": PLAN, "pools": pools}
    assert Ask.model_validate(body).plan.spec.workload.requests_per_second == Decimal("2.5")


def test_the_schema_says_quote_decimals():
    """What `kubectl explain` prints."""
    crd = yaml.safe_load((ROOT / "crds/inferenceplans.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    workload, budget = (schema["properties"][key]["properties"] for key in ("workload", "budget"))
    for field in (
        workload["requestsPerSecond"],
        workload["arrivalCV"],
        budget["maxHourlyUSD"],
    ):
        assert "Quote decimals" in field["description"]
        assert field["x-kubernetes-int-or-string"]
