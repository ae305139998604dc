"""`guide render`, `guide check` and `guide diff`: a folder that stopped holding is refused."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import CliRunner, Result

from guide.catalog import load
from guide.cli.app import app
from guide.domain import Inventory
from guide.errors import SpecError
from guide.kube.folder import digest
from guide.kube.manifests import formats
from guide.report.findings import RULES
from guide.spec import read_document
from guide.spec.lock import LockedInventory, read_lock
from tests import toy
from tests.handmade import DRA_POOL, INFEASIBLE, POOL, V100_POOL

PLAN = """
apiVersion: guide.dev/v1alpha1
kind: InferencePlan
metadata: {name: chat, namespace: ml}
spec:
  model: {name: meta-llama/Llama-3.1-8B-Instruct}
  workload:
    inputTokens: {mean: 1024, p95: 3000}
    outputTokens: {mean: 256, p95: 700}
    requestsPerSecond: 8
  slo: {ttftP95Milliseconds: 500}
"""


def node(name: str, product: str, mib: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "nvidia.com/gpu.product": product,
                "nvidia.com/gpu.count": "8",
                "nvidia.com/gpu.memory": str(mib),
            },
        },
        "status": {
            "allocatable": {"nvidia.com/gpu": "8"},
            "capacity": {"nvidia.com/gpu": "8"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


H100 = [node(f"h100-{n}", "NVIDIA-H100-80GB-HBM3", 81559) for n in range(3)]
A100 = [node(f"a100-{n}", "NVIDIA-A100-SXM4-80GB", 81920) for n in range(2)]


def pod(holder: str, on: str, gpus: int, **labels: str) -> dict[str, Any]:
    held = {"nvidia.com/gpu": str(gpus)}
    return {
        "kind": "Pod",
        "metadata": {"name": holder, "namespace": "ml", "labels": labels},
        "spec": {"nodeName": on, "containers": [{"resources": {"requests": held}}]},
        "status": {"phase": "Running"},
    }


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plan, nodes, and what `guide render` makes of them, in `out`."""
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text(PLAN)
    write("nodes.yaml", [*H100, *A100])
    result = run("render", "-f", "plan.yaml", "--nodes", "nodes.yaml", "--out", "out")
    assert result.exit_code == 0, result.output
    return tmp_path


def write(name: str, items: list[dict[str, Any]]) -> None:
    Path(name).write_text(yaml.safe_dump({"kind": "List", "items": items}))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def rules(result: Result) -> list[str]:
    return re.findall(r"\[([A-Za-z]+)\]$", result.output, flags=re.MULTILINE)


def edit(path: str, before: str, after: str) -> None:
    text = Path(path).read_text()
    assert before in text
    Path(path).write_text(text.replace(before, after))


def test_a_fresh_folder_meets_its_plan(here: Path):
    for more in ((), ("-f", "plan.yaml"), ("--nodes", "nodes.yaml"), ("--strict",)):
        result = run("check", "out", *more)
        assert result.exit_code == 0, result.output
        assert result.output == "out meets its plan.\n"


def test_plan_and_lock_lie_beside_the_manifests_and_are_applied_by_nobody(here: Path):
    names = {path.name for path in Path("out").iterdir()}
    assert {"plan.yaml", "guide.lock.yaml", "REVIEW.md", "kustomization.yaml"} < names
    listed = yaml.safe_load(Path("out/kustomization.yaml").read_text())["resources"]
    assert names - set(listed) == {
        "plan.yaml", "guide.lock.yaml", "REVIEW.md", "kustomization.yaml",
    }  # fmt: skip


def test_the_order_of_nodes_changes_no_byte(here: Path):
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    shuffled = [*A100, *H100]
    random.Random(3).shuffle(shuffled)
    write("nodes.yaml", shuffled)
    run("render", "-f", "plan.yaml", "--nodes", "nodes.yaml", "--out", "again")
    assert {path.name: path.read_bytes() for path in Path("again").iterdir()} == before


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("deployment-0.yaml", "--max-num-seqs=", "--max-num-seqs=1"),
        ("deployment-0.yaml", "replicas: ", "replicas: 1"),
        ("deployment-0.yaml", "enableServiceLinks: false", "enableServiceLinks: true"),
        ("service.yaml", "port: 80", "port: 81"),
        ("kustomization.yaml", "- service.yaml", "- service.yaml\n- extra.yaml"),
        ("REVIEW.md", "## Cost", "## Costs"),
    ],
)
def test_a_file_edited_by_hand_is_refused(here: Path, file: str, before: str, after: str):
    edit(f"out/{file}", before, after)
    result = run("check", "out")
    assert result.exit_code == 1
    assert rules(result) == ["FileEdited"]
    assert re.search(rf"out/{re.escape(file)}:\d+: ", result.output)
    assert "overlay" in result.output


def test_an_edit_with_a_matching_lock_is_still_found(here: Path):
    edit("out/deployment-0.yaml", "--max-num-seqs=", "--max-num-seqs=1")
    lock = yaml.safe_load(Path("out/guide.lock.yaml").read_text())
    edited = digest(Path("out/deployment-0.yaml").read_text())
    edit("out/guide.lock.yaml", lock["files"]["deployment-0.yaml"], edited)
    result = run("check", "out")
    assert (result.exit_code, rules(result)) == (1, ["NotReproducible"])


def test_a_missing_file_is_refused(here: Path):
    Path("out/service.yaml").unlink()
    result = run("check", "out")
    assert (result.exit_code, rules(result)) == (1, ["FileMissing"])


def test_a_plan_that_moved_is_refused_with_its_fields(here: Path):
    edit("plan.yaml", "requestsPerSecond: 8", "requestsPerSecond: 9")
    assert run("check", "out").exit_code == 0  # the folder agrees with itself
    result = run("check", "out", "-f", "plan.yaml")
    assert (result.exit_code, rules(result)[0]) == (1, "PlanMoved")
    assert "spec.workload.requestsPerSecond" in result.output


def test_a_plan_edited_inside_the_folder_is_refused(here: Path):
    edit("out/plan.yaml", "requestsPerSecond: 8", "requestsPerSecond: 9")
    result = run("check", "out")
    assert (result.exit_code, rules(result)[0]) == (1, "PlanMoved")


def test_a_plan_that_outgrew_the_deployment_is_refused_with_the_reason(here: Path):
    edit("plan.yaml", "requestsPerSecond: 8", "requestsPerSecond: 800")
    result = run("check", "out", "-f", "plan.yaml")
    assert result.exit_code == 1
    assert "LimitBroken" in rules(result)


def test_comments_and_layout_of_the_plan_do_not_matter(here: Path):
    Path("plan.json").write_text(json.dumps(yaml.safe_load(PLAN)))
    assert run("check", "out", "-f", "plan.json").exit_code == 0


def test_a_newer_catalogue_is_refused(here: Path):
    lock = yaml.safe_load(Path("out/guide.lock.yaml").read_text())
    edit("out/guide.lock.yaml", lock["engine"]["catalogDigest"], "sha256:" + "1" * 64)
    result = run("check", "out")
    assert (result.exit_code, rules(result)) == (1, ["CatalogChanged"])
    assert "render" in result.output


def test_a_pool_that_is_gone_is_refused(here: Path):
    chosen = yaml.safe_load(Path("out/guide.lock.yaml").read_text())["deployment"][0]["pool"]
    write("left.yaml", A100 if chosen.startswith("h100") else H100)
    result = run("check", "out", "--nodes", "left.yaml")
    assert result.exit_code == 1
    assert rules(result) == ["LimitBroken", "InventoryChanged"]
    assert f"pool {chosen} is gone" in result.output


def test_taken_gpus_are_refused_but_not_those_of_the_plan_itself(here: Path):
    everywhere = [item["metadata"]["name"] for item in (*H100, *A100)]
    mine = {"app.kubernetes.io/instance": "chat", "guide.dev/plan": "chat"}
    write("mine.yaml", [pod(f"chat-{n}", name, 8, **mine) for n, name in enumerate(everywhere)])
    write("theirs.yaml", [pod(f"x-{n}", name, 8) for n, name in enumerate(everywhere)])
    flags = ("check", "out", "--nodes", "nodes.yaml", "--pods")
    assert run(*flags, "mine.yaml").exit_code == 0
    result = run(*flags, "theirs.yaml")
    assert (result.exit_code, "NotEnoughGPUs" in result.output) == (1, True)


def test_a_new_pool_is_a_remark_and_a_better_one_a_warning(here: Path):
    write("more.yaml", [*H100, *A100, node("l4-0", "NVIDIA-L4", 23034)])
    result = run("check", "out", "--nodes", "more.yaml")
    assert result.exit_code == 0
    assert "InventoryChanged" in rules(result)
    strict = run("check", "out", "--nodes", "more.yaml", "--strict")
    assert strict.exit_code == ("BetterPlan" in rules(result))


@pytest.mark.parametrize("name", ["plan.yaml", "guide.lock.yaml"])
def test_a_folder_of_something_else_is_bad_input(here: Path, name: str):
    Path("out", name).unlink()
    for command in (("check", "out"), ("diff", "-f", "plan.yaml", "--nodes", "nodes.yaml", "out")):
        result = run(*command)
        assert isinstance(result.exception, SpecError)
        assert name in str(result.exception)


def test_a_lock_of_another_shape_is_bad_input(here: Path):
    edit("out/guide.lock.yaml", "format:", "colour: blue\nformat:")
    result = run("check", "out")
    assert "colour" in str(result.exception)


def test_several_folders_and_files_in_them_are_checked_once(here: Path):
    run("render", "-f", "plan.yaml", "--nodes", "nodes.yaml", "--out", "two")
    edit("two/service.yaml", "port: 80", "port: 81")
    result = run("check", "out/service.yaml", "out/REVIEW.md", "two", "plan.yaml")
    assert result.exit_code == 1
    assert result.output.count("meets its plan") == 1
    assert rules(result) == ["FileEdited"]
    assert run("check", "plan.yaml").exit_code == 0  # no rendered folder: nothing to say


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


# --- the lock, and rendering over an older folder ---


def test_an_inventory_survives_the_lock():
    catalog = load()
    found = INFEASIBLE.inventory
    pools = (POOL, V100_POOL, DRA_POOL, *found.pools)
    pools = tuple(
        pool if pool.gpu is None else replace(pool, gpu=catalog.gpus[pool.gpu.name])
        for pool in sorted(pools, key=lambda p: p.name)
    )
    inventory = Inventory(pools=pools, skipped=found.skipped)
    again = LockedInventory.of(inventory).to_domain(catalog)
    assert again == inventory


def test_a_lock_reads_what_it_wrote(here: Path):
    text = Path("out/guide.lock.yaml").read_text()
    lock = read_lock(read_document(text, "lock"))
    assert lock.document() == yaml.safe_load(text)


def test_files_of_an_older_rendering_are_removed_unless_edited(here: Path):
    flags = ("render", "-f", "plan.yaml", "--nodes", "nodes.yaml", "--out", "out")
    assert run(*flags, "--format", "leaderworkerset").exit_code == 0
    assert not Path("out/deployment-0.yaml").exists()
    assert Path("out/leaderworkerset-0.yaml").exists()
    Path("out/leaderworkerset-0.yaml").write_text("mine")
    assert run(*flags).exit_code == 0
    assert Path("out/leaderworkerset-0.yaml").read_text() == "mine"
