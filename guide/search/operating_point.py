"""The operating point of one replica: context, batch limits, memory, capacity, and its bounds.

What is worked out here is what the manifest writes (`Limits`), so the prediction holds for what
runs.
"""

from __future__ import annotations

import math
from functools import lru_cache

from msgspec.structs import replace

from guide.domain import (
    Catalog,
    Fit,
    Lengths,
    Limits,
    MemoryFit,
    Plan,
    Release,
    ReplicaGroup,
    Scheduling,
    ServingReport,
    Workload,
)
from guide.frameworks import FRAMEWORKS
from guide.perf.adjust import (
    adjust_batch_size,
    longest_sequence,
    max_parallelism,
    mean_context_tokens,
)
from guide.perf.fits import resolve
from guide.perf.memory import memory_fit
from guide.record import Record
from guide.search.asked import Asked
from guide.search.bounds import (
    Broken,
    context_beyond_limits,
    context_beyond_model,
    context_does_not_fit,
    latency_misses,
    outside_does_not_fit,
    weights_do_not_fit,
)
from guide.search.promised import guessed
from guide.search.space import Shape
from guide.simulate.arrivals import DEFAULT_P95_RATIO
from guide.simulate.capacity import request_tokens, saturation, zero_load

LEAST_CHUNK = 256  # tokens of a step: below, the host takes longer than the GPU
SHORTER, LONGER = (1 / 4, 1 / 2), 2  # tuning factors (P7) on the framework's own chunk
FULL, MANY_PREEMPTIONS = 0.98, 12  # of the cache, in a run: memory decides the times
WIDEST_LOG = 3.0  # half-width, a factor of 20: beyond, there is no number
# powers of two and their midpoints: the sizes for which batches are captured as graphs
BATCH_LADDER = tuple(
    sorted({1, 2, 4} | {size for k in range(3, 11) for size in (2**k, 3 * 2 ** (k - 1))})
)


class Idle(Record, frozen=True, kw_only=True):
    """A shape at its operating point, on an empty server."""

    shape: Shape
    limits: Limits
    memory: MemoryFit
    fit: Fit
    zero_load_ttft_s: float
    zero_load_tpot_s: float
    zero_load_e2e_s: float
    max_concurrent_requests: int
    smaller: tuple[int, ...] = ()  # batches that may be taken instead, ascending
    chunks: tuple[int, ...] = ()  # and tokens of a step, ascending
    mixable: bool = False  # whether decodes may run in steps of prompts


class Replica(Idle, frozen=True, kw_only=True):
    """The same with what it sustains."""

    saturation_per_s: float  # requests/s, steady state, estimate

    def group(self, replicas: int, load_share: float = 1.0) -> ReplicaGroup:
        """This replica `replicas` times, with their share of the plan's load."""
        return replace(self.shape.group(self.limits, replicas), load_share=load_share)

    @property
    def capacity_per_s(self) -> float:
        """Requests/s of one replica at the lower end of the 90 % interval."""
        return self.saturation_per_s * math.exp(-half_width(self.fit, "throughput"))


def half_width(fit: Fit, metric: str) -> float:
    """Half-width in log space of the 90 % interval of a metric: ttft, tpot, e2e or throughput."""
    return fit.residual.get(metric, 0.0)


def half_width_near(fit: Fit, report: ServingReport, metric: str) -> float:
    """The same under a load that was simulated: other runs of it scatter, and near saturation an
    error of the capacity is a much larger one of the wait for the first token.
    """
    width = half_width(fit, metric)
    if report.kv_peak_share >= FULL and report.preemptions >= MANY_PREEMPTIONS:
        width = max(width, fit.pressed.get(metric, 0.0))
    scatter: dict[str, float] = dict(zip(("ttft", "tpot", "e2e"), report.noise, strict=True))
    width = math.hypot(width, scatter.get(metric, 0.0))
    beyond = (report.ttft_steepness - 1) * half_width(fit, "throughput")
    waits = {"ttft": 1.0, "e2e": report.ttft.p95_s / report.e2e.p95_s}.get(metric, 0.0)
    return max(width, min(math.hypot(width, beyond * waits), WIDEST_LOG))


@lru_cache(maxsize=16384)  # of 1.2 kB: every other limit asks for the same, and so do what-ifs
def operate(
    shape: Shape, asked: Asked, catalog: Catalog, running: Limits | None = None
) -> Replica | Broken:
    """Find the operating point of `shape`, or what keeps it from serving at all.

    With `running`, the operating point of a deployment that is there: it is judged, not chosen.
    """
    found = idle(shape, asked, catalog, running)
    if isinstance(found, Broken):
        return found
    sustained = saturation(shape.group(found.limits), found.memory, asked.workload, catalog)
    return Replica(
        **{name: getattr(found, name) for name in Idle.__struct_fields__},
        saturation_per_s=sustained,
    )


@lru_cache(maxsize=16384)
def idle(
    shape: Shape, asked: Asked, catalog: Catalog, running: Limits | None = None
) -> Idle | Broken:
    """The same on an empty server, which most shapes are too slow for already: what they would
    sustain, nobody asks."""
    workload, needed = asked.workload, asked.context_tokens
    broken = guessed(workload, context_beyond_model(shape.variant.model, needed))
    if broken is not None:
        return broken
    limits = running or default_limits(shape, needed)
    broken = guessed(workload, context_beyond_limits(limits, needed))
    if broken is not None:
        return broken
    memory = memory_fit(shape.group(limits), shape.release, shape.switches)
    broken = weights_do_not_fit(memory) or guessed(workload, context_does_not_fit(memory, needed))
    if broken is not None:
        return broken
    stated = workload.max_context_tokens is not None or running is not None
    # without FlashAttention activations grow with the context
    if not stated and shape.switches.flash_attention:
        model_limit = shape.variant.model.max_context_tokens
        longest = longest_sequence(memory, model_limit, needed)
        limits = replace(limits, max_model_len=longest)
    release, variant = shape.release, shape.variant
    fit = resolve(
        catalog,
        shape.gpu,
        *(release.framework, release.version, variant.precision, variant.model),
        one_batch=shape.key.one_batch and shape.speculation is None,
    )
    if running is None:
        sizes = _batch_sizes(limits, memory, workload)
        limits = replace(limits, max_num_seqs=sizes[-1])
        memory = memory_fit(shape.group(limits), shape.release, shape.switches)
        broken = outside_does_not_fit(memory)
        if broken is not None:
            return broken
        found = _bounded(shape, limits, memory, fit, asked, catalog)
        chunks = _chunk_sizes(release, limits, workload)
        mixable = FRAMEWORKS[release.framework].mixes_chunks(variant.model, shape.pp)
        mixable = mixable and shape.speculation is None  # SGLang turns it off
        return replace(found, smaller=sizes[:-1], chunks=chunks, mixable=mixable)
    return _bounded(shape, limits, memory, fit, asked, catalog)


def too_slow(replica: Idle, plan: Plan) -> Broken | None:
    """The service level that even an empty server misses."""
    how, fit = "even on an empty server p95", replica.fit
    ends = (
        replica.zero_load_ttft_s * _up(fit, "ttft"),
        replica.zero_load_tpot_s * _up(fit, "tpot"),
        replica.zero_load_e2e_s * _up(fit, "e2e"),
    )
    return next(latency_misses(*ends, plan, how), None)


def default_limits(shape: Shape, max_model_len: int) -> Limits:
    """The limits that the framework takes by itself on this GPU, with the KV type of the shape."""
    limits = FRAMEWORKS[shape.release.framework].limits_of(
        shape.release, shape.gpu, shape.variant.model, shape.tp, shape.pp, max_model_len
    )
    most = min(limits.max_num_seqs, limits.max_num_batched_tokens // _queries(shape))
    return replace(limits, max_num_seqs=most, kv_cache_dtype=shape.variant.kv_cache_dtype)


def _queries(shape: Shape) -> int:
    """Tokens of a step that a running sequence takes: vLLM refuses more sequences than tokens."""
    return shape.speculation.queries if shape.speculation else 1


def _concurrent(memory: MemoryFit, workload: Workload) -> int:
    """Requests whose KV cache fits at once, at least one."""
    return max(1, max_parallelism(memory, request_tokens(workload)))


def _at_once(shape: Shape, limits: Limits, memory: MemoryFit, workload: Workload) -> int:
    """Requests that a replica runs at once."""
    return min(limits.max_num_seqs * shape.attention_dp, _concurrent(memory, workload))


def _batch_sizes(limits: Limits, memory: MemoryFit, workload: Workload) -> tuple[int, ...]:
    """The batches worth a try, ascending (paper P20): rungs up to what memory holds.

    The largest leaves no user of a closed loop outside whose request fits: what a mean request
    holds while it decodes decides, not what it holds at its end. No service level has a say here,
    so that a looser one never leaves less to choose from.
    """
    held = mean_context_tokens(workload.prompt.mean_tokens, workload.output.mean_tokens)
    fit, ranks = _concurrent(memory, workload), memory.attention_ranks
    if workload.offline is not None:  # nobody minds one that has to wait again
        fit = max(fit, max_parallelism(memory, held))
    most = adjust_batch_size(limits.max_num_seqs, fit // ranks).size
    sizes = [size for size in BATCH_LADDER if size <= most] or [1]
    if limits.max_num_seqs <= most:
        sizes.append(limits.max_num_seqs)
    users = math.ceil((workload.concurrency or 0) / ranks)  # of one rank, which has the batch
    if sizes[-1] < users <= max_parallelism(memory, held) // ranks:
        sizes.append(users)
    return tuple(sorted(set(sizes)))


def with_batch(replica: Replica, size: int, plan: Plan, catalog: Catalog) -> Replica:
    """The same replica with at most `size` sequences in a batch."""
    return _under(replica, replace(replica.limits, max_num_seqs=size), plan, catalog)


def with_chunk(replica: Replica, tokens: int, plan: Plan, catalog: Catalog) -> Replica | None:
    """The same replica with at most `tokens` in a step; None where its longest request then finds
    no room, since larger steps take memory from the cache."""
    batch = min(replica.limits.max_num_seqs, tokens // _queries(replica.shape))
    limits = replace(replica.limits, max_num_batched_tokens=tokens, max_num_seqs=batch)
    found = _under(replica, limits, plan, catalog)
    longest = found.memory.longest_request(limits.max_model_len)
    if longest < limits.max_model_len or outside_does_not_fit(found.memory):
        return None
    return found


def with_mixed_chunk(replica: Replica) -> Replica:
    """The same replica with decodes in the steps of prompts, which no bound depends on."""
    return replace(replica, limits=replace(replica.limits, mixed_chunk=True), mixable=False)


def _under(replica: Replica, limits: Limits, plan: Plan, catalog: Catalog) -> Replica:
    shape = replica.shape
    memory = memory_fit(shape.group(limits), shape.release, plan.switches)
    return replace(
        replica,
        limits=limits,
        memory=memory,
        saturation_per_s=saturation(shape.group(limits), memory, plan.workload, catalog),
        max_concurrent_requests=_at_once(shape, limits, memory, plan.workload),
    )


def _chunk_sizes(release: Release, limits: Limits, workload: Workload) -> tuple[int, ...]:
    """The chunks worth a try beside the framework's own, where prompts are cut at all: smaller ones
    that a long prompt exceeds, and a larger one where several prompts share a step.

    Of the workload alone, so that no service level leaves less to choose from.
    """
    if release.scheduling not in (Scheduling.TOKEN_BUDGET, Scheduling.PREFILL_OR_DECODE):
        return ()
    own, long = limits.max_num_batched_tokens, _long_prompt(workload)
    tuned = [int(own * factor) for factor in SHORTER]
    smaller = [size for size in tuned if LEAST_CHUNK <= size < long]
    return (*smaller, *([LONGER * own] if long > own / 2 else []))


def _long_prompt(workload: Workload) -> float:
    prompt = workload.prompt
    return prompt.p95_tokens or DEFAULT_P95_RATIO * prompt.mean_tokens


def _up(fit: Fit, metric: str) -> float:
    return math.exp(half_width(fit, metric))


def _bounded(
    shape: Shape,
    limits: Limits,
    memory: MemoryFit,
    fit: Fit,
    asked: Asked,
    catalog: Catalog,
) -> Idle:
    """The replica with what bounds say about it."""
    group, workload = shape.group(limits), asked.workload
    ttft_s, tpot_s, e2e_s = _empty_server(group, memory, asked, catalog)
    return Idle(
        shape=shape,
        limits=limits,
        memory=memory,
        fit=fit,
        zero_load_ttft_s=ttft_s,
        zero_load_tpot_s=tpot_s,
        zero_load_e2e_s=e2e_s,
        max_concurrent_requests=_at_once(shape, limits, memory, workload),
    )


def _empty_server(
    group: ReplicaGroup, memory: MemoryFit, asked: Asked, catalog: Catalog
) -> tuple[float, float, float]:
    """Lower bounds of the p95 of TTFT, TPOT and end-to-end time, from requests that meet no other.

    The p95 of the prompts bounds that of TTFT, the p95 of the outputs that of the end-to-end time.
    """
    workload, long = asked.workload, asked.long
    _, tpot_s = zero_load(group, memory, workload, catalog)
    prompt = Lengths(mean_tokens=long.prompt_tokens)
    ttft_s, _ = zero_load(group, memory, replace(workload, prompt=prompt), catalog)
    return ttft_s, tpot_s, max(ttft_s, tpot_s * (long.output_tokens - 1))
