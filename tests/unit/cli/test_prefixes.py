"""Prompts that begin alike on the command line: one plan through plan, simulate and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from guide.cli.app import app
from guide.errors import SpecError
from guide.spec.prefixes import PrefixesDocument
from tests.rendered import node

# 300 beginnings of 3,000 tokens, of which an H100 holds half
SHARED = {"groups": 300, "sharedTokens": 3000}
NODES = [node("h100-0", "NVIDIA-H100-80GB-HBM3", 81559)]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("nodes.yaml").write_text(yaml.safe_dump({"kind": "List", "items": NODES}))
    calls = (f"{second / 4},3300,40\n" for second in range(200))
    Path("trace.csv").write_text("arrival_s,input_tokens,output_tokens\n" + "".join(calls))


def guide(command: str, *more: str, **workload: Any) -> Result:
    plan = {
        "apiVersion": "guide.dev/v1alpha1",
        "kind": "InferencePlan",
        "metadata": {"name": "chat"},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "workload": {
                "inputTokens": {"mean": 3300, "p95": 3300},
                "outputTokens": {"mean": 40, "p95": 40},
                "requestsPerSecond": 4,
                **workload,
            },
            "frameworks": ["vLLM"],
            "budget": {"maxGPUs": 1},
        },
    }
    Path("plan.yaml").write_text(yaml.safe_dump(plan))
    return CliRunner().invoke(
        app, [command, "-f", "plan.yaml", "--nodes", "nodes.yaml", *more], env={"COLUMNS": "200"}
    )


def test_the_table_compares_routers():
    found = guide("plan", prefixes=SHARED)
    assert found.exit_code == 0, found.output
    assert "Prefix hits by router, unmeasured here" in found.output
    assert "PrefixAware" in found.output


def test_a_trace_finds_what_was_simulated_and_not_what_a_perfect_cache_would():
    def ttft_s(**workload: Any) -> float:
        found = guide("simulate", "--trace", "trace.csv", "-o", "json", **workload)
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout)["ttftSeconds"]["mean"]

    told: PrefixesDocument = json.loads(guide("plan", "-o", "json", prefixes=SHARED).stdout)[
        "prefixes"
    ]
    percent = round(100 * told["hitShare"])
    assert percent + 20 < 100 * told["mostHitShare"]
    simulated, stated, perfect = (
        ttft_s(prefixes=SHARED),
        ttft_s(prefixCacheHitPercent=percent),
        ttft_s(prefixCacheHitPercent=round(100 * told["mostHitShare"])),
    )
    assert simulated == pytest.approx(stated, rel=0.03)
    assert simulated > 1.2 * perfect


def test_bad_input_is_one_sentence():
    """As a `SpecError`, which the command ends in exit code 2."""
    error = guide("plan", prefixes={**SHARED, "sharedTokens": 4000}).exception
    assert isinstance(error, SpecError)
    assert "prefixes.sharedTokens is 4000 and the mean input 3300: it must be below" in str(error)
    assert "\n" not in str(error)
