"""A framework more is one file, its line, and its row of data: every face then recommends it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = '''
"""A server that runs everything."""

from guide.frameworks.base import PORT, Framework, Launch, tier_limits


class Toy(Framework):
    """It has no image of its own."""

    name = "Toy"
    image_field = "imageToy"
    image_about = "Image of Toy."
    caveat = "Toy is a toy"

    def unsupported(self, gpu, model, precision, pp):
        """Nothing."""
        return None

    def default_limits(self, release, gpu, max_model_len):
        """Those of the data."""
        return tier_limits(release, gpu, max_model_len)

    def launch(self, group, options):
        """By its model alone."""
        return Launch(
            image=options.images.get(self.name, "toy:1"), command=("toy",),
            args=(group.model.name,), env=(), port=PORT, health_path="/", metrics_path=None,
            shm_bytes=0,
        )
'''
LINES = (
    ("FastGen())}", "FastGen(), Toy())}"),
    ("import Vllm\n", "import Vllm\nfrom guide.frameworks.toy import Toy\n"),
)
ROW = """
- framework: Toy
  engine: Toy
  since: "1.0"
  version: 1.0.0
  scheduling: TokenBudget
  tiers: [{min_hbm_gib: 0, max_num_batched_tokens: 2048, max_num_seqs: 256}]
  gpu_memory_utilization: 0.90
  prefix_cache: false
  block_tokens: 16
  source: this test
"""
PAGE = """
from fastapi.testclient import TestClient
from guide.web.app import create
body = {"plan": PLAN, "pools": [{"gpu": "H100-SXM", "nodes": 1, "gpusPerNode": 8}]}
with TestClient(create()) as client:
    assert "Toy only" in client.get("/").text
    answer = client.post("/api/recommend", json=body)
    assert answer.status_code == 200, answer.text
    print(answer.text)
"""
OPERATOR = """
import json
from pathlib import Path
import yaml
from guide.catalog import load
from guide.question import Cluster, ask
from guide.spec import parse_plan
from guide_operator import reconcile
from guide_operator.reconcile import Observed
nodes = yaml.safe_load(Path(NODES).read_text())["items"]
question = ask(parse_plan(PLAN), Cluster(nodes=nodes), load())
nothing = Observed(uid="u", generation=1, status={}, config_map=None)
found = reconcile.decide(
    question.written, question.answer(), question.catalog, nothing,
    inputs="d", now="2026-01-01T00:00:00Z",
)
print(json.dumps({"best": found.status["best"], "files": found.objects[0]["data"]}))
"""
PLAN = {
    "apiVersion": "guide.dev/v1alpha1",
    "kind": "InferencePlan",
    "metadata": {"name": "toy"},
    "spec": {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "workload": {
            "inputTokens": {"mean": 500},
            "outputTokens": {"mean": 100},
            "requestsPerSecond": 2,
        },
        "frameworks": ["Toy"],
        "deployment": {"imageToy": "registry.example/toy:2"},
    },
}
NODES = ROOT / "examples" / "nodes.yaml"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two packages with the toy in them."""
    folder = tmp_path_factory.mktemp("house")
    for package in (ROOT / "guide", ROOT / "operator" / "guide_operator"):
        shutil.copytree(
            package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__")
        )
    frameworks = folder / "guide" / "frameworks"
    (frameworks / "toy.py").write_text(TOY)
    registry = (frameworks / "__init__.py").read_text()
    for old, new in LINES:
        assert old in registry
        registry = registry.replace(old, new)
    (frameworks / "__init__.py").write_text(registry)
    with (folder / "guide" / "catalog" / "frameworks.yaml").open("a") as data:
        data.write(ROW)
    (folder / "plan.json").write_text(json.dumps(PLAN))
    return folder


def run(house: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(house)}
    done = subprocess.run(
        [sys.executable, *words], cwd=house, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_recommends_it(house: Path):
    words = ("-m", "guide", "plan", "-f", "plan.json", "--nodes", str(NODES), "-o", "json")
    answer = json.loads(run(house, *words))
    assert answer["best"]["groups"][0]["framework"] == "Toy"
    assert answer["engine"]["frameworkVersions"] == {"Toy": "1.0.0"}
    assert "Toy is a toy" in answer["notes"]
    assert answer["best"]["provenance"] == "Extrapolated"


def test_the_page_recommends_it(house: Path):
    answer = json.loads(run(house, "-c", f"PLAN = {PLAN!r}\n{PAGE}"))
    assert answer["best"]["groups"][0]["framework"] == "Toy"


def test_the_operator_recommends_it(house: Path):
    told = json.loads(run(house, "-c", f"PLAN = {PLAN!r}\nNODES = {str(NODES)!r}\n{OPERATOR}"))
    assert told["best"]["groups"][0]["framework"] == "Toy"
    assert "registry.example/toy:2" in told["files"]["deployment-0.yaml"]
