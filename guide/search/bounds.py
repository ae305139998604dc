"""Why a shape cannot win, found without simulating: one function per reason.

Each rule returns a `Broken` limit (reason, sentence, relative margin) or None. The rules are
necessary conditions: what they refuse, no simulation would accept. Latencies are judged at the
upper end of the 90 % interval, capacity at its lower end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from guide.domain import Gpu, GpuPool, Limits, MemoryFit, ModelArch, Plan, Reason, Release
from guide.frameworks import FRAMEWORKS
from guide.frameworks.launches import LEAST_DRIVER, image_cuda
from guide.models.splitting import torn
from guide.record import Record
from guide.search.space import Shape, Variant
from guide.units import format_bytes, format_duration, format_milliseconds, format_usd

WORST = 1000.0  # margin where there is no room at all


class Broken(Record, frozen=True):
    """A limit that does not hold; ``margin`` is the relative distance to it (0.2 = 20 % too
    much).
    """

    reason: Reason
    detail: str
    margin: float


def counted(count: int, noun: str) -> str:
    """A count with its noun: 1 GPU, 2 GPUs."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def excess(value: float, limit: float) -> float:
    """How far `value` lies above `limit`, relative to it."""
    return min(WORST, value / limit - 1) if limit > 0 else WORST


# --- the pool and the layout ---------------------------------------------------------------------


def unknown_gpu(pool: GpuPool) -> Broken | None:
    """The node's product is in no catalogue: nothing can be predicted."""
    if pool.gpu is not None:
        return None
    return Broken(
        Reason.UNKNOWN_GPU,
        f"product '{pool.product}' is in no catalogue: nothing is known of its speed",
        1.0,
    )


def heads_not_divisible(shape: Shape) -> Broken | None:
    """Tensor parallelism splits attention heads evenly; KV heads are split, or copied evenly."""
    model, tp = shape.variant.model, shape.tp
    for attention in model.attentions:
        if attention.heads % tp:
            what, count = "attention heads", attention.heads
        elif attention.kv_heads % tp and tp % attention.kv_heads:
            what, count = "KV heads", attention.kv_heads
        else:
            continue
        return Broken(
            Reason.HEADS_NOT_DIVISIBLE,
            f"{count} {what} do not divide over TP {tp}",
            (count % tp) / tp,
        )
    return None


def quant_group_not_divisible(shape: Shape) -> Broken | None:
    """Each GPU must hold whole groups and blocks of quantised weights, by what vLLM checks."""
    model, tp = shape.variant.model, shape.tp
    if tp == 1 or shape.variant.precision.name != model.precision:
        return None
    found = torn(model, tp, shape.image_version, whole_experts=shape.ep > 1)
    if found is None:
        return None
    weight, ranks, held, tile = found
    part = f"{weight.part.value} weight {weight.name.split('.')[-1]}"
    return Broken(
        Reason.QUANT_GROUP_NOT_DIVISIBLE,
        f"a GPU holds {held:g} of the {held * ranks:g} channels over which TP {tp} splits "
        f"the {part}, which is not divisible by its {weight.format.name} block of {tile}",
        (held % tile) / tile,
    )


def spans_nodes(shape: Shape) -> Broken | None:
    """A replica lives inside one node, or each stage of its pipeline does, or all of it in an
    NVLink domain of several nodes.
    """
    have = shape.pool.gpus_per_node
    joined = shape.tp <= have or (shape.pool.nvlink_domains and shape.tp % have == 0)
    if shape.gpus <= have or (shape.nodes > 1 and joined):
        return None
    return Broken(
        Reason.SPANS_NODES,
        f"a replica of {shape.gpus} GPUs spans nodes; a node of {shape.pool.name} has {have}",
        excess(shape.gpus, have),
    )


def shared_gpu(shape: Shape) -> Broken | None:
    """A time-sliced or MPS GPU cannot be asked for twice by one pod, and slices have no link."""
    if shape.gpus == 1:
        return None
    if shape.pool.shared:
        detail = (
            f"GPUs of {shape.pool.name} are time-shared: a pod may not hold {shape.gpus} of them"
        )
    elif not shape.gpu.linked:
        detail = (
            f"GPUs of {shape.pool.name} are slices of {shape.gpu.parent}, with no link between "
            f"them: a replica cannot span {shape.gpus}"
        )
    else:
        return None
    return Broken(Reason.SHARED_GPU, detail, shape.gpus - 1.0)


def not_enough_gpus(shape: Shape, replicas: int) -> Broken | None:
    """The replicas must find free GPUs, each inside one node."""
    pool = shape.pool
    fit = pool.replicas_that_fit(shape.gpus, shape.nodes)
    if replicas <= fit:
        return None
    largest = max(pool.free_gpus_by_node, default=0)
    if fit == 0:
        where = "one node" if shape.nodes == 1 else f"{shape.nodes} nodes, equally many on each"
        where += " of one NVLink domain" if shape.nodes > 1 and pool.nvlink_domains else ""
        detail = f"needs {shape.gpus} free GPUs on {where}; {pool.name} has at most {largest}"
        return Broken(
            Reason.NOT_ENOUGH_GPUS, detail, excess(shape.gpus, largest) if largest else 1.0
        )
    return Broken(
        Reason.NOT_ENOUGH_GPUS,
        f"needs {replicas} replicas of {counted(shape.gpus, 'GPU')}; {fit} fit into the "
        f"{pool.free_gpus} "
        f"free GPUs of {pool.name}",
        excess(replicas, fit),
    )


def unsupported(shape: Shape) -> Broken | None:
    """The framework has no kernels, no policy or no pipeline for this model on this GPU."""
    return _unserved(shape.release, shape.gpu, shape.variant, shape.pp, shape.image)


@lru_cache(maxsize=4096)  # tensor parallelism has no say, and every question asks again
def _unserved(
    release: Release, gpu: Gpu, variant: Variant, pp: int, image: str | None
) -> Broken | None:
    name = release.framework
    framework = FRAMEWORKS[name]
    found = framework.unsupported(gpu, variant.model, variant.precision, pp)
    found = found or framework.cannot_start(
        gpu, variant.model, variant.precision, release.version, image
    )
    if found is None and variant.kv_cache_dtype not in framework.kv_cache_dtypes:
        sentence = f"{name} keeps its KV cache in 16 bit, not {variant.kv_cache_dtype}"
        found = (Reason.UNSUPPORTED_PRECISION, sentence)
    return None if found is None else Broken(*found, 1.0)


def driver_too_old(shape: Shape) -> Broken | None:
    """The tag of the image that the plan names says its CUDA, and the nodes their driver."""
    cuda = image_cuda(shape.image) if shape.image and shape.gpu.vendor == "nvidia" else None
    least, driver = LEAST_DRIVER.get(cuda or 0), shape.pool.driver
    if least is None or driver is None or driver >= least:
        return None
    detail = f"{shape.image} is built on CUDA {cuda}, which needs NVIDIA driver {least} or later"
    detail += f", and nodes of {shape.pool.name} have {driver}"
    return Broken(Reason.DRIVER_TOO_OLD, detail, excess(least, driver))


LAYOUT_RULES: tuple[Callable[[Shape], Broken | None], ...] = (
    unsupported,
    driver_too_old,
    heads_not_divisible,
    quant_group_not_divisible,
    shared_gpu,
    spans_nodes,
    lambda shape: not_enough_gpus(shape, 1),
)


# --- memory --------------------------------------------------------------------------------------


def weights_do_not_fit(memory: MemoryFit) -> Broken | None:
    """Weights, activations and reserves must leave room for a KV cache."""
    if memory.longest_request(1):
        return None
    room = memory.hbm_bytes - memory.activation_bytes - memory.reserved_bytes
    return Broken(
        Reason.DOES_NOT_FIT,
        f"needs {format_bytes(memory.weight_bytes)} of weights per GPU, "
        f"{format_bytes(max(0.0, room))} available",
        excess(memory.weight_bytes, room),
    )


def outside_does_not_fit(memory: MemoryFit) -> Broken | None:
    """What an engine does not subtract must fit into what it leaves free."""
    needed, room = memory.outside_bytes, memory.outside_room_bytes
    if needed <= room:
        return None
    return Broken(
        Reason.DOES_NOT_FIT,
        f"activations, captured graphs and the table of requests need {format_bytes(needed)} "
        f"beside weights and cache, and the memory fraction leaves {format_bytes(room)}",
        excess(needed, room),
    )


def context_does_not_fit(memory: MemoryFit, needed_tokens: int) -> Broken | None:
    """The KV cache must hold the longest request that the plan promises to accept."""
    longest = memory.longest_request(needed_tokens)
    if longest >= needed_tokens:
        return None
    return Broken(
        Reason.DOES_NOT_FIT,
        f"a context of {needed_tokens:,} tokens does not fit; the KV cache holds {longest:,}",
        excess(needed_tokens, longest),
    )


def context_beyond_limits(limits: Limits, needed_tokens: int) -> Broken | None:
    """A server that runs accepts what it was started with, whatever fits."""
    if needed_tokens <= limits.max_model_len:
        return None
    return Broken(
        Reason.DOES_NOT_FIT,
        f"a context of {needed_tokens:,} tokens is asked for; the server accepts "
        f"{limits.max_model_len:,}",
        excess(needed_tokens, limits.max_model_len),
    )


def context_beyond_model(model: ModelArch, needed_tokens: int) -> Broken | None:
    """No server accepts a longer context than the model was made for."""
    if needed_tokens <= model.max_context_tokens:
        return None
    return Broken(
        Reason.DOES_NOT_FIT,
        f"a context of {needed_tokens:,} tokens is beyond the {model.max_context_tokens:,} that "
        f"{model.name} was made for",
        excess(needed_tokens, model.max_context_tokens),
    )


# --- budget --------------------------------------------------------------------------------------


def over_budget(plan: Plan, gpus: int, usd_per_h: float | None) -> Broken | None:
    """GPUs and dollars stay within the budget; without a price no dollar limit can be promised."""
    budget = plan.budget
    if budget.max_gpus is not None and gpus > budget.max_gpus:
        return Broken(
            Reason.OVER_BUDGET,
            f"needs {counted(gpus, 'GPU')}, the budget allows {budget.max_gpus}",
            excess(gpus, budget.max_gpus),
        )
    if budget.max_usd_per_h is None:
        return None
    if usd_per_h is None:
        return Broken(
            Reason.OVER_BUDGET, "no price is known for this pool, so no budget can be promised", 1.0
        )
    if usd_per_h <= budget.max_usd_per_h:
        return None
    return Broken(
        Reason.OVER_BUDGET,
        f"costs {format_usd(usd_per_h)}/h, the budget allows {format_usd(budget.max_usd_per_h)}/h",
        excess(usd_per_h, budget.max_usd_per_h),
    )


# --- service -------------------------------------------------------------------------------------


def _late(
    reason: Reason, name: str, value_s: float, limit_s: float | None, how: str
) -> Broken | None:
    if limit_s is None or value_s <= limit_s:
        return None
    return Broken(
        reason,
        f"{how} {name} may reach {format_milliseconds(value_s)}, "
        f"{excess(value_s, limit_s):.1%} over the limit of {format_milliseconds(limit_s)}",
        excess(value_s, limit_s),
    )


def latency_misses(
    ttft_s: float, tpot_s: float, e2e_s: float, plan: Plan, how: str
) -> Iterator[Broken]:
    """Every latency limit that these values break."""
    found = (
        misses_ttft(ttft_s, plan, how),
        misses_tpot(tpot_s, plan, how),
        misses_e2e(e2e_s, plan, how),
    )
    return (one for one in found if one)


def misses_ttft(value_s: float, plan: Plan, how: str) -> Broken | None:
    """Time to first token."""
    return _late(Reason.MISSES_TTFT, "TTFT", value_s, plan.slo.ttft_p95_s, how)


def misses_tpot(value_s: float, plan: Plan, how: str) -> Broken | None:
    """Time per output token."""
    return _late(Reason.MISSES_TPOT, "TPOT", value_s, plan.slo.tpot_p95_s, how)


def misses_e2e(value_s: float, plan: Plan, how: str) -> Broken | None:
    """Time from arrival to last token."""
    return _late(Reason.MISSES_E2E, "end-to-end time", value_s, plan.slo.e2e_p95_s, how)


def misses_deadline(job_s: float, plan: Plan, how: str) -> Broken | None:
    """Time of an offline batch at the upper end of its interval."""
    limit_s = plan.slo.job_s
    if limit_s is None or job_s <= limit_s:
        return None
    return Broken(
        Reason.MISSES_DEADLINE,
        f"{how} the batch may take {format_duration(job_s)}, {excess(job_s, limit_s):.1%} over the "
        f"limit of {format_duration(limit_s)}",
        excess(job_s, limit_s),
    )


def misses_throughput(tokens_per_s: float, plan: Plan) -> Broken | None:
    """Output tokens per second at the lower end of the interval."""
    need = plan.slo.min_output_tokens_per_s
    if need is None or tokens_per_s >= need:
        return None
    return Broken(
        Reason.MISSES_THROUGHPUT,
        f"sustains {tokens_per_s:,.0f} output tokens/s, {need:,.0f} are asked for",
        1 - tokens_per_s / need,
    )
