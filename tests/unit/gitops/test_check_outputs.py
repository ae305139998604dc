"""What `guide check` and `guide diff` print for people and for CI."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import Result

from guide.gitops.findings import RULES
from guide.manifests.render import formats
from tests.rendered import edit, pod, render_into, rules, run, write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return render_into(tmp_path, monkeypatch)


# --- forms of output ---


def test_github_annotations_name_file_and_line(here: Path):
    edit("out/deployment-0.yaml", "--max-num-seqs=", "--max-num-seqs=1")
    result = run("check", "out", "--output", "github")
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert re.fullmatch(r"::error file=out/deployment-0\.yaml,line=\d+,title=FileEdited::.+", line)


def test_sarif_has_the_shape_that_code_scanning_reads(here: Path):
    edit("out/service.yaml", "port: 80", "port: 81")
    log = json.loads(run("check", "out", "--output", "sarif").output)
    assert log["version"] == "2.1.0"
    (one,) = log["runs"]
    known = [rule["id"] for rule in one["tool"]["driver"]["rules"]]
    assert known == sorted(RULES)
    (found,) = one["results"]
    assert found["level"] in {"none", "note", "warning", "error"}
    assert known[found["ruleIndex"]] == found["ruleId"] == "FileEdited"
    assert found["message"]["text"]
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "out/service.yaml"
    assert place["region"]["startLine"] > 0


def test_sarif_of_a_good_folder_has_no_result(here: Path):
    result = run("check", "out", "--output", "sarif")
    assert (result.exit_code, json.loads(result.output)["runs"][0]["results"]) == (0, [])


def test_junit_counts_its_failures(here: Path):
    edit("out/service.yaml", "port: 80", "port: 81")
    suites = ElementTree.fromstring(run("check", "out", "--output", "junit").output)
    suite = suites.find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert int(suite.get("tests", "0")) == len(cases) == len(RULES)
    assert int(suite.get("failures", "0")) == len(suite.findall(".//failure")) == 1
    assert all(case.get("classname") and case.get("name") for case in cases)


def test_own_prices_are_part_of_what_is_checked(here: Path):
    own = {"gpu": "H100-SXM", "provider": "us", "capacity": "on-demand", "usd_per_gpu_h": 1.5}
    row = {**own, "as_of": "2026-11-01", "source": "our contract"}
    Path("prices.yaml").write_text(yaml.safe_dump({"rows": [row]}))
    flags = ("--nodes", "nodes.yaml", "--prices", "prices.yaml")
    assert run("render", "-f", "plan.yaml", *flags, "--out", "own").exit_code == 0
    assert run("check", "own", "--prices", "prices.yaml").exit_code == 0
    assert run("diff", "-f", "plan.yaml", *flags, "own").exit_code == 0
    assert "CatalogChanged" in rules(run("check", "own"))


@pytest.mark.parametrize("form", sorted(formats()))
def test_every_form_can_be_checked(here: Path, form: str):
    flags = ("render", "-f", "plan.yaml", "--nodes", "nodes.yaml", "--format", form)
    assert run(*flags, "--out", "other").exit_code == 0
    assert run("check", "other").exit_code == 0
    (name,) = (p.name for p in Path("other").glob("*") if p.name.startswith((form[:6], "values")))
    edit(f"other/{name}", "8", "9")
    assert rules(run("check", "other")) == ["FileEdited"]


# --- diff ---


def diff(*more: str) -> Result:
    return run("diff", "-f", "plan.yaml", "--nodes", "nodes.yaml", *more, "out")


def test_the_same_plan_differs_in_nothing(here: Path):
    result = diff()
    assert (result.exit_code, result.output) == (0, "out is what the plan asks for.\n")


def test_a_new_plan_is_told_by_lines_and_reasons(here: Path):
    edit("plan.yaml", "requestsPerSecond: 8", "requestsPerSecond: 80")
    result = diff()
    assert result.exit_code == 1
    assert "Why: the plan differs from the rendered one in spec.workload.requestsPerSecond" in (
        result.output
    )
    assert "-  replicas: " in result.output
    assert "\x1b[" not in result.output


def test_numbers_of_the_review_alone_are_no_difference(here: Path):
    taken = pod("other", "a100-0", 1)
    write("pods.yaml", [taken])
    result = diff("--pods", "pods.yaml")
    assert result.exit_code == 0, result.output
    assert "only numbers in REVIEW.md" in result.output


def test_an_infeasible_plan_is_exit_3(here: Path):
    edit("plan.yaml", "ttftP95Milliseconds: 500", "ttftP95Milliseconds: 1")
    assert diff().exit_code == 3
