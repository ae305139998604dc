"""What a fleet costs the operator: ``python -m hack.fleet_scale --sizes 100,1000 --to 10000``.

The real controller, cluster cache and engine run here with as many plans as nodes; in place of the
API server stands an object that stores (in files, so that the memory is the operator's) and
counts. CPU, memory and API calls are measured at each size, each in a process of its own; what the
last two say of the largest fleet is printed beside them, as Markdown. No network and no etcd take
part: their time is not in these numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import psutil
import typer
import yaml

from guide.catalog import load
from guide.cluster.client import ClusterClient
from guide.processes import worker_pool
from guide_operator.controller import Controller
from guide_operator.engine import Engine
from guide_operator.metrics import Metrics
from guide_operator.reconcile import Event
from guide_operator.settings import Settings
from hack import nodes
from hack.bench.measure import MIB, ROOT, table

GPUS = ("H100-SXM", "A100-80GB", "L40S", "L4", "A10G")  # those of `hack.nodes.MIX`
QUIET_S = 2.0  # without a call or an answer: all that a change causes is done
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Store:
    """Objects in files of a folder."""

    folder: Path

    def put(self, value: Mapping[str, Any]) -> None:
        """Keep it under its name; whoever reads meanwhile has the one before."""
        name = value["metadata"]["name"]
        written = self.folder / f".{name}"
        written.write_text(json.dumps(value), encoding="utf-8")
        written.replace(self.folder / name)

    def get(self, name: str) -> Object:
        """The object of that name, or `FileNotFoundError`."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


@dataclass
class Server:
    """Keeps what is written, and counts; the events of its writes come back as from a watch."""

    plans: Store
    config_maps: Store
    controller: Controller | None = None
    loop: asyncio.AbstractEventLoop | None = None
    answered: set[str] = field(default_factory=set[str])  # plans
    calls: Counter[str] = field(default_factory=Counter[str])
    bytes_written: int = 0
    versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def config_map(self, namespace: str, name: str) -> Object | None:
        """As `ClusterClient.config_map`."""
        del namespace
        self.calls["reads of a ConfigMap"] += 1
        with contextlib.suppress(FileNotFoundError):
            return self.config_maps.get(name)
        return None

    def apply(self, value: Mapping[str, Any]) -> Object:
        """As `ClusterClient.apply`."""
        self.calls["writes of a ConfigMap"] += 1
        self.bytes_written += len(json.dumps(value))
        self.config_maps.put(value)
        return dict(value)

    def write_status(
        self, namespace: str, name: str, status: Mapping[str, Any], uid: str, resource_version: str
    ) -> Object:
        """As `ClusterClient.write_status`."""
        del namespace, uid, resource_version
        self.calls["writes of a status"] += 1
        self.bytes_written += len(json.dumps(status))
        self.plans.put(self._again(name) | {"status": status})
        self.answered.add(name)
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.tell, name)
        return self.plans.get(name)

    def touch(self, name: str) -> None:
        """An edit of the plan that asks nothing new, such as a label."""
        self.plans.put(self._again(name))
        self.tell(name)

    def _again(self, name: str) -> Object:
        plan, version = self.plans.get(name), str(next(self.versions))
        return plan | {"metadata": plan["metadata"] | {"resourceVersion": version}}

    def tell(self, name: str) -> None:
        """The event of a watch."""
        assert self.controller is not None
        self.controller.plan_changed(self.plans.get(name), self._event)

    def _event(self, about: Mapping[str, Any], event: Event) -> None:
        del about, event
        self.calls["events"] += 1


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: CPU seconds of operator and workers, seconds by the clock, calls."""

    what: str
    operator_s: float
    workers_s: float
    wall_s: float
    calls: Counter[str]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a fleet of one size took: causes, resident memory, what was written."""

    costs: list[Cost]
    operator_mib: float
    worker_mib: float  # of the largest
    written_mib: float


class Fleet:
    """A controller with nodes and plans, and a stop watch."""

    def __init__(self, size: int, workers: int, distinct: int, folder: Path) -> None:
        self.size = size
        plans, config_maps = (Store(Path(tempfile.mkdtemp(dir=folder))) for _ in range(2))
        self.server = Server(plans, config_maps)
        self.answers = 0
        settings = Settings(workers=workers, settle_s=0.1, resync_s=1e6)
        engine = Engine(workers, self._answered)
        client = cast("ClusterClient", self.server)
        self.engine = engine
        self.controller = Controller(settings, client, load(), engine, Metrics())
        self.server.controller = self.controller
        self.nodes = nodes.mixed(size)
        for node in self.nodes:
            node["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        template: Object = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
        self.names = [f"plan-{index:05d}" for index in range(size)]
        for index, name in enumerate(self.names):
            plans.put(_plan(template, name, index, index % distinct))

    def _answered(self, took_s: float) -> None:
        del took_s
        self.answers += 1

    async def measure(self) -> Measured:
        """Start, then one cause after the other, each until nothing happens any more."""
        self.server.loop = asyncio.get_running_loop()
        self.engine.start()
        await asyncio.sleep(QUIET_S)
        try:
            costs = [
                await self._timed("read all nodes", self._nodes_come),
                await self._timed("answer all plans", self._plans_come),
                await self._timed("look at all plans again", self._look_again),
                await self._timed("one node goes", self._node_goes),
                await self._timed("a heartbeat of every node", self._heartbeats),
            ]
            return Measured(costs, *_memory_mib(), self.server.bytes_written / MIB)
        finally:
            await self.controller.close()

    async def _timed(self, what: str, cause: Callable[[], None]) -> Cost:
        process = psutil.Process()
        calls, began = Counter(self.server.calls), time.monotonic()
        own, workers = _cpu_s(process), _workers_s(process)
        cause()
        last, seen = time.monotonic(), self._progress()
        while time.monotonic() - last < QUIET_S:
            await asyncio.sleep(0.1)
            now = self._progress()
            if now != seen:
                last, seen = time.monotonic(), now
        return Cost(
            what,
            _cpu_s(process) - own,
            _workers_s(process) - workers,
            max(0.0, last - began),
            self.server.calls - calls,
        )

    def _progress(self) -> tuple[float, ...]:
        """What grows while there is work, on a busy machine too: who computes counts. Ten thousand
        plans keep the operator busy for half a minute before the first call; waiting costs it a
        hundredth of a second a second.
        """
        process = psutil.Process()
        busy_s = round(_workers_s(process), 1), round(_cpu_s(process))
        return self.server.calls.total(), self.answers, *busy_s

    def _nodes_come(self) -> None:
        for node in self.nodes:
            self.controller.cluster.set_node(node["metadata"]["name"], node)
        self.controller.cluster.whole_inventory()

    def _plans_come(self) -> None:
        for name in self.names:
            self.controller.plan_seen(self.server.plans.get(name))
        for name in self.names:
            self.server.tell(name)

    def _look_again(self) -> None:
        for name in self.names:
            self.server.touch(name)

    def _node_goes(self) -> None:
        if self.controller.cluster.set_node(self.nodes[0]["metadata"]["name"], None):
            self.controller.cluster_changed()

    def _heartbeats(self) -> None:
        changed = [
            self.controller.cluster.set_node(node["metadata"]["name"], node)
            for node in self.nodes[1:]
        ]
        assert not any(changed)

    def answered(self) -> int:
        """Plans that have an answer."""
        return len(self.server.answered)


def _plan(template: Object, name: str, index: int, load_index: int) -> Object:
    """Plans that differ in load, each for two of the five GPU types."""
    spec = template["spec"] | {
        "frameworks": ["vLLM"],
        "placement": {"gpus": [GPUS[index % 5], GPUS[(index + 1) % 5]]},
        "workload": template["spec"]["workload"]
        | {"requestsPerSecond": f"{1 + load_index / 1000:.3f}"},
    }
    metadata = {
        "name": name,
        "namespace": f"team-{index % 50}",
        "uid": f"uid-{index}",
        "generation": 1,
        "resourceVersion": "0",
        "creationTimestamp": "2026-11-25T00:00:00Z",
    }
    return template | {"metadata": metadata, "spec": spec}


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _workers_s(process: psutil.Process) -> float:
    return sum(_cpu_s(child) for child in process.children(recursive=True))


def _memory_mib() -> tuple[float, float]:
    """Resident memory of this process, and of its largest worker."""
    process = psutil.Process()
    workers = [child.memory_info().rss for child in process.children(recursive=True)]
    return process.memory_info().rss / MIB, max(workers) / MIB


def measured(size: int, workers: int, distinct: int) -> Measured:
    """All causes with so many nodes and plans; `RuntimeError` unless every plan is answered."""

    async def run(folder: Path) -> Measured:
        fleet = Fleet(size, workers, distinct, folder)
        found = await fleet.measure()
        if fleet.answered() != size:
            raise RuntimeError(f"{fleet.answered()} of {size} plans were answered")
        return found

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder)))


def main(
    sizes: Annotated[str, typer.Option(help="Nodes, and as many plans.")] = "100,300,1000",
    workers: Annotated[int, typer.Option(help="Processes of the engine.")] = 2,
    same: Annotated[int, typer.Option(help="So many plans ask the same.")] = 1,
    to: Annotated[int, typer.Option(help="Size of the fleet that is estimated.")] = 10_000,
) -> None:
    """Measure each size and print what it costs, the last column being the estimate."""
    counts = [int(size) for size in sizes.split(",")]
    # one process after the other, so that none has the memory of another
    with worker_pool(1, tasks_each=1) as pool:
        found = [
            pool.submit(measured, size, workers, max(1, size // same)).result() for size in counts
        ]
    print("\n".join(estimate(counts, found, to)))


def estimate(sizes: list[int], found: list[Measured], to: int) -> list[str]:
    """A table by size with the estimate for the largest."""

    def row(name: str, values: list[float], digits: int = 1) -> tuple[str, ...]:
        shown = [f"{value:,.{digits}f}" for value in values]
        return name, *shown, f"{extrapolated(sizes, values, to):,.{digits}f}"

    rows: list[tuple[str, ...]] = []
    for each in zip(*(one.costs for one in found), strict=True):
        what = each[0].what
        rows.append(row(f"{what}: CPU s of the operator", [c.operator_s for c in each]))
        if any(c.workers_s > 0.1 for c in each):
            rows.append(row(f"{what}: CPU s of workers", [c.workers_s for c in each]))
            rows.append(row(f"{what}: seconds by the clock", [c.wall_s for c in each]))
        for call in sorted({call for c in each for call in c.calls}):
            rows.append(row(f"{what}: {call}", [float(c.calls[call]) for c in each], 0))
    rows.append(row("memory of the operator, MiB", [one.operator_mib for one in found], 0))
    rows.append(row("memory of a worker, MiB", [one.worker_mib for one in found], 0))
    rows.append(row("written, MiB", [one.written_mib for one in found]))
    heads = ("nodes, and plans", *(f"{size:,}" for size in sizes), f"{to:,}, estimated")
    return table(heads, rows)


def extrapolated(sizes: list[int], values: list[float], to: int) -> float:
    """The greater of a line and a power law through the last two sizes: what grows faster than the
    fleet must not be underrated.
    """
    if len(sizes) == 1 or min(values[-2:]) <= 0:
        return values[-1] * to / sizes[-1]
    (small, low), (large, high) = zip(sizes[-2:], values[-2:], strict=True)
    line = high + (high - low) / (large - small) * (to - large)
    power = high * (to / large) ** (math.log(high / low) / math.log(large / small))
    return max(line, power)


if __name__ == "__main__":
    typer.run(main)
