"""`guide inventory` and the files that only few users need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import guide.cli
from guide.cli.app import app
from guide.errors import GuideError

GOLDEN = Path(__file__).resolve().parents[2] / "golden/inventory"
RUNNER = CliRunner()


def told(*args: str) -> str:
    result = RUNNER.invoke(app, ["inventory", *args])
    assert result.exception is None, result.exception
    return result.output


def case(name: str) -> list[str]:
    """The flags that read a golden dump."""
    flags = {"--nodes": "nodes", "--pods": "pods", "--slices": "slices"}
    files = {flag: GOLDEN / name / f"{stem}.yaml" for flag, stem in flags.items()}
    files["--node-pools"] = GOLDEN / name / "node-pools.yaml"
    return [text for flag, file in files.items() if file.exists() for text in (flag, str(file))]


def test_every_node_with_gpus_is_named_once_with_its_pool_or_its_reason():
    found = json.loads(told(*case("broken-nodes"), "-o", "json"))
    shown = {row["name"] for row in found["nodes"]}
    skipped = {row["node"]: row["reason"] for row in found["skipped"]}
    assert shown == {"n-miscounted", "n-overbooked"}
    assert len(skipped) == 10
    assert skipped["n-cordoned"] == "is cordoned"
    assert {row["pool"] for row in found["nodes"]} == {pool["name"] for pool in found["pools"]}
    table = told(*case("broken-nodes"))
    assert "n-gaudi" in table
    assert "which GUIDE does not model" in table


def test_devices_come_from_a_file():
    found = json.loads(told(*case("dra"), "-o", "json"))
    assert {row["source"] for row in found["nodes"]} == {"dra"}


def test_prices_name_their_row_and_a_missing_one_is_said_plainly():
    assert "AWS p5.48xlarge in us-east-1 spot" in told(*case("aws-prices"))
    assert "cost limits cannot be checked" in told(*case("intel-max"))


def test_pools_to_come_are_marked():
    assert "h100-burst (potential)" in told(*case("scale-from-zero"))


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--slices", "FILE"], "--slices needs --nodes"),
        (["--nodes", "NODES", "--node-pools", "FILE"], "kind is not a field of a node pools file"),
        (["--nodes", "NODES", "--gpus", "FILE"], "vendor is missing"),
        (["--nodes", "NODES", "--prices", "absent.yaml"], "cannot be read"),
        (["--nodes", "FILE"], "holds Other objects, no Node"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, args: list[str], sentence: str):
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: Other\nrows: [{name: x}]\n")
    nodes = str(GOLDEN / "gke/nodes.yaml")
    words = [{"FILE": str(bad), "NODES": nodes}.get(word, word) for word in args]
    with pytest.raises(GuideError, match=sentence):
        RUNNER.invoke(app, ["inventory", *words], catch_exceptions=False)


def test_the_command_exits_with_2_on_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["guide", "inventory", "--slices", str(tmp_path / "x")])
    with pytest.raises(SystemExit) as stopped:
        guide.cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
