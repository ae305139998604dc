"""The metrics of pods as our own simulator says they are; `hack.standin` serves an API.

    python -m hack.fake_vllm -f PLAN --nodes FILE --bias 1.4 --port 8000

Requests arrive in real time; `--bias` makes every step and all that surrounds it slower than the
fits say, so that a prediction is wrong by a known factor.
"""

from __future__ import annotations

import bisect
import operator
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import typer

from guide.catalog import load
from guide.domain import Catalog, GroupEvaluation, Workload
from guide.frameworks import FRAMEWORKS
from guide.frameworks.metrics import USUAL, MetricNames
from guide.search.evaluate import load_share
from guide.simulate.arrivals import Requests, requests_of
from guide.simulate.capacity import layout_cost, request_tokens
from guide.simulate.cost import StepCost
from guide.simulate.policy import policy_of
from guide.simulate.replica import ReplicaLoop
from guide.simulate.times import Times, times_of
from hack.standin.metrics import CONTENT_TYPE, Served, ServerMetrics


class SlowCost(StepCost):
    """Every step takes `bias` times as long."""

    def __init__(self, cost: StepCost, bias: float) -> None:
        self._cost, self._bias = cost, bias

    def prompt_step(self, *args: Any) -> float:
        """Seconds of one step that holds prompt tokens."""
        return self._bias * self._cost.prompt_step(*args)

    def decode_run(self, *args: Any) -> float:
        """Seconds of a run of decode steps."""
        return self._bias * self._cost.decode_run(*args)

    def decode_steps_within(self, seconds: float, *args: Any) -> int:
        """How many decode steps it takes to pass `seconds`."""
        return self._cost.decode_steps_within(seconds / self._bias, *args)


def simulated(
    group: GroupEvaluation, load: Workload, catalog: Catalog, bias: float, count: int, seed: int = 1
) -> tuple[Requests, Times]:
    """What one replica does to `count` requests of `load`, its share of the plan's."""
    cost, serving = layout_cost(group.group, catalog)
    requests = requests_of(load, count, seed, group.group.limits.max_model_len)
    replica = ReplicaLoop(
        policy_of(group.group, group.memory, catalog, request_tokens(load), requests.most_new),
        SlowCost(cost, bias),
        requests.prompts,
        requests.outputs,
        requests.arrivals,
        cached=requests.cached,
    )
    replica.run()
    return requests, times_of(replica, type(serving)(*(bias * v for v in serving)))


def served(requests: Requests, times: Times) -> list[Served]:
    """The requests by the time of their end."""
    rows = zip(
        map(operator.add, times.arrival, times.e2e),
        map(operator.add, times.arrival, times.queue),
        requests.prompts,
        requests.outputs,
        times.ttft,
        times.tpot,
        times.e2e,
        times.queue,
        requests.cached,
        strict=True,
    )
    return sorted(Served(*row) for row in rows)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        del format, args


class FakeVllm:
    """Metrics of one pod while `requests` go by; `old` names are those before vLLM 0.13."""

    def __init__(
        self,
        requests: Sequence[Served],
        kv_tokens: int,
        model: str,
        *,
        old: bool,
        names: MetricNames = USUAL,
    ) -> None:
        self.metrics = ServerMetrics(model, old=old, names=names)
        self._requests = requests
        self._kv_tokens = kv_tokens
        self._stop = threading.Event()
        self._starts = sorted(r.start_s for r in requests)

    def play(self) -> None:
        """Go through the requests in real time, in a thread."""
        threading.Thread(target=self._play, daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def serve(self, port: int) -> None:
        """Serve /metrics on 127.0.0.1, in a thread."""

        def app(_: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", CONTENT_TYPE)])
            return [self.metrics.text()]

        server = make_server("127.0.0.1", port, app, handler_class=_Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def _play(self) -> None:
        began = time.monotonic()
        for index, request in enumerate(self._requests):
            if self._stop.wait(max(0.0, request.end_s - (time.monotonic() - began))):
                return
            self.metrics.record(request)
            begun = bisect.bisect_right(self._starts, request.end_s)
            running = begun - index - 1
            held = running * (request.prompt + request.output)
            self.metrics.show(running=running, kv_share=held / self._kv_tokens)


def pods_of(
    group: GroupEvaluation,
    workload: Workload,
    catalog: Catalog,
    bias: float,
    seconds: float,
    *,
    old: bool = False,
) -> Iterator[FakeVllm]:
    """One pod for every replica of the group, each under its share of an open-loop load."""
    share = load_share(workload, group.group.replicas, group.group.load_share)
    count = int(seconds * (share.requests_per_s or 1.0))
    for index in range(group.group.replicas):
        rows = served(*simulated(group, share, catalog, bias, count, seed=index + 1))
        tokens = group.memory.replica_kv_tokens
        names = FRAMEWORKS[group.group.framework].metrics
        yield FakeVllm(rows, tokens, group.group.model.name, old=old, names=names)


def main(
    plan: Annotated[Path, typer.Option("-f", help="InferencePlan with requestsPerSecond")],
    nodes: Annotated[Path, typer.Option(help="kubectl get nodes -o yaml")],
    bias: Annotated[float, typer.Option(help="how much slower than predicted")] = 1.4,
    port: Annotated[int, typer.Option(help="of the first replica; the next follow")] = 8000,
    hours: Annotated[float, typer.Option(help="how long requests come")] = 1.0,
    old: Annotated[bool, typer.Option(help="metric names before vLLM 0.13")] = False,
) -> None:
    """Serve /metrics of every replica of the plan's best deployment."""
    from guide.cli.question import read_items
    from guide.cluster.inventory import read_inventory
    from guide.search.recommend import recommend
    from guide.spec import load_plan, resolve_plan

    catalog = load()
    question = resolve_plan(load_plan(plan.read_text()), catalog)
    inventory = read_inventory(read_items(nodes, "Node"), (), catalog)
    best = recommend(question, inventory, catalog).best
    if best is None or question.workload.requests_per_s is None:
        raise typer.BadParameter("the plan needs an answer and requestsPerSecond")
    pods = pods_of(best.groups[0], question.workload, catalog, bias, 3600 * hours, old=old)
    for index, pod in enumerate(pods):
        pod.serve(port + index)
        pod.play()
        print(f"http://127.0.0.1:{port + index}/metrics")
    time.sleep(3600 * hours)


if __name__ == "__main__":
    typer.run(main)
