"""The operators of one layout, priced by measured kernels and folded into curves over tokens.

A layer is a handful of calls (`_dense`, `_experts`, ...). Summed over the layers each becomes a
curve over the tokens of a step, read by bisection; attention stays linear in context tokens and
query-key pairs, so that runs of decode steps keep their closed form.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from guide.domain import Gpu, ModelArch, Precision, StepShape
from guide.models.precision import peak_flop_per_s
from guide.perf.kernels import forms
from guide.perf.kernels.choice import (
    Chosen,
    attention,
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

    def work(
        self, prefill_tokens: float, prompts: float, decodes: float, sampled: float
    ) -> Work:
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


class _Pricing:
    """The calls of one layout, one method an operator."""

    def __init__(
        self, arch: ModelArch, gpu: Gpu, precision: Precision, layout: Layout, kv: str
    ) -> None:
        self.arch, self.gpu, self.layout, self.kv = arch, gpu, layout, kv
        self.gemm_weights = weights_of(arch, precision, "gemm")
        self.ep = layout.expert_parallel
        moe_weights = weights_of(arch, precision, "moe")
        self.gemm = choose(gpu, "gemm", self.gemm_weights)
        self.plain = choose(gpu, "gemm", "bf16")
        self.moe = choose(gpu, "moe", moe_weights, self.ep) if arch.experts else None
        self.decode = attention(gpu, "decode", kv, arch.head_dim)
        self.prefill = attention(gpu, "prefill", kv, arch.head_dim)
        self.latent_module = False
        if arch.mla is not None:
            module = latent(gpu, "decode", self.gemm_weights, kv)
            prompt = latent(gpu, "prefill", self.gemm_weights, kv)
            if module is not None and prompt is not None:
                self.decode, self.prefill, self.latent_module = module, prompt, True
        self.used: list[Used] = []

    @property
    def complete(self) -> bool:
        """Whether every operator of the model has a level."""
        needed = [self.gemm, self.plain, self.decode, self.prefill]
        return None not in needed and (self.moe is not None or not self.arch.experts)

    def _chip(self, dtype: str) -> forms.Chip:
        gpu = self.gpu
        return forms.Chip(
            gpu.hbm_bytes_per_s, peak_flop_per_s(gpu, COMPUTE[dtype]), gpu.multiprocessors or 100
        )

    def _times(self, name: str, chosen: Chosen, seconds: Any) -> Floats:
        found = np.broadcast_to(np.asarray(seconds, dtype=float), TOKENS.shape)
        self.used.append(Used(name, chosen, found))
        return found

    def _gemm(self, name: str, chosen: Chosen | None, n: float, k: float, count: float) -> Floats:
        if not (count and n and k) or chosen is None:
            return np.zeros(len(TOKENS))
        level = chosen.level
        chip = self._chip(level.dtype)
        seconds = forms.gemm(level.constants, chip, TOKENS, n, k, chosen.width)
        if level.residual is not None:
            places = (LOG_TOKENS, math.log2(n), math.log2(k))
            seconds = seconds * factor_along(level.residual, AXES["gemm"], *places)
        # a benchmark repeats one matrix, which small enough stays in the cache; a model's does not
        floor = n * k * chosen.width.weight / chip.bytes_per_s
        return self._times(name, chosen, count * np.maximum(seconds, floor))

    def _attention_gemms(self) -> Floats:
        a, tp = self.arch, self.layout.tp
        heads = a.heads / tp
        if a.mla is not None:  # no module was measured: its matrices, one beside the other
            width = self._latent().weights / a.hidden
            return self._gemm("latent projections", self.gemm, width, a.hidden, a.layers)
        kv_heads = -(-a.kv_heads // tp)
        n = (heads + 2 * kv_heads) * a.head_dim
        return self._gemm("qkv projection", self.gemm, n, a.hidden, a.layers) + self._gemm(
            "output projection", self.gemm, a.hidden, heads * a.head_dim, a.layers
        )

    def _mlps(self) -> Floats:
        a, tp = self.arch, self.layout.tp
        up = 2 if a.gated_mlp else 1
        sparse = a.layers - a.dense_layers if a.experts else 0
        total = np.zeros(len(TOKENS))
        shared = a.shared_experts * a.expert_ffn
        for name, width, count in (
            ("mlp", a.ffn, a.layers - sparse), ("shared experts", shared, sparse)
        ):  # fmt: skip
            inner = width / tp
            total = total + self._gemm(f"{name}, up", self.gemm, up * inner, a.hidden, count)
            total = total + self._gemm(f"{name}, down", self.gemm, a.hidden, inner, count)
        return total + self._gemm("router", self.plain, a.experts, a.hidden, sparse)

    def _latent_projections(self) -> Floats:
        assert self.decode is not None
        level = self.decode.level
        seconds = forms.latent_projections(
            level.constants,
            self._chip(level.dtype.split("/")[0]),
            self._latent(),
            TOKENS,
            self.decode.width.weight,
        )
        return self._times("latent projections", self.decode, self.arch.layers * seconds)

    def _latent(self) -> forms.Latent:
        mla = self.arch.mla
        assert mla is not None
        heads = self.arch.heads / self.layout.tp
        return latent_size(
            heads, self.arch.hidden, mla.q_lora, mla.kv_lora, mla.rope_dim, mla.nope_dim, mla.v_dim
        )

    def _experts(self) -> Floats:
        a = self.arch
        if self.moe is None:
            return np.zeros(len(TOKENS))
        level = self.moe.level
        inner = a.expert_ffn * self.ep / self.layout.expert_ranks
        matrices = 3 if a.gated_mlp else 2
        seconds = forms.moe(
            level.constants, self._chip(level.dtype.split("/")[0]), TOKENS, a.hidden, inner,
            a.active_experts, a.experts, self.ep, self.moe.width.weight, matrices,
        )  # fmt: skip
        if level.residual is not None:
            places = moe_place(TOKENS, a.hidden, inner, a.active_experts, a.experts, self.ep)
            seconds = seconds * factor_along(level.residual, AXES["moe"], *places)
        reached = forms.reached_experts(a.experts, a.active_experts, TOKENS, self.ep)
        weights = reached * matrices * a.hidden * inner * self.moe.width.weight
        seconds = np.maximum(seconds, weights / self.gpu.hbm_bytes_per_s)
        return self._times("routed experts", self.moe, (a.layers - a.dense_layers) * seconds)

    def _network(self, mode: str) -> Floats:
        """Two all-reduces a layer over the tensor-parallel GPUs."""
        a, tp = self.arch, self.layout.tp
        if tp == 1:
            return np.zeros(len(TOKENS))
        message = TOKENS * a.hidden * 2
        return 2 * a.layers * all_reduce_seconds(self.gpu, mode, tp, message)

    def curves(self) -> Curves:
        """Fold the calls."""
        a, tp = self.arch, self.layout.tp
        passes = PASSES * a.hidden * 2 * a.layers
        elementwise = TOKENS * passes / (self.gpu.hbm_bytes_per_s * ELEMENTWISE_SHARE)
        projections = (
            self._latent_projections() if self.latent_module else self._attention_gemms()
        )
        dense = elementwise + projections + self._mlps()
        experts = self._experts()
        head = self._gemm("lm_head", self.plain, a.vocab / tp, a.hidden, 1)
        return Curves(
            dense=Curve(dense),
            expert=Curve(experts),
            head=Curve(head),
            network_graph=Curve(self._network("graph")),
            network_eager=Curve(self._network("eager")),
            expert_tokens=float(self.layout.attention_ranks),
            normed_layers=float(a.layers if normalises_queries(a) else 0),
            **self._attention(),
            used=tuple(self.used),
        )

    def _attention(self) -> dict[str, float]:
        a = self.arch
        assert self.decode is not None and self.prefill is not None
        chip = self._chip("bfloat16")
        for name, chosen in (("decode attention", self.decode), ("prompt attention", self.prefill)):
            self.used.append(Used(name, chosen, np.zeros(len(TOKENS))))
        d, p = self.decode.level.constants, self.prefill.level.constants
        full, windowed = a.layers - a.window_layers, a.window_layers
        kv_bytes = 1.0 if self.kv == "fp8" else 2.0
        if self.latent_module:
            token = float(forms.latent_token(d, chip, self._latent(), kv_bytes))
            pair = float(forms.latent_pair(p, chip, self._latent()))
            fixed = {"decode_s": 0.0, "sequence_s": 0.0, "prompt_s": 0.0, "prompt_token_s": 0.0}
        else:
            heads, kv_heads = a.heads / self.layout.tp, -(-a.kv_heads // self.layout.tp)
            seen, pair_flop = float(a.head_dim), 4.0 * a.head_dim
            if a.mla is not None:  # one head of the latent's size, read once
                kv_heads, seen = 1, (a.mla.kv_lora + a.mla.rope_dim) / 2
                pair_flop = self._latent().pair_flop
            token = float(forms.decode_token(d, chip, heads, kv_heads, seen, kv_bytes))
            pair = heads * pair_flop / (chip.flop_per_s * p["sc"])
            moved = (2 * heads + 2 * kv_heads) * a.head_dim * 2
            fixed = {
                "decode_s": a.layers * d["t0"] * forms.MICRO,
                "sequence_s": a.layers * float(forms.decode_sequence(d, chip, heads, a.head_dim)),
                "prompt_s": a.layers * p["t0"] * forms.MICRO,
                "prompt_token_s": a.layers * moved / (chip.bytes_per_s * p["sx"]),
            }
        return {
            "context_token_s": full * token,
            "window_token_s": windowed * token,
            "pair_s": full * pair,
            "window_pair_s": windowed * pair,
            **fixed,
        }


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
