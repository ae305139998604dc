"""Questions of the paper to the commands, and what they say as documents."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from guide.catalog import load
from guide.cli.app import app
from guide.cli.in_words import nodes_in_words
from tests.measured import row, write

LLAMA = "meta-llama/Llama-2-7b-hf"  # multi-head attention: the paper's formulas as they stand
CATALOG = load()
Asked = Callable[..., dict[str, Any]]


def spec(prompt: int = 512, output: int = 128, **more: Any) -> dict[str, Any]:
    """The spec of a plan: fixed lengths, two requests a second unless `more` says otherwise."""
    load_ = more.pop("load", {"requestsPerSecond": 2})
    tokens = {"inputTokens": prompt, "outputTokens": output}
    workload = {name: {"mean": n, "p95": n} for name, n in tokens.items()}
    return {
        "model": {"name": more.pop("model", LLAMA)},
        "frameworks": ["vLLM"],
        "workload": workload | load_ | {"maxContextTokens": prompt + output},
        **more,
    }


def asker(folder: Path) -> Asked:
    """`ask(command, spec, gpus)`: what the command says as JSON; the same question runs once."""
    known: dict[str, dict[str, Any]] = {}

    def ask(command: str, asked: dict[str, Any], gpus: str = "2xA100-80GB") -> dict[str, Any]:
        kinds = {"apiVersion": "guide.dev/v1alpha1", "kind": "InferencePlan"}
        plan = json.dumps(kinds | {"metadata": {"name": "paper"}, "spec": asked})
        key = f"{command} {gpus} {plan}"
        if key not in known:
            nodes = folder / f"{gpus}.json"
            nodes.write_text(json.dumps({"kind": "List", "items": nodes_in_words(gpus, CATALOG)}))
            words = [command, "-f", "-", "--nodes", str(nodes), "-o", "json"]
            found = CliRunner().invoke(app, words, input=plan)
            assert found.exit_code in (0, 3), found.output
            known[key] = json.loads(found.stdout)
        return known[key]

    return ask


def batch(*words: str) -> dict[str, Any]:
    """`guide batch` as JSON."""
    return json.loads(CliRunner().invoke(app, ["batch", *words, "-o", "json"]).stdout)


def predicted(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """`guide predict` of rows."""
    source, target = write(folder / "in.csv", rows), folder / "out.csv"
    words = ["predict", "--csv", str(source), "--out", str(target)]
    assert CliRunner().invoke(app, words).exit_code == 0
    with target.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def static(framework: str, gpu: str, size: int, prompt: int, tp: int = 1) -> dict[str, str]:
    """A cell of the paper's grid as a row, of the release that the paper could measure."""
    version = {"vllm": "0.7.3", "fastgen": "0.3.3"}[framework]
    return row(
        id=f"{framework}-{gpu}-{size}-{prompt}-{tp}",
        framework=framework,
        framework_version=version,
        model=LLAMA,
        precision="fp16",
        gpu=gpu,
        tp=tp,
        kind="static_batch",
        batch_or_concurrency=size,
        isl=prompt,
        osl=256,
    )


def group(answer: dict[str, Any]) -> dict[str, Any]:
    return answer["best"]["groups"][0]


def operators(explained: dict[str, Any], step: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in explained["groups"][0][step]["operators"]}
