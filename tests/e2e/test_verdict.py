"""Whether load or prediction moved, in made situations, as a real Prometheus sees them.

No cluster: stand-ins for pods play each situation in real time, one plan a situation, all at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from guide.catalog import load
from guide.cluster.imagined import nodes_of
from guide.cluster.inventory import read_inventory
from guide.domain import Lengths, Workload
from guide.live.by_hand import running_layout
from guide.live.expect import expect
from guide.live.learn import Corrections
from guide.live.measured import lacking, workload
from guide.live.prometheus import Prometheus
from guide.live.verdict import Verdict
from guide.search.assess import assess
from guide.spec import parse_plan, resolve_plan
from guide_operator import findings
from hack.fake_vllm import pods_of
from hack.ports import free_port
from tests.e2e.prometheus_process import prometheus

WINDOW_S = 30
CATALOG = load()
PLAN = resolve_plan(
    parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "chat", "namespace": "ml"},
            "spec": {
                "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
                "workload": {
                    "inputTokens": {"mean": 512, "p95": 900},
                    "outputTokens": {"mean": 48, "p95": 80},
                    "maxContextTokens": 8192,
                    "requestsPerSecond": 24,
                },
                "frameworks": ["vLLM"],
            },
        }
    ),
    CATALOG,
)
INVENTORY = read_inventory(nodes_of(CATALOG.gpus["H100-SXM"], 1, 8), (), CATALOG)


@dataclass(frozen=True)
class Situation:
    """What is made, and the verdict that is true of it."""

    verdict: Verdict
    load: dict[str, Any] = field(default_factory=dict[str, Any])
    bias: float = 1.0
    pods: int = 2


def lengths(mean: float) -> Lengths:
    return Lengths(mean_tokens=mean, p95_tokens=1.7 * mean)


SITUATIONS = {
    "as-planned": Situation(Verdict.AS_PLANNED),
    "load-up": Situation(Verdict.LOAD_MOVED, {"requests_per_s": 40}),
    "load-down": Situation(Verdict.LOAD_MOVED, {"requests_per_s": 12}),
    "long-prompts": Situation(Verdict.LOAD_MOVED, {"prompt": lengths(1000)}),
    "short-prompts": Situation(Verdict.LOAD_MOVED, {"prompt": lengths(250)}),
    "long-outputs": Situation(Verdict.LOAD_MOVED, {"output": lengths(96)}),
    "cache-hits": Situation(Verdict.LOAD_MOVED, {"prefix_hit_share": 0.6}),
    "slower-engine": Situation(Verdict.PREDICTION_OFF, bias=2.0),
    "faster-engine": Situation(Verdict.PREDICTION_OFF, bias=0.5),
    "both": Situation(Verdict.BOTH_MOVED, {"requests_per_s": 40}, bias=2.0),
    "fewer-replicas": Situation(Verdict.OTHER_REPLICAS, pods=1),
    "hardly-any-traffic": Situation(Verdict.TOO_LITTLE_TRAFFIC, {"requests_per_s": 0.6}),
}


@pytest.fixture(scope="module")
def layout() -> Any:
    """Two replicas of one GPU each."""
    from guide.search.recommend import recommend

    best = recommend(PLAN, INVENTORY, CATALOG).best
    assert best is not None
    (one,) = running_layout(best)
    return (replace(one, replicas=2, load_share=1.0),)


@pytest.fixture(scope="module")
def seen(layout: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen every situation for a whole window."""
    found = assess(PLAN, INVENTORY, CATALOG, layout)
    assert found is not None
    group = found.evaluation.groups[0]
    targets: list[tuple[int, dict[str, str]]] = []
    playing = []
    for name, made in SITUATIONS.items():
        load_ = replace(PLAN.workload, **made.load)
        for pod in list(pods_of(group, load_, CATALOG, made.bias, 200))[: made.pods]:
            targets.append((free_port(), {"namespace": "ml", "plan": name}))
            pod.serve(targets[-1][0])
            playing.append(pod)
    with prometheus(tmp_path_factory.mktemp("verdict"), targets) as server:
        for pod in playing:
            pod.play()
        time.sleep(WINDOW_S + 15)  # until the first requests of a window have ended
        yield Prometheus(server.url)
    for pod in playing:
        pod.stop()


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_verdict_is_what_was_made(name: str, seen: Prometheus, layout: Any):
    found = seen.observe_plans(f"{WINDOW_S}s")["ml", name]
    assert lacking(found) is None, found
    load_: Workload = workload(found, PLAN)
    expected = expect(PLAN, INVENTORY, CATALOG, layout, load_)
    assert expected is not None
    told = findings.compared(
        {"metadata": {"generation": 1}, "status": {}},
        PLAN,
        found,
        expected,
        Corrections(),
        replicas=2,
        learning="",
        drift_s=900,
        now="2026-01-01T00:00:00Z",
        age_s=lambda _: 0.0,
    )
    assert told.verdict is not None
    assert told.verdict["kind"] == SITUATIONS[name].verdict, (told.verdict, told.observed)
