"""`guide render` and `guide check`: a folder that stopped holding is refused."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from guide.catalog import load
from guide.cli.in_words import nodes_in_words
from guide.domain import Inventory
from guide.errors import SpecError
from guide.gitops.folder import digest
from guide.spec import read_document
from guide.spec.lock import LockedInventory, read_lock
from tests.handmade import DRA_POOL, INFEASIBLE, POOL, V100_POOL
from tests.rendered import A100, H100, PLAN, edit, node, pod, render_into, rules, run, write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return render_into(tmp_path, monkeypatch)


def test_a_fresh_folder_meets_its_plan(here: Path):
    for more in ((), ("-f", "plan.yaml"), ("--nodes", "nodes.yaml"), ("--strict",)):
        result = run("check", "out", *more)
        assert result.exit_code == 0, result.output
        assert result.output == "out meets its plan.\n"


def test_a_fresh_folder_of_another_chunk_meets_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Limits that a latency asked for stand in the lock: they are judged, not chosen anew."""
    monkeypatch.chdir(tmp_path)
    plan = yaml.safe_load(PLAN)
    plan["spec"]["workload"]["maxContextTokens"] = 8192
    plan["spec"] |= {
        "slo": {"ttftP95Milliseconds": 2000, "tpotP95Milliseconds": 55},
        "frameworks": ["vLLM"],
    }
    Path("plan.yaml").write_text(yaml.safe_dump(plan))
    nodes = [{"apiVersion": "v1", **node} for node in nodes_in_words("4xL40S", load())]
    Path("nodes.json").write_text(json.dumps({"kind": "List", "items": nodes}))
    run("render", "-f", "plan.yaml", "--nodes", "nodes.json", "--out", "chunked")
    assert "--max-num-batched-tokens=512" in Path("chunked/deployment-0.yaml").read_text()
    result = run("check", "chunked", "--nodes", "nodes.json")
    assert result.exit_code == 0, result.output


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
