"""FastGen seen through its proxy by a real Prometheus, and what the loop makes of it.

The stand-in server streams tokens 1.4 times as slowly as predicted for the load that it gets.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import yaml

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Inventory, Plan
from guide.live import by_hand
from guide.live.expect import expect
from guide.live.learn import factors
from guide.live.measured import Observation, lacking, selector, unfit
from guide.live.prometheus import Prometheus as Reader
from guide.search.assess import Running
from guide.search.recommend import recommend
from guide.spec import parse_plan, resolve_plan
from hack.dashboards import FOLDER
from hack.ports import free_ports
from tests.e2e.conftest import ROOT
from tests.e2e.operator_process import chat
from tests.e2e.prometheus_process import Prometheus, prometheus, queries
from tests.fastgen_pod import exchange, process, proxy, question, request

CATALOG = load()
BIAS = 1.4
REQUESTS_PER_S, TOKENS = 12, 30
WINDOW_S = 6
SPEC = {
    "frameworks": ["FastGen"],
    "deployment": {"imageFastGen": "registry.example/fastgen:0.3.3"},
    "workload": {
        "inputTokens": {"mean": 3},
        "outputTokens": {"mean": TOKENS},
        "maxContextTokens": 8192,
        "requestsPerSecond": REQUESTS_PER_S,
    },
    "budget": {"maxGPUs": 1},
}
# Panels that a proxy cannot fill (docs/monitoring.md); the rest of them must have data.
BLIND = {
    "KV cache in use",
    "KV cache of a replica: predicted and observed",
    "Memory of a GPU: predicted and observed",
    "Start of a server",
}


class Seen(NamedTuple):
    """What was asked for, and the server that saw what became of it."""

    plan: Plan
    inventory: Inventory
    layout: tuple[Running, ...]
    predicted_s: float
    end_s: float  # Unix time
    prometheus: Prometheus


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    plan = resolve_plan(parse_plan(chat("ml", "fastgen", **SPEC)), CATALOG)
    nodes = yaml.safe_load((ROOT / "examples/nodes.yaml").read_text())["items"]
    inventory = read_inventory(nodes, (), CATALOG)
    best = recommend(plan, inventory, CATALOG).best
    assert best is not None
    layout = by_hand.running_layout(best)
    expected = expect(plan, inventory, CATALOG, layout, plan.workload)
    assert expected is not None
    folder = tmp_path_factory.mktemp("fastgen")
    server_port, port = free_ports(2)
    labels = {"namespace": "ml", "plan": "fastgen"}
    with (
        process(server_port, "-m", "tests.mii_server", str(server_port)),
        proxy(folder, port, server_port),
        prometheus(folder / "prometheus", [(port, labels)]) as server,
    ):
        stream(port, expected.ttft.mean_s, BIAS * expected.tpot.mean_s, 5 * WINDOW_S)
        time.sleep(1)  # one more scrape
        yield Seen(plan, inventory, layout, expected.tpot.mean_s, time.time() - 1, server)


def stream(port: int, first_s: float, gap_s: float, seconds: float) -> None:
    """Ask for streamed answers at a steady rate."""
    path = f"/v1/completions?first={first_s}&gap={gap_s}&tokens={TOKENS}"
    sent = request(path, question(stream=True))
    with ThreadPoolExecutor(64) as pool:
        for _ in range(round(seconds * REQUESTS_PER_S)):
            pool.submit(exchange, port, sent)
            time.sleep(1 / REQUESTS_PER_S)


def windows(seen: Seen) -> list[Observation]:
    reader, series = Reader(seen.prometheus.url), selector("ml", "fastgen")
    return [reader.observe(series, f"{WINDOW_S}s", seen.end_s - n * WINDOW_S) for n in range(3)]


def test_the_loop_sees_fastgen_and_learns_its_bias(seen: Seen):
    found = windows(seen)
    assert [(lacking(one), unfit(one)) for one in found] == [(None, None)] * 3
    for one in found:
        assert one.prompt_mean == pytest.approx(3)
        assert one.output_mean == pytest.approx(TOKENS)
        assert one.requests_per_s == pytest.approx(REQUESTS_PER_S, rel=0.15)
        assert one.tpot_mean_s == pytest.approx(BIAS * seen.predicted_s, rel=0.15)
        assert one.in_flight == (one.running or 0) + (one.waiting or 0) > 0
        assert one.in_flight_before is not None
        assert one.kv_usage is one.preemptions is one.prefix_hit_share is None
    ledger, pairs = by_hand.learn(
        seen.plan,
        seen.inventory,
        CATALOG,
        layout=seen.layout,
        windows=by_hand.fitting(found),
        now="now",
    )
    step = next(factor for (_, part), factor in factors(ledger).items() if part == "step")
    print(f"step times x {step:.3f}, truth {BIAS}")
    for one, corrected in pairs:
        assert corrected.tpot.mean_s == pytest.approx(one.tpot_mean_s, rel=0.1)


def test_the_panels_that_a_proxy_can_fill_have_data(seen: Seen):
    asked = queries(FOLDER / "guide-plan.json", namespace="ml", plan="fastgen", window_s=WINDOW_S)
    empty = {
        title
        for title, expression in asked
        if "guide_" not in expression  # of the operator
        and not seen.prometheus.query(expression, seen.end_s)
    }
    assert empty == BLIND
