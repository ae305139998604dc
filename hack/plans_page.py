"""The page beside a cluster that is not there, for pictures and tests in a browser:
`python -m hack.plans_page PORT`.

It holds two plans: one does as planned, the load of the other has grown beyond a limit. Their
answers and verdicts are those that the operator would write.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvicorn
import yaml

from guide.catalog import load
from guide.live.measured import Observation
from guide.live.verdict import judge
from guide.question import Cluster, Question, ask
from guide.report.status import to_status
from guide.spec.resolve import parse_plan
from guide.web.app import create
from guide.web.settings import Settings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NODES = EXAMPLES / "nodes.yaml"
CALM = Observation(
    requests=2400,
    requests_per_s=8.0,
    prompt_mean=1024,
    prompt_p95=3000,
    output_mean=256,
    output_p95=700,
    ttft_p95_s=0.4,
)
GROWN = Observation(
    requests=3900,
    requests_per_s=13.0,
    prompt_mean=1400,
    prompt_p95=3400,
    output_mean=262,
    output_p95=710,
    ttft_p95_s=2.4,
)
FIELDS = {
    "requests_per_s": "requestsPerSecond",
    "prompt_mean": "promptMean",
    "prompt_p95": "promptP95",
    "output_mean": "outputMean",
    "output_p95": "outputP95",
    "ttft_p95_s": "ttftP95Seconds",
}


class Plans:
    """In place of the API server."""

    def __init__(self) -> None:
        written = yaml.safe_load((EXAMPLES / "chat.yaml").read_text())
        nodes = yaml.safe_load(NODES.read_text())["items"]
        asked = ask(parse_plan(written), Cluster(nodes=nodes), load())
        answer = to_status(asked.answer())
        self._plans = [
            _plan(written, name, answer, asked, found)
            for name, found in (("search", CALM), ("chat", GROWN))
        ]

    def plans(self) -> list[dict[str, Any]]:
        """All of them."""
        return self._plans


def _plan(
    written: dict[str, Any], name: str, answer: dict[str, Any], asked: Question, found: Observation
) -> dict[str, Any]:
    plan = copy.deepcopy(written)
    plan["metadata"] |= {"name": name, "generation": 1}
    judgement = judge(asked.plan, found, replicas=0, off={})
    figures = {FIELDS[key]: f"{value:g}" for key, value in found.known() if key in FIELDS}
    verdict = {
        "kind": judgement.verdict.value,
        "message": judgement.sentence,
        "missed": list(judgement.missed),
    }
    told = {"Ready": "True", "Feasible": "True", "Stalled": "False"}
    conditions = [
        {
            "type": kind,
            "status": status,
            "message": "",
            "lastTransitionTime": "2026-11-27T09:00:00Z",
        }
        for kind, status in told.items()
    ]
    plan["status"] = {
        **answer,
        "observedGeneration": 1,
        "conditions": conditions,
        "observed": {"at": "2026-11-28T02:10:00Z", **figures, "verdict": verdict},
    }
    return plan


def main(port: int) -> None:
    """Serve until somebody stops it."""
    cluster = Plans()
    with patch("guide.web.plans.connect", lambda: cluster):
        app = create(Settings(cluster=True, nodes_file=NODES, answers_per_minute=10_000))
        uvicorn.run(
            app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=3
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
