"""How many tokens the KV cache of a replica holds: the paper's available memory (P5), as the engine
accounts for it when it starts.

KV bytes = utilisation x memory that CUDA shows - weights - peak of the profile run - what libraries
and CUDA graphs take, by the rules of the release (`guide/catalog/memory.yaml`). Of a pipeline the
stage with the fewest blocks decides. Cut into blocks by `guide.perf.kv_cache`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from msgspec.structs import replace

from guide.domain import (
    CachePool,
    Gpu,
    Limits,
    MemoryFit,
    MemoryRules,
    ModelArch,
    Precision,
    Release,
    ReplicaGroup,
    Scheduling,
    SpeculationMethod,
    Switches,
)
from guide.models.precision import own_precision, served_head_bytes
from guide.perf.kv_cache import BlockPlan, LayerCache, block_plan, layer_caches
from guide.perf.ops import Layout, kv_bytes_per_element, layout_of
from guide.perf.static_fraction import fit_fraction, free_before
from guide.perf.weights import held_bytes, layer_bytes

ACTIVATION_BYTES = 2  # activations travel in 16 bit
WHOLE_PROMPT_TOKENS = 32768  # vLLM V0 cuts prompts by itself where contexts may be longer


def pipeline_stages(layers: int, pp: int) -> Iterator[range]:
    """The layers of each stage, as vLLM cuts them: a remainder goes to the stages before the last,
    from the back (`get_pp_indices`)."""
    each, rest = divmod(layers, pp)
    start = 0
    for stage in range(pp):
        more = pp - 1 - rest <= stage < pp - 1
        yield range(start, start := start + each + more)


def step_tokens(limits: Limits, release: Release) -> int:
    """Tokens of the largest step: whole prompts where the release never cuts them."""
    budget = limits.max_num_batched_tokens
    whole = release.scheduling is Scheduling.PREFILL_FIRST
    if whole and limits.max_model_len <= WHOLE_PROMPT_TOKENS:
        return max(budget, limits.max_model_len)
    return budget


def score_bytes(
    arch: ModelArch, layout: Layout, limits: Limits, release: Release, switches: Switches
) -> float:
    """The score matrix of one layer, which only stands in memory without FlashAttention (P8):
    heads x tokens of the largest step x the longest context that one of them may look back on.
    """
    if switches.flash_attention:
        return 0.0
    longest = limits.max_model_len
    reach = (
        attention.heads / layout.tp * min(longest, cache.read_tokens or longest)
        for attention in arch.attentions
        for cache in attention.caches
    )
    return step_tokens(limits, release) * max(reach, default=0.0) * ACTIVATION_BYTES


def activation_bytes(
    arch: ModelArch,
    layout: Layout,
    limits: Limits,
    release: Release,
    last_stage: bool = True,
    switches: Switches = Switches(),
) -> float:
    """Peak of the profile run: the largest step through one layer, or the sampler over the logits
    of as many sequences as there may be, whichever is more; and beside it what an encoder gave.

    That cache holds the tokens of a step at least (`compute_mm_encoder_budget` in vLLM's
    v1/core/encoder_cache_manager.py). More where one image has more, which a preprocessor says and
    no config.json; the encoder's own peak is left out, since it runs before.
    """
    tokens, slices = step_tokens(limits, release), layout.expert_slices
    hidden = arch.hidden
    # of the tokens of all attention ranks, those that meet an expert of this GPU
    met = arch.active_experts * layout.attention_ranks / layout.expert_parallel
    routed = met * (max(hidden, 2 * arch.expert_ffn / slices) + arch.expert_ffn / slices)
    routed += hidden * (layout.attention_ranks - 1)
    widest = max(3 * arch.ffn / layout.tp, routed)
    seen = 0
    if arch.tower_parameters and release.scheduling is not Scheduling.PREFILL_FIRST:
        seen = tokens * hidden * ACTIVATION_BYTES
    forward = tokens * (4 * hidden + widest) * ACTIVATION_BYTES
    forward += score_bytes(arch, layout, limits, release, switches)
    if not last_stage:
        return forward + seen
    rules = release.memory
    logit = rules.logit_bytes[rules.runs_second(arch)]
    sampled = limits.max_num_seqs * arch.vocab * logit + tokens * hidden * ACTIVATION_BYTES
    return max(forward, sampled) + seen


def reserved_bytes(
    arch: ModelArch, gpu: Gpu, layout: Layout, limits: Limits, release: Release
) -> dict[str, float]:
    """What is never weights, activations or KV cache, by its reason."""
    rules = release.memory
    if rules.static is not None:
        free = free_before(gpu, layout, rules.static)
        return {
            "taken before loading": gpu.process_bytes - free,
            "left outside the fraction": (1 - limits.gpu_memory_utilization) * free,
        }
    second, several = rules.runs_second(arch), layout.expert_ranks > 1
    graphs = rules.graph_bytes[second]
    tables = limits.max_num_seqs * arch.vocab * rules.penalty_bytes if second else 0.0
    return {
        "left free by the utilisation limit": (1 - limits.gpu_memory_utilization)
        * gpu.process_bytes,
        "libraries": rules.runtime_bytes + (rules.runtime_parallel_bytes if several else 0.0),
        "captured graphs": graphs + (rules.graph_parallel_bytes if several and graphs else 0.0),
        "tables of penalties": tables,
    }


@lru_cache(maxsize=4096)  # one plan asks for the same layouts again under other limits
def fit_memory(
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    limits: Limits,
    release: Release,
    switches: Switches = Switches(),
) -> MemoryFit:
    """Divide the memory of the GPU with the fewest blocks; `kv_capacity_tokens` is 0 when the
    weights leave no whole block."""
    caches = layer_caches(arch, layout.tp, element_bytes(arch, limits.kv_cache_dtype, switches))
    if release.memory.static is not None:
        return _of_fraction(arch, gpu, precision, layout, limits, release=release, caches=caches)
    plan = block_plan(caches, release.block_tokens, release.memory)
    reserved = sum(reserved_bytes(arch, gpu, layout, limits, release).values())
    fits = [
        _fit_stage(
            *(arch, gpu, precision, layout, limits),
            release=release,
            caches=caches,
            plan=plan,
            reserved=reserved,
            switches=switches,
            number=number,
            stage=stage,
        )
        for number, stage in enumerate(pipeline_stages(arch.layers, layout.pp))
    ]
    return min(fits, key=_least)


def _least(fit: MemoryFit) -> tuple[float, ...]:
    return fit.kv_capacity_tokens, fit.spare_bytes


def _of_fraction(
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    limits: Limits,
    *,
    release: Release,
    caches: tuple[LayerCache, ...],
) -> MemoryFit:
    activations = activation_bytes(arch, layout, limits, release)
    fits = (
        fit_fraction(
            *(arch, gpu, precision, layout, limits),
            release=release,
            stage=stage,
            caches=caches,
            activations=activations,
        )
        for stage in pipeline_stages(arch.layers, layout.pp)
    )
    return min(fits, key=_least)


def element_bytes(arch: ModelArch, kv_cache_dtype: str, switches: Switches = Switches()) -> float:
    """Bytes of a KV-cache element that stay after eviction."""
    return kv_bytes_per_element(kv_cache_dtype, arch) * switches.h2o_keep_share


def _fit_stage(
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    limits: Limits,
    *,
    release: Release,
    caches: tuple[LayerCache, ...],
    plan: BlockPlan | None,
    reserved: float,
    switches: Switches,
    number: int,
    stage: range,
) -> MemoryFit:
    weights = held_bytes(arch, precision, layout, stage, gpu=gpu, release=release)
    activations = activation_bytes(arch, layout, limits, release, number == layout.pp - 1, switches)
    free = gpu.process_bytes - weights - activations - reserved
    block = plan.block_bytes(stage) if plan else 0.0
    blocks = int(free // block) if free > 0 and block else 0
    tokens = blocks * release.block_tokens
    pool = (
        None
        if plan is None
        else _pool(plan, blocks, layout, limits=limits, rules=release.memory, arch=arch)
    )
    if pool is not None:
        tokens = int(pool.concurrency(limits.max_model_len) * limits.max_model_len)
    return MemoryFit(
        hbm_bytes=gpu.process_bytes,
        weight_bytes=weights,
        activation_bytes=activations,
        reserved_bytes=reserved,
        kv_bytes_per_token=kept_bytes_per_token(caches, stage),
        kv_capacity_tokens=tokens,
        block_tokens=release.block_tokens,
        pool=pool,
        attention_ranks=layout.attention_ranks,
    )


def _pool(
    plan: BlockPlan,
    blocks: int,
    layout: Layout,
    *,
    limits: Limits,
    rules: MemoryRules,
    arch: ModelArch,
) -> CachePool | None:
    """None where every layer keeps every token: then blocks say it all."""
    if len(plan.groups) == 1 and plan.groups[0].window_tokens is None:
        return None
    batches = rules.batches_in_flight
    if batches > 1 and rules.runs_second(arch):
        batches = layout.pp + 1
    return CachePool(
        blocks=blocks,
        groups=plan.groups,
        in_flight_tokens=batches * limits.max_num_batched_tokens,
    )


def kept_bytes_per_token(caches: tuple[LayerCache, ...], stage: range) -> float:
    """KV-cache bytes of a token in the layers of a stage, before windows forget it."""
    return sum(one.token_bytes * one.within(stage) for one in caches)


def kv_bytes_per_token(
    arch: ModelArch, layout: Layout, kv_cache_dtype: str = "auto", switches: Switches = Switches()
) -> float:
    """KV-cache bytes that one token takes on one GPU, averaged over the stages (windowed layers
    hold all tokens until they leave)."""
    caches = layer_caches(arch, layout.tp, element_bytes(arch, kv_cache_dtype, switches))
    return kept_bytes_per_token(caches, range(arch.layers)) / layout.pp


def memory_fit(group: ReplicaGroup, release: Release, switches: Switches) -> MemoryFit:
    """Divide the memory of one GPU of a replica group."""
    fit = fit_memory(
        *(group.model, group.gpu, group.precision, layout_of(group), group.limits),
        release=release,
        switches=switches,
    )
    return fit if group.speculation is None else beside_draft(fit, group, release)


def beside_draft(fit: MemoryFit, group: ReplicaGroup, release: Release) -> MemoryFit:
    """The same with the layers that draft: their weights take from the cache, whose tokens are
    wider by what these layers keep of them."""
    weights, kept = draft_bytes(group, release), draft_kv_bytes_per_token(group)
    if not fit.kv_bytes:
        return replace(fit, weight_bytes=fit.weight_bytes + weights)
    room = max(0.0, fit.kv_bytes - weights) / fit.kv_bytes
    share = room * fit.kv_bytes_per_token / (fit.kv_bytes_per_token + kept)
    tokens = int(fit.kv_capacity_tokens * share) // fit.block_tokens * fit.block_tokens
    queries = group.speculation.queries if group.speculation else 1
    pool = fit.pool and _with_states(fit.pool, int(fit.pool.blocks * share), queries)
    if pool is not None:
        longest = group.limits.max_model_len
        tokens = int(pool.concurrency(longest) * longest)
    return replace(
        fit,
        weight_bytes=fit.weight_bytes + weights,
        kv_bytes_per_token=fit.kv_bytes_per_token + kept,
        kv_capacity_tokens=tokens,
        pool=pool,
        max_sequences=fit.max_sequences and fit.max_sequences // queries,
    )


def _with_states(pool: CachePool, blocks: int, queries: int) -> CachePool:
    """Linear layers keep a state for each token that is verified: any may be the last to hold."""
    groups = tuple(replace(one, state_blocks=one.state_blocks * queries) for one in pool.groups)
    return replace(pool, blocks=blocks, groups=groups)


def draft_bytes(group: ReplicaGroup, release: Release) -> float:
    """Weight bytes that drafting adds on one GPU: a whole draft model, a head with an output of its
    own, or the prediction layers alone, which share the model's embedding and output."""
    speculation = group.speculation
    if speculation is None or speculation.draft is None:
        return 0.0
    draft, layout, method = speculation.draft, layout_of(group), speculation.method
    own = SpeculationMethod
    count = held_bytes if method is own.DRAFT_MODEL else layer_bytes
    precision = group.precision if method is own.MTP else own_precision(draft)
    stage = range(draft.layers)
    held = count(draft, precision, layout, stage, gpu=group.gpu, release=release)
    if method is own.EAGLE:
        held += served_head_bytes(draft, precision) / layout.tp
    return held


def draft_kv_bytes_per_token(group: ReplicaGroup) -> float:
    """KV-cache bytes that the layers that draft keep of a token on one GPU."""
    speculation = group.speculation
    if speculation is None or speculation.draft is None:
        return 0.0
    dtype = group.limits.kv_cache_dtype
    return kv_bytes_per_token(speculation.draft, layout_of(group), dtype, group.switches)
