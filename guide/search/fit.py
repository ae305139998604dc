"""Will it fit: one layout on one GPU type, without a load, a cluster or a price.

The answer is what the log of the server says at its start: weights, what is left for the KV cache,
its tokens, and how many requests of the longest length it takes at once; or why it does not start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from guide.domain import (
    SIXTEEN_BIT,
    Catalog,
    Gpu,
    GpuPool,
    Limits,
    MemoryFit,
    ModelArch,
    Precision,
    Reason,
    Release,
    Switches,
)
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.models.precision import PRECISIONS, own_precision
from guide.models.storing import RECIPES
from guide.models.storing import stored as store
from guide.perf.kv_cache import LayerCache, layer_caches
from guide.perf.memory import element_bytes, fit_memory, reserved_bytes
from guide.perf.ops import Layout
from guide.record import Record
from guide.search.bounds import (
    Broken,
    context_beyond_model,
    context_does_not_fit,
    heads_not_divisible,
    outside_does_not_fit,
    quant_group_not_divisible,
    unsupported,
    weights_do_not_fit,
)
from guide.search.space import TENSOR_PARALLEL, Shape, Variant, checkpoints_of

RULES = (unsupported, heads_not_divisible, quant_group_not_divisible)


class FitQuestion(Record, frozen=True, kw_only=True):
    """A model, a release, and what flags would say; None is the default of the release."""

    model: ModelArch
    release: Release
    version: str  # as asked
    precision: str | None = None
    tp: int | None = None  # None: the smallest that fits
    pp: int = 1
    dp: int = 1
    ep: int = 1
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    fit_model_len: bool = False  # the longest that memory holds instead
    kv_cache_dtype: str = "auto"
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None


class FitAnswer(Record, frozen=True, kw_only=True):
    """One layout on one GPU type."""

    question: FitQuestion
    gpu: Gpu
    served: ModelArch  # the checkpoint that was sized
    precision: Precision
    layout: Layout
    limits: Limits
    memory: MemoryFit
    reserved: dict[str, float]  # bytes by reason
    caches: tuple[LayerCache, ...]  # of one GPU, all pipeline stages together
    broken: Broken | None  # why it does not start
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the server starts."""
        return self.broken is None

    @property
    def longest_context_tokens(self) -> int:
        """The longest request that the cache holds and the model takes."""
        return self.memory.longest_request(self.served.max_context_tokens)

    @property
    def max_concurrency(self) -> float:
        """Requests of max-model-len at once, as vLLM logs it."""
        return self.memory.concurrency(self.limits.max_model_len)

    @property
    def kv_cache_tokens(self) -> int:
        """ "GPU KV cache size" in the log of this release."""
        pool, rules = self.memory.pool, self.question.release.memory
        if pool is None or rules.full_length_tokens:
            return self.memory.kv_capacity_tokens
        return pool.blocks // len(pool.groups) * min(group.block_tokens for group in pool.groups)


def answer_fit(question: FitQuestion, gpu: Gpu, catalog: Catalog) -> FitAnswer:
    """The layout that `question` names on `gpu`; without a TP the smallest that fits, else the
    widest."""
    tried = [question.tp] if question.tp is not None else list(tensor_parallel(question))
    for tp in tried:
        found = _at(question, gpu, tp, catalog)
        if found.fits or tp == tried[-1]:
            return found
    raise AssertionError("there is always a layout to try")


def fit_table(
    question: FitQuestion, gpus: Sequence[Gpu], catalog: Catalog
) -> list[tuple[Gpu, list[FitAnswer]]]:
    """Every GPU with every TP."""
    return [
        (gpu, [_at(question, gpu, tp, catalog) for tp in tensor_parallel(question)]) for gpu in gpus
    ]


def tensor_parallel(question: FitQuestion) -> Iterator[int]:
    """The TP sizes that are tried: those that heads divide over, at least 1."""
    heads = question.model.heads
    yield from (tp for tp in TENSOR_PARALLEL if heads % tp == 0)


def checkpoint(model: ModelArch, precision: str | None, gpu: Gpu, catalog: Catalog) -> Variant:
    """The checkpoint of `model` with weights in `precision`: its own, one of the catalogue, or one
    that nobody published."""
    stored = precision or model.precision
    if stored not in PRECISIONS:
        raise SpecError(f"--precision {stored} is none of {', '.join(sorted(PRECISIONS))}")
    if {stored, model.precision} <= SIXTEEN_BIT:
        run = "fp16" if gpu.bf16_flop_per_s is None else stored
        return Variant(model=model, precision=PRECISIONS[run])
    if stored == model.precision:
        return Variant(model=model, precision=own_precision(model))
    for derived in checkpoints_of(model, catalog):
        if derived.precision == stored:
            return Variant(model=derived, precision=own_precision(derived))
    made_up = store(model, RECIPES[stored])
    return Variant(model=made_up, precision=own_precision(made_up))


def _at(question: FitQuestion, gpu: Gpu, tp: int, catalog: Catalog) -> FitAnswer:
    variant = checkpoint(question.model, question.precision, gpu, catalog)
    variant = replace(variant, kv_cache_dtype=question.kv_cache_dtype)
    model, release = variant.model, question.release
    layout = Layout(tp=tp, pp=question.pp, attention_ranks=question.dp if model.experts else 1)
    limits = _limits(question, gpu, model, tp)
    memory = fit_memory(model, gpu, variant.precision, layout, limits, release)
    if question.fit_model_len:
        longest = max(1, memory.longest_request(model.max_context_tokens))
        limits = replace(limits, max_model_len=longest)
        memory = fit_memory(model, gpu, variant.precision, layout, limits, release)
    shape = _shape(question, gpu, variant, tp)
    broken = next((found for rule in RULES if (found := rule(shape))), None)
    broken = (
        broken
        or _no_experts(question, model)
        or context_beyond_model(model, limits.max_model_len)
        or weights_do_not_fit(memory)
        or context_does_not_fit(memory, limits.max_model_len)
        or outside_does_not_fit(memory)
    )
    return FitAnswer(
        question=question,
        gpu=gpu,
        served=model,
        precision=variant.precision,
        layout=layout,
        limits=limits,
        memory=memory,
        reserved=reserved_bytes(model, gpu, layout, limits, release),
        caches=layer_caches(model, tp, element_bytes(model, limits.kv_cache_dtype)),
        broken=broken,
        notes=tuple(_notes(question, variant, layout, memory, gpu)),
    )


def _limits(question: FitQuestion, gpu: Gpu, model: ModelArch, tp: int) -> Limits:
    """What the flags say, over what the server takes by itself."""
    name = question.release.framework
    longest = question.max_model_len or model.max_context_tokens
    limits = FRAMEWORKS[name].limits_of(question.release, gpu, model, tp, question.pp, longest)
    stated = {
        "gpu_memory_utilization": question.gpu_memory_utilization,
        "max_num_seqs": question.max_num_seqs,
        "max_num_batched_tokens": question.max_num_batched_tokens,
    }
    given = {key: value for key, value in stated.items() if value is not None}
    limits = replace(limits, kv_cache_dtype=question.kv_cache_dtype, **given)
    return replace(limits, max_num_seqs=min(limits.max_num_seqs, limits.max_num_batched_tokens))


def _shape(question: FitQuestion, gpu: Gpu, variant: Variant, tp: int) -> Shape:
    """On a pool that has as many GPUs as are needed: where they stand is not asked."""
    gpus = tp * question.pp
    pool = GpuPool(
        name=gpu.name,
        gpu=gpu,
        product=gpu.name,
        source="asked",
        resource="",
        gpus_per_node=gpus,
        free_gpus_by_node=(gpus,),
    )
    return Shape(
        pool=pool,
        gpu=gpu,
        release=replace(question.release, version=_dotted(question)),
        variant=variant,
        tp=tp,
        pp=question.pp,
        switches=Switches(),
    )


def _dotted(question: FitQuestion) -> str:
    """The version that is asked for, without the text around it."""
    found = re.search(r"[0-9]+(\.[0-9]+)+", question.version)
    return found.group() if found else question.release.version


def _no_experts(question: FitQuestion, model: ModelArch) -> Broken | None:
    """vLLM refuses expert parallelism for a model without experts."""
    if question.ep == 1 or model.experts:
        return None
    return Broken(
        Reason.UNSUPPORTED_MODEL,
        f"{model.name} has no experts to spread: leave out --ep",
        float(question.ep),
    )


def _notes(
    question: FitQuestion, variant: Variant, layout: Layout, memory: MemoryFit, gpu: Gpu
) -> Iterator[str]:
    model, asked = variant.model, question.model
    yield from model.notes
    if model.name != asked.name:
        yield f"sized as the checkpoint {model.name}"
    elif variant.precision.name != asked.precision and {
        variant.precision.name,
        asked.precision,
    } != {"bf16", "fp16"}:
        yield f"no {variant.precision.name} checkpoint of it is catalogued: sized as if there were"
    if question.dp > 1:
        if model.experts:
            yield (
                f"experts are spread over {layout.expert_ranks} GPUs; each of the {question.dp} "
                "ranks has a cache of its own"
            )
        else:
            yield f"each of the {question.dp} data-parallel replicas is like this one"
    if any(cache.heads < layout.tp for one in model.attentions for cache in one.caches):
        yield f"KV heads are fewer than TP {layout.tp}, so GPUs hold copies of them"
    if question.pp > 1:
        yield "figures are those of the pipeline stage with the smallest cache"
    if gpu.vendor != "nvidia":
        yield f"what the server takes beside the weights was read on NVIDIA GPUs, not on {gpu.name}"
