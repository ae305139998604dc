"""Inside the engine: predictions, simulated requests, candidates screened, and what does not grow
with a cluster.
"""

from __future__ import annotations

import heapq
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from guide.cluster.inventory import read_inventory
from guide.domain import Inventory, MemoryFit, ReplicaGroup
from guide.search.evaluate import Study
from guide.search.explore import survey
from guide.search.recommend import forget, recommend
from guide.search.space import shapes
from guide.simulate.arrivals import requests_of
from guide.simulate.batch import Batch, serve_batch
from guide.simulate.serve import run
from hack.bench.clusters import CATALOG, chat, cluster, inventory
from hack.bench.measure import GUIDE, ROOT, Scale, Section, table, timed, warm_s

SCREEN_MS = 100
ROWS = ROOT / "tests/accuracy/data/measurements.csv"


def growth(scale: Scale) -> Section:
    """What an answer costs with more pools, and with more nodes a pool."""
    section = Section("Growth with the cluster", [], [])
    rows: list[tuple[str, ...]] = []
    by_nodes: list[float] = []
    for pools in scale.pools:
        for nodes in scale.nodes:
            found = inventory(pools, nodes)
            answer = warm_s(partial(_asked_first, found), 3)
            reading = ""
            if pools == scale.pools[0]:
                by_nodes.append(answer)
                objects = cluster(pools, nodes)
                reading = f"{1e3 * warm_s(partial(read_inventory, objects, [], CATALOG), 3):.1f}"
            rows.append((str(pools), f"{nodes:,}", f"{1e3 * answer:.0f}", reading))
    ratio = by_nodes[-1] / by_nodes[0]
    more = scale.nodes[-1] / scale.nodes[0]
    section.lines += [
        "CPU time of one answer in a warm process that has simulated none of it, and of reading "
        "the Node objects before.",
        "",
        *table(("pool types", "nodes of each", "answer ms", "reading ms"), rows),
        "Only reading grows with the nodes; the engine sees pools.",
    ]
    section.target(
        f"answer with {more:.0f} times the nodes", "as long", f"{ratio:.2f} x", ratio < 1.2
    )
    return section


def _asked_first(found: Inventory) -> None:
    forget()
    recommend(chat(), found, CATALOG)


def screening(scale: Scale) -> Section:
    """Shapes to which every bound is applied, warm."""
    found = inventory(max(p for p in scale.pools if p <= 30), 4)
    plan = chat()
    count = len(list(shapes(plan, found, CATALOG)))
    taken = warm_s(lambda: survey(Study(plan=plan, catalog=CATALOG), found), max(3, scale.runs))
    per_thousand = 1e6 * taken / count
    section = Section("Candidates screened", [], [])
    section.lines += [
        "`survey` applies every bound (layout, memory, budget, latency on an empty server, "
        f"capacity) to {count:,} candidates in {1e3 * taken:.1f} ms of CPU, warm: "
        f"{per_thousand:.0f} ms for 1,000.",
    ]
    section.target(
        "1,000 candidates screened, warm",
        f"< {SCREEN_MS} ms",
        f"{per_thousand:.0f} ms",
        per_thousand < SCREEN_MS,
    )
    return section


def predictions(scale: Scale) -> Section:
    """Measured rows predicted by one process, simulations included."""
    with tempfile.TemporaryDirectory() as folder:
        part, out = Path(folder) / "in.csv", Path(folder) / "out.csv"
        lines = ROWS.read_text(encoding="utf-8").splitlines(keepends=True)
        part.write_text("".join(lines[: scale.requests + 1 if scale.requests < 1000 else None]))
        words = [GUIDE, "predict", "--csv", str(part), "--out", str(out)]
        timed(words)
        done = timed(words)
        rows = len(out.read_text(encoding="utf-8").splitlines()) - 1
    return Section(
        "Predictions",
        [
            f"`guide predict` replays {rows:,} measured rows under their protocols in "
            f"{done.cpu_s:.1f} s of CPU: {rows / done.cpu_s:,.0f} rows/s, start-up included; peak "
            f"{done.peak_bytes / 2**20:.0f} MiB."
        ],
        [],
    )


def simulation(scale: Scale) -> Section:
    """Requests and tokens through the event loop: a static batch, an open and a closed loop."""
    group, memory = _layout()
    plan, count = chat(), scale.requests
    longest = group.limits.max_model_len
    open_load = replace(plan.workload, requests_per_s=8.0)
    closed = replace(plan.workload, requests_per_s=None, concurrency=64)
    rows: list[tuple[str, ...]] = []

    def enter(what: str, seconds: float, requests: int, tokens: float) -> None:
        rate = f"{requests / seconds:,.0f}"
        rows.append((what, rate, f"{tokens / seconds:,.0f}", f"{requests / seconds / floor:.2f}"))

    floor = count / warm_s(lambda: _only_order(count), 3)
    batch = Batch(requests=64, prompt_tokens=1024, output_tokens=256)
    repeats = max(1, count // batch.requests // 10)

    def batches() -> None:
        for _ in range(repeats):
            serve_batch(group, memory, batch, CATALOG)

    served = repeats * batch.requests
    tokens = served * (batch.prompt_tokens + batch.output_tokens)
    enter("static batch of 64", warm_s(batches, 3), served, tokens)
    for what, load in (("open loop, 8 requests/s", open_load), ("closed loop, 64 users", closed)):
        drawn = requests_of(load, count, 0, longest)
        work = partial(run, group, memory, drawn, CATALOG, closed_users=load.concurrency)
        seconds = warm_s(work, 3)
        enter(what, seconds, count, sum(drawn.prompts) + sum(drawn.outputs))
    rows.append(("floor: a Python loop that only orders the events", f"{floor:,.0f}", "", "1"))
    return Section(
        "Simulated requests",
        [
            f"{count:,} requests of the example (1,024 tokens in, 256 out on average) through one "
            f"engine of {group.framework} on {group.gpu.name}, TP {group.tp}; CPU time.",
            "",
            *table(("load", "requests/s", "tokens/s", "of the floor"), rows),
        ],
        [],
    )


def _layout() -> tuple[ReplicaGroup, MemoryFit]:
    best = recommend(chat(), inventory(3, 2), CATALOG).best
    if best is None:
        raise RuntimeError("the example has no answer")
    return best.groups[0].group, best.groups[0].memory


def _only_order(requests: int) -> float:
    """An arrival, a first token and an end of each request through a heap, and nothing else."""
    events = [(float(i), 0, i) for i in range(64)]
    clock, coming = 0.0, 64
    while events:
        clock, stage, request = heapq.heappop(events)
        if stage < 2:
            heapq.heappush(events, (clock + 1.5, stage + 1, request))
        elif coming < requests:
            heapq.heappush(events, (clock + 0.5, 0, coming))
            coming += 1
    return clock
