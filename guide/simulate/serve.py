"""One replica of a candidate under its share of the load: bounds, capacity, and the simulated
report."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean, quantiles
from typing import NamedTuple

from guide.domain import (
    Catalog,
    Gpu,
    MemoryFit,
    ModelArch,
    Percentiles,
    Precision,
    ReplicaGroup,
    ServingReport,
    Switches,
    Workload,
)
from guide.perf.adjust import mean_context_tokens
from guide.perf.fits import ServingParams, engine_for, kernels_price, resolve
from guide.perf.ops import Layout, layout_of
from guide.perf.pipeline import heaviest_stages, hops
from guide.perf.step import StepParams, Traits, fold, priced_by_kernels
from guide.simulate.arrivals import Requests, requests_of
from guide.simulate.cost import LayoutCost
from guide.simulate.pipeline import PipelineCost
from guide.simulate.policy import policy_of
from guide.simulate.replica import NEVER, ReplicaLoop
from guide.simulate.tasks import decode_task, prefill_task, task_seconds

OPEN_REQUESTS = 600  # enough for a p95 within a few percent at the load of a stable replica
WAVES = 4  # closed loop: requests per user, of which the first wave is not counted
MOST_CLOSED = 4000
WARM_SHARE = 0.2  # of an open-loop run, dropped as warm-up
GROWTH = 1.5  # backlog at the end over backlog in the middle that tells an unstable queue
SLACK_REQUESTS = 8


def layout_cost(group: ReplicaGroup, catalog: Catalog) -> tuple[LayoutCost, ServingParams]:
    """The step cost of a group's replica and what requests pay around it."""
    return _cost(
        *(catalog, group.gpu, group.framework, group.version, group.precision),
        model=group.model,
        layout=layout_of(group),
        kv_cache_dtype=group.limits.kv_cache_dtype,
        switches=group.switches,
        nodes=group.pool.nodes_for(group.tp, group.pp) if group.pp > 1 else 1,
        token_budget=group.limits.max_num_batched_tokens if group.pp > 1 else 0,
    )


# keyed by what it depends on: a pool lists its nodes, and there may be thousands
@lru_cache(maxsize=4096)
def _cost(
    catalog: Catalog,
    gpu: Gpu,
    framework: str,
    version: str,
    precision: Precision,
    *,
    model: ModelArch,
    layout: Layout,
    kv_cache_dtype: str,
    switches: Switches,
    nodes: int,
    token_budget: int,
) -> tuple[LayoutCost, ServingParams]:
    fit = resolve(catalog, gpu, framework, version, precision, model).values
    step = StepParams(**{name: fit[name] for name in StepParams._fields})
    serving = ServingParams(**{name: fit[name] for name in ServingParams._fields})
    engine = engine_for(catalog, framework, version)
    traits = Traits(kernels=kernels_price(catalog.fits, gpu, engine))

    def cost(arch: ModelArch, head: bool = True) -> LayoutCost:
        facts = fold(arch, gpu, precision, layout, kv_cache_dtype, switches, traits)
        priced = None
        if traits.kernels:
            priced = priced_by_kernels(arch, gpu, precision, layout, kv_cache_dtype)
        if not head:
            facts = facts._replace(head_s=0.0, head_sequence_s=0.0)
            priced = priced and priced.without_head()
        return LayoutCost(facts, step, priced)

    whole = cost(model)
    if layout.pp == 1:
        return whole, serving
    staged = PipelineCost(
        whole,
        [cost(stage.arch, stage.head) for stage in heaviest_stages(model, layout.pp)],
        hops(model, gpu, layout.pp, nodes, step),
        batches=layout.pp,
        token_budget=token_budget,
    )
    return staged, serving


def request_tokens(workload: Workload) -> float:
    """Tokens of a mean request at its end."""
    return workload.prompt.mean_tokens + workload.output.mean_tokens


def zero_load(
    group: ReplicaGroup, memory: MemoryFit, workload: Workload, catalog: Catalog
) -> tuple[float, float]:
    """TTFT and TPOT of a mean request on an empty server, in seconds: lower bounds."""
    cost, serving = layout_cost(group, catalog)
    prompt = max(1.0, workload.prompt.mean_tokens * (1 - workload.prefix_hit_share))
    policy = policy_of(group, memory, catalog, request_tokens(workload))
    alone = task_seconds(prefill_task(group, prompt, 0, policy.token_budget), cost)
    ttft_s = alone + serving.r0 + serving.rt * prompt
    context = mean_context_tokens(workload.prompt.mean_tokens, workload.output.mean_tokens)
    return ttft_s, task_seconds(decode_task(group, 1, context, 1), cost) + serving.u


def _prompt_seconds(
    cost: LayoutCost, group: ReplicaGroup, prompt: float, decodes: int, prompts_per_step: float
) -> float:
    """Seconds that one prompt adds to the steps it is computed in, beside `decodes` running
    sequences; in a pipeline it shares a round with the other prompts of the time."""
    at_once = 1
    if group.pp > 1:
        at_once = max(1, min(group.pp, round(prompts_per_step)))
    task = prefill_task(group, prompt, decodes, prompts=at_once)
    alone = task_seconds(decode_task(group, decodes, 0, task.steps), cost) if decodes else 0.0
    return (task_seconds(task, cost) - alone) / at_once


def saturation(
    group: ReplicaGroup, memory: MemoryFit, workload: Workload, catalog: Catalog
) -> float:
    """Requests/s of one replica that never idles: a steady-state estimate without simulation.

    With b running sequences a request costs its share of `output` decode steps and its own prompt:
    rate = 1 / (output x step(b) / b + prompt(b)).
    """
    cost, _ = layout_cost(group, catalog)
    prompt, output = workload.prompt.mean_tokens, workload.output.mean_tokens
    context = mean_context_tokens(prompt, output)
    held = memory.held_tokens(prompt + output) / context
    batch = int(max(1, min(group.limits.max_num_seqs, held)))
    decode_s = task_seconds(decode_task(group, batch, context, output), cost)
    computed = max(1.0, prompt * (1 - workload.prefix_hit_share))
    prompt_s = _prompt_seconds(cost, group, computed, batch, batch / max(1.0, output))
    return 1 / (decode_s / batch + prompt_s)


def serve(
    group: ReplicaGroup,
    memory: MemoryFit,
    workload: Workload,
    catalog: Catalog,
    *,
    seed: int,
    runs: Runs | None = None,
) -> ServingReport:
    """Simulate one replica of `group` under `workload`, already its share of the plan's load.

    `runs` remembers what was simulated, and is asked first.
    """
    runs = Runs() if runs is None else runs
    policy = policy_of(group, memory, catalog, request_tokens(workload))
    cost, serving = layout_cost(group, catalog)
    key = (
        *(cost.facts, cost.params, serving),
        replace(policy, kv_blocks=0),
        *(workload, group.limits.max_model_len, group.model.window_tokens, seed),
    )
    found = runs.find(key, policy.kv_blocks)
    if found is None:
        count = OPEN_REQUESTS
        if (users := workload.concurrency) is not None:
            count = min(MOST_CLOSED, max(users + OPEN_REQUESTS // 4, WAVES * users))
        requests = requests_of(workload, count, seed, group.limits.max_model_len)
        replica, _ = run(group, memory, requests, catalog, closed_users=users)
        report = _report(replica, requests, serving, workload, seed)
        found = EngineRun(policy.kv_blocks, replica.starved, report)
        runs.add(key, found)
    one = found.report
    return replace(one, kv_peak_share=one.kv_peak_share * found.kv_blocks / policy.kv_blocks)


class EngineRun(NamedTuple):
    """What one replica did with so many KV blocks, and whether anything waited for them."""

    kv_blocks: int
    starved: bool
    report: ServingReport


class Runs:
    """Simulations by all that they depend on, so that none is made twice.

    A run in which nothing ever waited for KV blocks is the run of any larger cache as well.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, list[EngineRun]] = {}

    def find(self, key: Hashable, kv_blocks: int) -> EngineRun | None:
        """The run of `key` with so many blocks, if one is known."""
        for one in self._known.get(key, ()):
            if one.kv_blocks == kv_blocks or (not one.starved and one.kv_blocks < kv_blocks):
                return one
        return None

    def add(self, key: Hashable, one: EngineRun) -> None:
        """Remember a run."""
        self._known.setdefault(key, []).append(one)


def run(
    group: ReplicaGroup,
    memory: MemoryFit,
    requests: Requests,
    catalog: Catalog,
    *,
    closed_users: int | None = None,
) -> tuple[ReplicaLoop, ServingParams]:
    """Serve `requests` by one replica of `group`; also what requests pay around it."""
    cost, serving = layout_cost(group, catalog)
    typical = (sum(requests.prompts) + sum(requests.outputs)) / max(1, len(requests.prompts))
    replica = ReplicaLoop(
        policy_of(group, memory, catalog, typical),
        cost,
        requests.prompts,
        requests.outputs,
        requests.arrivals,
        window=group.model.window_tokens,
        cached=requests.cached,
        closed_users=closed_users,
    )
    replica.run()
    return replica, serving


class Times(NamedTuple):
    """Seconds of each request that was served, as its client sees them; `queue`: before its first
    step.
    """

    arrival: list[float]
    ttft: list[float]
    tpot: list[float]
    e2e: list[float]
    queue: list[float]
    outputs: list[float]  # tokens


def times_of(
    replica: ReplicaLoop, requests: Requests, serving: ServingParams, uncounted: int = 0
) -> Times:
    """Times of the requests of a replica that has run, without the first `uncounted` (at most half
    of those served). `ValueError` where none is left.
    """
    first, finish = replica.first_token_s, replica.finish_s
    served = [
        i
        for i in range(min(uncounted, len(first) // 2), len(first))
        if first[i] < NEVER and finish[i] < NEVER
    ]
    if not served:
        raise ValueError("a replica that serves nothing was simulated")
    times = Times([], [], [], [], [], [])
    for i in served:
        arrival, output = replica.arrival_s[i], requests.outputs[i]
        around = serving.r0 + serving.rt * requests.prompts[i]
        gaps = max(0, output - 1)
        streamed = serving.u * gaps
        times.arrival.append(arrival)
        times.ttft.append(first[i] - arrival + around)
        times.tpot.append((finish[i] - first[i] + streamed) / max(1, gaps))
        times.e2e.append(finish[i] - arrival + around + streamed)
        times.queue.append(max(0.0, replica.start_s[i] - arrival))
        times.outputs.append(output)
    return times


def percentiles(values: Sequence[float]) -> Percentiles:
    """Mean and percentiles of a sample, in seconds."""
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    return Percentiles(mean_s=fmean(values), p50_s=cuts[49], p95_s=cuts[94], p99_s=cuts[98])


def _report(
    replica: ReplicaLoop,
    requests: Requests,
    serving: ServingParams,
    workload: Workload,
    seed: int,
) -> ServingReport:
    """What one replica did; `workload` is its share."""
    warm = workload.concurrency or int(WARM_SHARE * len(replica.arrival_s))
    times = times_of(replica, requests, serving, warm)
    span = replica.clock - min(times.arrival)
    in_steady = len(times.arrival) / max(span, 1e-9)
    if workload.requests_per_s is not None:
        in_steady = min(in_steady, workload.requests_per_s)
    return ServingReport(
        ttft=percentiles(times.ttft),
        tpot=percentiles(times.tpot),
        e2e=percentiles(times.e2e),
        queue=percentiles(times.queue),
        requests_per_s=in_steady,
        output_tokens_per_s=in_steady * fmean(times.outputs),
        kv_peak_share=replica.kv_peak_share,
        batch_mean=replica.decoding.batch_mean,
        preemptions=replica.preemptions,
        stable=not replica.refused and _stable(replica, workload),
        seed=seed,
    )


def _stable(replica: ReplicaLoop, workload: Workload) -> bool:
    """Whether the backlog has stopped growing: at the last arrival it is what it was half-way."""
    if workload.concurrency is not None:
        return True
    arrival, start = replica.arrival_s, sorted(replica.start_s)
    halfway, end = (
        bisect_right(arrival, moment) - bisect_right(start, moment)
        for moment in (arrival[len(arrival) // 2], arrival[-1])
    )
    return end <= GROWTH * halfway + SLACK_REQUESTS
