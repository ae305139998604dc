"""The operators of one layout, priced by measured kernels and folded into curves over tokens.

A layer is a handful of calls (`_dense`, `_experts`, ...). Summed over the layers each becomes a
curve over the tokens of a step, read by bisection; attention stays linear in context tokens and
query-key pairs, so that runs of decode steps keep their closed form.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from guide.domain import Attention, Gpu, LayerGroup, ModelArch, Part, Precision, StepShape, Weight
from guide.models.arch import cache_bytes_per_token, weight_share
from guide.models.precision import peak_flop_per_s
from guide.perf.kernels import forms
from guide.perf.kernels.choice import (
    Chosen,
    attention_level,
    choose,
    latent,
    lesser_gpu,
    normalises_queries,
    table_gpu,
    weights_of,
)
from guide.perf.kernels.levels import COMPUTE, AllReduce, all_reduces, latent_size
from guide.perf.kernels.residual import AXES, factor_along, moe_place
from guide.perf.ops import Layout

Floats = npt.NDArray[np.float64]
TOKENS = np.array(
    [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096,
     6144, 8192, 16384, 32768],
    dtype=float,
)  # fmt: skip
LOG_TOKENS = np.log2(TOKENS)
ELEMENTWISE_SHARE = 0.8  # of the bandwidth: norms, residuals, activations between the GEMMs
CAPTURED_TOKENS = 512  # decode batches up to this run in CUDA graphs, with graph all-reduces
ROW_PARALLEL = ("o_proj", "down_proj")  # split over their inputs, the others over their outputs
LEAST_QUERIES = 16  # of one KV head that a decode kernel multiplies at once
LEAST_LATENT_HEADS = 64
PASSES = 8  # over the hidden state in a layer, by norms and residuals


class Work(NamedTuple):
    """Seconds of one step by what is multiplied by a factor of its own; see `guide.perf.step`."""

    dense: Any
    expert: Any
    network: Any


TERMS = (
    *("decode_s", "sequence_s", "prompt_s", "prompt_token_s"),
    *("context_token_s", "window_token_s", "pair_s", "window_pair_s"),
)
NO_WORK = Work(0.0, 0.0, 0.0)


NODES: list[float] = [0.0, *TOKENS.tolist()]


class Curve:
    """Seconds over `NODES`, with the slope to the next node: never falling, linear between, and
    beyond the last at its slope."""

    __slots__ = ("seconds", "slopes")

    def __init__(self, seconds: Floats) -> None:
        values = np.maximum.accumulate([seconds[0], *seconds])
        slopes = np.diff(values) / np.diff(NODES)
        self.seconds: list[float] = values.tolist()
        self.slopes: list[float] = [*slopes.tolist(), float(slopes[-1])]

    def at(self, node: int, beyond: float) -> float:
        """Seconds `beyond` tokens after a node."""
        return self.seconds[node] + self.slopes[node] * beyond

    def least(self, other: Curve) -> Curve:
        """The smaller of two at each node."""
        return Curve(np.minimum(self.seconds[1:], other.seconds[1:]))

    def __call__(self, tokens: float) -> float:
        """Seconds at so many tokens."""
        node = bisect_right(NODES, tokens) - 1
        return self.at(node, tokens - NODES[node])


@dataclass(frozen=True, slots=True)
class Used:
    """An operator of a layer and what prices it, for a reader."""

    operator: str
    chosen: Chosen
    seconds: Floats  # over `TOKENS`, all layers


@dataclass(frozen=True, slots=True)
class PricedOperator:
    """An operator of one step, the kernel that prices it, and its seconds (without attention's)."""

    operator: str
    chosen: Chosen
    seconds: float


@dataclass(frozen=True, slots=True)
class Curves:
    """A layout on a GPU: seconds of a step's operators, before any fitted factor."""

    dense: Curve
    expert: Curve
    head: Curve
    network_graph: Curve
    network_eager: Curve
    expert_tokens: float  # tokens reach the experts from that many attention ranks
    decode_s: float  # of a step with decodes: the launches of their attention
    sequence_s: float  # more per decoding sequence
    prompt_s: float  # of a step with prompts
    prompt_token_s: float
    context_token_s: float
    window_token_s: float
    pair_s: float
    window_pair_s: float
    normed_layers: float  # with query-key norms: kernels of their own, unmeasured
    used: tuple[Used, ...]

    def work(self, prefill_tokens: float, prompts: float, decodes: float, sampled: float) -> Work:
        """Seconds of one step without what grows with context."""
        tokens = prefill_tokens + decodes
        node = bisect_right(NODES, tokens) - 1
        beyond = tokens - NODES[node]
        dense = self.dense.at(node, beyond) + self.head(sampled)
        if decodes:
            dense += self.decode_s + self.sequence_s * decodes
        if prompts:
            dense += self.prompt_s + self.prompt_token_s * prefill_tokens
        captured = not prompts and tokens <= CAPTURED_TOKENS
        network = self.network_graph if captured else self.network_eager
        experts = (
            self.expert.at(node, beyond)
            if self.expert_tokens == 1.0
            else self.expert(tokens * self.expert_tokens)
        )
        return Work(dense, experts, network.at(node, beyond))

    def no_slower_than(self, other: Curves) -> Curves:
        """The faster of two, operator by operator: of a GPU whose datasheet is nowhere below the
        other's, where its benchmark ran slower (a hotter chip, an older driver)."""
        return replace(
            self,
            dense=self.dense.least(other.dense),
            expert=self.expert.least(other.expert),
            head=self.head.least(other.head),
            network_graph=self.network_graph.least(other.network_graph),
            network_eager=self.network_eager.least(other.network_eager),
            **{name: min(getattr(self, name), getattr(other, name)) for name in TERMS},
        )

    def kernels(self, shape: StepShape) -> tuple[PricedOperator, ...]:
        """Every operator of a step with the kernel behind it, before any fitted factor."""
        tokens = shape.prefill_tokens + shape.decode_sequences
        at = {"lm_head": shape.sampled_sequences, "routed experts": tokens * self.expert_tokens}
        attention = {
            "decode attention": self.context_token_s * shape.decode_context_tokens
            + self.window_token_s * shape.decode_window_tokens
            + (self.decode_s + self.sequence_s * shape.decode_sequences)
            * (shape.decode_sequences > 0),
            "prompt attention": self.pair_s * shape.attended_pairs
            + self.window_pair_s * shape.window_pairs
            + (self.prompt_s + self.prompt_token_s * shape.prefill_tokens)
            * (shape.prefill_sequences > 0),
        }
        return tuple(
            PricedOperator(
                u.operator,
                u.chosen,
                attention[u.operator]
                if u.operator in attention
                else Curve(u.seconds)(at.get(u.operator, tokens)),
            )
            for u in self.used
        )

    def step_work(self, shape: StepShape) -> Work:
        """The same for a step of a shape."""
        return self.work(
            shape.prefill_tokens,
            shape.prefill_sequences,
            shape.decode_sequences,
            shape.sampled_sequences,
        )


def curves(
    arch: ModelArch, gpu: Gpu, precision: Precision, layout: Layout, kv_cache_dtype: str = "auto"
) -> Curves | None:
    """Price a layout by kernels; None where no table speaks for the GPU or an operator."""
    if gpu.vendor != "nvidia" or table_gpu(gpu) is None:
        return None
    kv = "fp8" if kv_cache_dtype.startswith("fp8") else "bfloat16"
    pricing = _Pricing(arch, gpu, precision, layout, kv)
    if not pricing.complete:
        return None
    found, lesser = pricing.curves(), lesser_gpu(gpu)
    if lesser is None:
        return found
    other = _Pricing(arch, lesser, precision, layout, kv)
    return found.no_slower_than(other.curves()) if other.complete else found


@dataclass(slots=True)
class _Terms:
    """What attention adds up to over the layers; see `Curves`."""

    decode_s: float = 0.0
    sequence_s: float = 0.0
    prompt_s: float = 0.0
    prompt_token_s: float = 0.0
    context_token_s: float = 0.0
    window_token_s: float = 0.0
    pair_s: float = 0.0
    window_pair_s: float = 0.0


class _Pricing:
    """The calls of one layout, one method a part of a layer."""

    def __init__(
        self, arch: ModelArch, gpu: Gpu, precision: Precision, layout: Layout, kv: str
    ) -> None:
        self.arch, self.gpu, self.layout, self.kv = arch, gpu, layout, kv
        self.ep = layout.expert_parallel
        self.gemm_weights = weights_of(arch, precision, "gemm")
        self.gemm = choose(gpu, "gemm", self.gemm_weights)
        self.plain = choose(gpu, "gemm", "bf16")
        experts = weights_of(arch, precision, "moe")
        self.moe = choose(gpu, "moe", experts, self.ep) if arch.experts else None
        self.used: dict[str, Used] = {}
        self.terms = _Terms()

    @property
    def complete(self) -> bool:
        """Whether every operator of the model has a level."""
        reads = [self._levels(a) for a in self.arch.attentions]
        needed = [self.gemm, self.plain, *(level for pair in reads for level in pair)]
        return None not in needed and (self.moe is not None or not self.arch.experts)

    def curves(self) -> Curves:
        """Fold the calls."""
        a = self.arch
        passes = PASSES * a.hidden * 2 * a.layers
        dense = TOKENS * passes / (self.gpu.hbm_bytes_per_s * ELEMENTWISE_SHARE)
        experts = np.zeros(len(TOKENS))
        for group in a.groups:
            for part in Part:
                matrices = [w for w in group.weights if w.part is part]
                if part is Part.EXPERTS:
                    experts = experts + self._experts(group, len(matrices))
                elif part is not Part.ATTENTION or not self._latent(group):
                    dense = dense + self._gemms(group, part, matrices)
            if group.attention is not None:
                dense = dense + self._attention(group, group.attention)
        head = self._gemm("lm_head", self.plain, a.vocab / self.layout.tp, a.hidden, 1)
        return Curves(
            dense=Curve(dense),
            expert=Curve(experts),
            head=Curve(head),
            network_graph=Curve(self._network("graph")),
            network_eager=Curve(self._network("eager")),
            expert_tokens=float(self.layout.attention_ranks),
            normed_layers=float(a.layers if normalises_queries(a) else 0),
            used=tuple(self.used.values()),
            **asdict(self.terms),
        )

    def _chip(self, dtype: str) -> forms.Chip:
        gpu = self.gpu
        return forms.Chip(
            gpu.hbm_bytes_per_s, peak_flop_per_s(gpu, COMPUTE[dtype]), gpu.multiprocessors or 100
        )

    def _times(self, name: str, chosen: Chosen, seconds: Floats) -> Floats:
        before = self.used.get(name)
        total = seconds if before is None else before.seconds + seconds
        self.used[name] = Used(name, chosen, total)
        return seconds

    def _gemm(self, name: str, chosen: Chosen | None, n: float, k: float, count: float) -> Floats:
        assert chosen is not None  # `complete`
        level = chosen.level
        chip = self._chip(level.dtype)
        seconds = forms.gemm(level.constants, chip, TOKENS, n, k, chosen.width)
        if level.residual is not None:
            places = (LOG_TOKENS, math.log2(n), math.log2(k))
            seconds = seconds * factor_along(level.residual, AXES["gemm"], *places)
        # a benchmark repeats one matrix, which small enough stays in the cache; a model's does not
        floor = n * k * chosen.width.weight / chip.bytes_per_s
        return self._times(name, chosen, count * np.maximum(seconds, floor))

    def _gemms(self, group: LayerGroup, part: Part, matrices: list[Weight]) -> Floats:
        """The matrices of a part: those that read the hidden state are one GEMM."""
        chosen = self.plain if part is Part.ROUTER else self.gemm
        total = np.zeros(len(TOKENS))
        fused = 0.0
        for weight in matrices:
            share = weight_share(weight, self.layout.tp, self.layout.expert_ranks)
            if weight.inputs == self.arch.hidden and not weight.name.endswith(ROW_PARALLEL):
                fused += weight.outputs * share
            elif weight.name.endswith(ROW_PARALLEL):
                total = total + self._gemm(
                    f"{part}, out", chosen, weight.outputs, weight.inputs * share, group.count
                )
            else:
                total = total + self._gemm(
                    f"{part}, between", chosen, weight.outputs * share, weight.inputs, group.count
                )
        if fused:
            total = total + self._gemm(f"{part}, in", chosen, fused, self.arch.hidden, group.count)
        return total

    def _experts(self, group: LayerGroup, matrices: int) -> Floats:
        mlp, chosen = group.mlp, self.moe
        if mlp is None or not mlp.experts or chosen is None:
            return np.zeros(len(TOKENS))
        level, hidden = chosen.level, self.arch.hidden
        inner = mlp.expert_width * self.ep / self.layout.expert_ranks
        chip = self._chip(level.dtype.split("/")[0])
        shape = (mlp.active_experts, mlp.experts, self.ep)
        seconds = forms.moe(
            level.constants, chip, TOKENS, hidden, inner, *shape, chosen.width.weight, matrices
        )
        if level.residual is not None:
            places = moe_place(TOKENS, hidden, inner, *shape)
            seconds = seconds * factor_along(level.residual, AXES["moe"], *places)
        reached = forms.reached_experts(mlp.experts, mlp.active_experts, TOKENS, self.ep)
        weights = reached * matrices * hidden * inner * chosen.width.weight
        seconds = np.maximum(seconds, weights / chip.bytes_per_s)
        return self._times("routed experts", chosen, group.count * seconds)

    def _network(self, mode: str) -> Floats:
        """Two all-reduces a layer over the tensor-parallel GPUs."""
        a, tp = self.arch, self.layout.tp
        if tp == 1:
            return np.zeros(len(TOKENS))
        message = TOKENS * a.hidden * 2
        return 2 * a.layers * all_reduce_seconds(self.gpu, mode, tp, message)

    def _latent(self, group: LayerGroup) -> bool:
        """Whether a measured module holds the projections of a group."""
        attention = group.attention
        levels = (None, None) if attention is None else self._levels(attention)
        return levels[0] is not None and levels[0].level.family.startswith("latent")

    def _levels(self, attention: Attention) -> tuple[Chosen | None, Chosen | None]:
        """What prices the decodes and the prompts of a layer's attention."""
        if attention.mla is not None:
            module = latent(self.gpu, "decode", self.gemm_weights, self.kv)
            prompt = latent(self.gpu, "prefill", self.gemm_weights, self.kv)
            if module is not None and prompt is not None:
                return module, prompt
        return (
            attention_level(self.gpu, "decode", self.kv, attention.head_dim),
            attention_level(self.gpu, "prefill", self.kv, attention.head_dim),
        )

    def _attention(self, group: LayerGroup, attention: Attention) -> Floats:
        """Adds to the terms; returns the projections that a measured module holds."""
        decode, prompt = self._levels(attention)
        assert decode is not None  # `complete`
        assert prompt is not None
        if attention.caches:
            self._reads(group, attention, decode, prompt)
        d, p = decode.level.constants, prompt.level.constants
        count, tp, mla = group.count, self.layout.tp, attention.mla
        heads = attention.heads / tp
        if self._latent(group) and mla is not None:
            size = latent_size(
                *(heads, self.arch.hidden, mla.q_lora, mla.kv_lora),
                *(mla.rope_dim, mla.nope_dim, mla.v_dim),
            )
            chip = self._chip(decode.level.dtype.split("/")[0])
            seconds = forms.latent_projections(d, chip, size, TOKENS, decode.width.weight)
            return self._times("latent projections", decode, count * seconds)
        chip, head_dim = self._chip("bfloat16"), attention.head_dim
        moved = 2 * (heads + math.ceil(attention.kv_heads / tp)) * head_dim * 2
        self.terms.decode_s += count * d["t0"] * forms.MICRO
        self.terms.sequence_s += count * float(forms.decode_sequence(d, chip, heads, head_dim))
        self.terms.prompt_s += count * p["t0"] * forms.MICRO
        self.terms.prompt_token_s += count * moved / (chip.bytes_per_s * p["sx"])
        return np.zeros(len(TOKENS))

    def _reads(
        self, group: LayerGroup, attention: Attention, decode: Chosen, prompt: Chosen
    ) -> None:
        """Context tokens and pairs of every cache of a layer: whole, or within its reach."""
        for name, chosen in (("decode attention", decode), ("prompt attention", prompt)):
            self.used[name] = Used(name, chosen, np.zeros(len(TOKENS)))
        d, p = decode.level.constants, prompt.level.constants
        chip, tp = self._chip("bfloat16"), self.layout.tp
        shared = attention.heads / max(attention.kv_heads, 1)
        padded = max(1.0, LEAST_QUERIES / shared)  # a tile of queries of one KV head
        if attention.mla is not None:
            padded = max(1.0, LEAST_LATENT_HEADS * tp / attention.heads)
        for cache in attention.caches:
            moved = cache_bytes_per_token(cache, 1.0 if self.kv == "fp8" else 2.0, tp)
            token = float(
                forms.pnorm(
                    moved / (chip.bytes_per_s * d.get("skv", d.get("s", 1.0))),
                    padded * cache.context_flop / tp / (chip.flop_per_s * d.get("sa", d["sc"])),
                    d["p"],
                )
            )
            pair = cache.pair_flop / tp / (chip.flop_per_s * p.get("sa", p["sc"]))
            read = cache.read_tokens
            if read is None:
                self.terms.context_token_s += group.count * token
                self.terms.pair_s += group.count * pair
            else:  # a step counts tokens within the widest reach
                part = group.count * read / (self.arch.window_tokens or read)
                self.terms.window_token_s += part * token
                self.terms.window_pair_s += part * pair


def all_reduce_seconds(gpu: Gpu, mode: str, gpus: int, message_bytes: Floats) -> Floats:
    """One all-reduce over `gpus` GPUs: measured points where the link is the tables', else a
    launch and the ring's share of the link."""
    table = table_gpu(gpu)
    found = all_reduces(table) if table and table == (gpu.parent or gpu.name) else {}
    if not found and table and gpu.link.kind == "nvlink":
        found = all_reduces(table)
    exact = found.get((mode, gpus))
    if exact is not None:
        return _interpolated(exact, message_bytes)
    widest = max((n for m, n in found if m == mode), default=0)
    if widest and gpus > widest:  # over nodes: the widest measured and the way between nodes
        return _interpolated(found[mode, widest], message_bytes) * np.log2(gpus) / np.log2(widest)
    ring = 2 * (gpus - 1) / gpus * message_bytes / gpu.link.bytes_per_s
    return PCIE_HOP_S * np.log2(gpus) + ring / PCIE_SHARE


PCIE_HOP_S, PCIE_SHARE = 12e-6, 0.6  # a guess: PCIe all-reduces were not measured


def _interpolated(points: AllReduce, message_bytes: Floats) -> Floats:
    """Linear between measured sizes, beyond the last at its bandwidth."""
    last = message_bytes / points.message_bytes[-1] * points.seconds[-1]
    inside = np.interp(message_bytes, points.message_bytes, points.seconds)
    return np.where(message_bytes > points.message_bytes[-1], last, inside)
