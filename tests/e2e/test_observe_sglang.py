"""SGLang seen by a real Prometheus, and what the loop makes of it.

The stand-in server streams tokens 1.4 times as slowly as predicted for the load that it gets, and
says of its start what the prediction says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import yaml

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import GroupEvaluation, Inventory, Plan
from guide.frameworks import FRAMEWORKS
from guide.live import by_hand, started
from guide.live.expect import expect
from guide.live.learn import factors
from guide.live.measured import Observation, lacking, selector, unfit
from guide.live.prometheus import Prometheus as Reader
from guide.search.recommend import recommend
from guide.spec import parse_plan, resolve_plan
from hack.dashboards import FOLDER
from hack.ports import free_port
from tests.e2e.conftest import ROOT
from tests.e2e.operator_process import chat, eventually
from tests.e2e.prometheus_process import Prometheus, prometheus, queries

CATALOG = load()
BIAS = 1.4
REQUESTS_PER_S, TOKENS, PROMPT = 12, 30, 40
WINDOW_S = 6
SPEC = {
    "frameworks": ["SGLang"],
    "workload": {
        "inputTokens": {"mean": PROMPT},
        "outputTokens": {"mean": TOKENS},
        "maxContextTokens": 8192,
        "requestsPerSecond": REQUESTS_PER_S,
    },
    "budget": {"maxGPUs": 1},
}


class Seen(NamedTuple):
    """What was asked for, and the Prometheus that saw what became of it."""

    plan: Plan
    inventory: Inventory
    group: GroupEvaluation
    predicted_s: float
    end_s: float  # Unix time
    prometheus: Prometheus


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    plan = resolve_plan(parse_plan(chat("ml", "sglang", **SPEC)), CATALOG)
    nodes = yaml.safe_load((ROOT / "examples/nodes.yaml").read_text())["items"]
    inventory = read_inventory(nodes, (), CATALOG)
    best = recommend(plan, inventory, CATALOG).best
    assert best is not None
    (group,) = best.groups
    expected = expect(plan, inventory, CATALOG, by_hand.running_layout(best), plan.workload)
    assert expected is not None
    told = started.predicted(group, CATALOG)
    settings = {
        "STANDIN_TTFT_S": str(expected.ttft.mean_s),
        "STANDIN_TPOT_S": str(BIAS * expected.tpot.mean_s),
        "STANDIN_POOL_TOKENS": str(round(told["kv_tokens"])),
        "STANDIN_WEIGHTS_GIB": str(told["weights_gib"]),
        "STANDIN_KV_GIB": str(told["kv_gib"]),
        "STANDIN_GRAPHS_GIB": str(told["graphs_gib"]),
    }
    port = free_port()
    command = [sys.executable, "-m", "hack.standin", "launch-server", f"--port={port}"]
    command += ["--model-path=m", f"--max-running-requests={group.group.limits.max_num_seqs}"]
    labels = {"namespace": "ml", "plan": "sglang"}
    folder = tmp_path_factory.mktemp("sglang")
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | settings) as process:
        try:
            eventually(lambda: ask(port, "/ready") is not None)
            with prometheus(folder, [(port, labels)]) as server:
                send(port, 5 * WINDOW_S)
                time.sleep(1)  # one more scrape
                yield Seen(plan, inventory, group, expected.tpot.mean_s, time.time() - 1, server)
        finally:
            process.kill()


def ask(port: int, path: str, body: object = None) -> bytes | None:
    """The answer; None where nobody listens yet."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()
    except OSError:
        return None


def send(port: int, seconds: float) -> None:
    """Ask for answers at a steady rate; four bytes are a token."""
    body = {"model": "m", "prompt": "x" * 4 * PROMPT, "max_tokens": TOKENS}
    with ThreadPoolExecutor(64) as pool:
        for _ in range(round(seconds * REQUESTS_PER_S)):
            pool.submit(ask, port, "/v1/completions", body)
            time.sleep(1 / REQUESTS_PER_S)


def windows(seen: Seen) -> list[Observation]:
    reader, series = Reader(seen.prometheus.url), selector("ml", "sglang")
    return [reader.observe(series, f"{WINDOW_S}s", seen.end_s - n * WINDOW_S) for n in range(3)]


def test_the_loop_sees_sglang_and_learns_its_bias(seen: Seen):
    found = windows(seen)
    assert [(lacking(one), unfit(one)) for one in found] == [(None, None)] * 3
    for one in found:
        assert one.prompt_mean == pytest.approx(PROMPT)
        assert one.output_mean == pytest.approx(TOKENS)
        assert one.requests_per_s == pytest.approx(REQUESTS_PER_S, rel=0.15)
        assert one.tpot_mean_s == pytest.approx(BIAS * seen.predicted_s, rel=0.15)
        assert one.kv_usage is not None
        assert one.preemptions == one.error_ratio == one.prefix_hit_share == 0
    best = recommend(seen.plan, seen.inventory, CATALOG).best
    assert best is not None
    ledger, pairs = by_hand.learn(
        seen.plan,
        seen.inventory,
        CATALOG,
        layout=by_hand.running_layout(best),
        windows=by_hand.fitting(found),
        now="now",
    )
    step = next(factor for (_, part), factor in factors(ledger).items() if part == "step")
    print(f"step times x {step:.3f}, truth {BIAS}")
    for one, corrected in pairs:
        assert corrected.tpot.mean_s == pytest.approx(one.tpot_mean_s, rel=0.1)


def test_what_it_says_of_its_start_is_what_was_predicted(seen: Seen):
    reader, names = Reader(seen.prometheus.url), FRAMEWORKS["SGLang"].metrics
    asked = started.queries(names, selector("ml", "sglang"))
    observed = {
        name: next(iter(reader.values(query, seen.end_s).values()))[0]
        for name, query in asked.items()
    }
    expected = started.predicted(seen.group, CATALOG)
    assert observed.keys() == expected.keys() | {"start_s"}
    assert {name: observed[name] for name in expected} == pytest.approx(expected, rel=1e-3)


def test_every_panel_of_a_plan_has_data(seen: Seen):
    asked = queries(FOLDER / "guide-plan.json", namespace="ml", plan="sglang", window_s=WINDOW_S)
    empty = {
        title
        for title, expression in asked
        if "guide_" not in expression  # of the operator
        and not seen.prometheus.query(expression, seen.end_s)
    }
    assert empty == set()
