"""The layers of a model as calls of operators, each priced by a measured kernel, and folded."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict, replace

from guide.domain import Attention, Gpu, LayerGroup, ModelArch, Part, Precision, Weight
from guide.models.arch import cache_bytes_per_token, weight_share
from guide.perf.kernels import forms
from guide.perf.kernels.calls import chip_of, gemm_seconds, token_all_reduces
from guide.perf.kernels.choice import (
    ChosenKernel,
    attention_level,
    choose,
    latent,
    lesser_gpus,
    normalises_queries,
    table_gpu,
    weights_of,
)
from guide.perf.kernels.curves import (
    TOKENS,
    Curves,
    Floats,
    Used,
    curve,
)
from guide.perf.kernels.levels import latent_size
from guide.perf.kernels.residual import AXES, factor_along, moe_place
from guide.perf.ops import Layout
from guide.perf.routing import unevenness

ELEMENTWISE_SHARE = 0.8  # of the bandwidth: norms, residuals, activations between the GEMMs
ROW_PARALLEL = ("o_proj", "down_proj")  # split over their inputs, the others over their outputs
LEAST_QUERIES = 16  # of one KV head that a decode kernel multiplies at once
LEAST_LATENT_HEADS = 64
WIDE = "bfloat16"  # KV type of any other name
PASSES = 8  # over the hidden state in a layer, by norms and residuals


@lru_cache(maxsize=2048)  # a plan asks for the same one many times
def curves(
    arch: ModelArch, gpu: Gpu, precision: Precision, layout: Layout, kv_cache_dtype: str = "auto"
) -> Curves | None:
    """Price a layout by kernels; None where no table speaks for the GPU or an operator."""
    if gpu.vendor != "nvidia" or table_gpu(gpu) is None:
        return None
    kv = "fp8" if kv_cache_dtype.startswith("fp8") else WIDE
    found = _own_curves(arch, gpu, precision, layout, kv)
    if found is None:
        return None
    for lesser in lesser_gpus(gpu):
        other = _own_curves(arch, lesser, precision, layout, kv)
        if other is not None:
            found = found.no_slower_than(other)
    return found


@lru_cache(maxsize=2048)
def _own_curves(
    arch: ModelArch, gpu: Gpu, precision: Precision, layout: Layout, kv: str
) -> Curves | None:
    """By the tables of `gpu` alone. Another KV type changes what reads the cache, and of latent
    attention the module around it."""
    pricing = _Pricing(arch, gpu, precision, layout, kv)
    if not pricing.complete:
        return None
    if kv == WIDE or any(attention.mla for attention in arch.attentions):
        return pricing.curves()
    same = _own_curves(arch, gpu, precision, layout, WIDE)
    return same and pricing.over_another_cache(same)


class _Terms(Struct):
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
        experts = weights_of(arch, precision, "moe")
        self.moe = choose(gpu, "moe", experts, self.ep) if arch.experts else None
        self.used: dict[str, Used] = {}
        self.terms = _Terms()

    @property
    def complete(self) -> bool:
        """Whether every operator of the model has a level."""
        reads = [self._levels(a) for a in self.arch.attentions]
        gemms = (choose(self.gpu, "gemm", weights) for weights in (self.gemm_weights, "bf16"))
        needed = [*gemms, *(level for pair in reads for level in pair)]
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
        head = self._gemm("lm_head", "bf16", a.vocab / self.layout.tp, a.hidden, 1)
        return Curves(
            dense=curve(dense),
            expert=curve(experts),
            head=curve(head),
            network_graph=curve(self._network("graph")),
            network_eager=curve(self._network("eager")),
            expert_tokens=float(self.layout.attention_ranks),
            normed_layers=float(a.layers if normalises_queries(a) else 0),
            used=tuple(self.used.values()),
            **asdict(self.terms),
        )

    def over_another_cache(self, same: Curves) -> Curves:
        """The calls of this layout over a cache of another type, with their attention anew."""
        for group in self.arch.groups:
            if group.attention is not None:
                self._attention(group, group.attention)
        used = tuple(self.used.get(one.operator, one) for one in same.used)
        return replace(same, used=used, **asdict(self.terms))

    def _times(self, name: str, chosen: ChosenKernel, seconds: Floats) -> Floats:
        before = self.used.get(name)
        total = seconds if before is None else before.seconds + seconds
        self.used[name] = Used(name, chosen, total)
        return seconds

    def _gemm(self, name: str, weights: str, n: float, k: float, count: float) -> Floats:
        chosen = choose(self.gpu, "gemm", weights)
        assert chosen is not None  # `complete`
        return self._times(name, chosen, count * gemm_seconds(self.gpu, weights, n, k))

    def _gemms(self, group: LayerGroup, part: Part, matrices: list[Weight]) -> Floats:
        """The matrices of a part: those that read the hidden state are one GEMM."""
        stored = "bf16" if part is Part.ROUTER else self.gemm_weights
        total = np.zeros(len(TOKENS))
        fused = 0.0
        for weight in matrices:
            share = weight_share(weight, self.layout.tp, self.layout.expert_ranks)
            if weight.inputs == self.arch.hidden and not weight.name.endswith(ROW_PARALLEL):
                fused += weight.outputs * share
            elif weight.name.endswith(ROW_PARALLEL):
                total = total + self._gemm(
                    f"{part}, out", stored, weight.outputs, weight.inputs * share, group.count
                )
            else:
                total = total + self._gemm(
                    f"{part}, between", stored, weight.outputs * share, weight.inputs, group.count
                )
        if fused:
            total = total + self._gemm(f"{part}, in", stored, fused, self.arch.hidden, group.count)
        return total

    def _experts(self, group: LayerGroup, matrices: int) -> Floats:
        mlp, chosen = group.mlp, self.moe
        if mlp is None or not mlp.experts or chosen is None:
            return np.zeros(len(TOKENS))
        level, hidden = chosen.level, self.arch.hidden
        inner = mlp.expert_width * self.ep / self.layout.expert_ranks
        chip = chip_of(self.gpu, level.dtype.split("/")[0])
        # a step ends with its slowest rank, which has the experts of more tokens than the mean one
        uneven = unevenness(self.ep, mlp.experts, mlp.active_experts)
        tokens = TOKENS + uneven.load * np.sqrt(TOKENS)
        shape: dict[str, Any] = {
            **{"n": tokens, "h": hidden, "i": inner},
            **{"k": mlp.active_experts, "experts": mlp.experts, "ranks": self.ep},
        }
        weight_bytes = chosen.width.weight
        seconds = forms.moe(
            level.constants, chip, **shape, weight_bytes=weight_bytes, matrices=matrices
        )
        if level.residual is not None:
            places = moe_place(**shape)
            seconds = seconds * factor_along(level.residual, AXES["moe"], *places)
        reached = forms.reached_experts(mlp.experts, mlp.active_experts, tokens, self.ep)
        weights = reached * matrices * hidden * inner * chosen.width.weight
        seconds = np.maximum(seconds, weights / chip.bytes_per_s)
        return self._times("routed experts", chosen, group.count * seconds)

    def _network(self, mode: str) -> Floats:
        """Two all-reduces a layer over the tensor-parallel GPUs; and where attention ranks share
        experts, the gathering of all tokens and the scattering of what experts make of them, which
        together move what an all-reduce does."""
        a, tp, ranks = self.arch, self.layout.tp, self.layout.attention_ranks
        token_bytes = a.hidden * 2
        total = np.zeros(len(TOKENS))
        if tp > 1:
            total = total + 2 * a.layers * token_all_reduces(self.gpu, mode, tp, token_bytes)
        if ranks > 1:
            gathered = token_all_reduces(self.gpu, mode, tp * ranks, token_bytes * ranks)
            total = total + a.expert_layers * gathered
        return total

    def _latent(self, group: LayerGroup) -> bool:
        """Whether a measured module holds the projections of a group."""
        attention = group.attention
        levels = (None, None) if attention is None else self._levels(attention)
        return levels[0] is not None and levels[0].level.family.startswith("latent")

    def _levels(self, attention: Attention) -> tuple[ChosenKernel | None, ChosenKernel | None]:
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
                heads,
                hidden=self.arch.hidden,
                q_lora=mla.q_lora,
                kv_lora=mla.kv_lora,
                rope=mla.rope_dim,
                nope=mla.nope_dim,
                v_dim=mla.v_dim,
            )
            chip = chip_of(self.gpu, decode.level.dtype.split("/")[0])
            seconds = forms.latent_projections(d, chip, size, TOKENS, decode.width.weight)
            return self._times("latent projections", decode, count * seconds)
        chip, head_dim = chip_of(self.gpu, "bfloat16"), attention.head_dim
        moved = 2 * (heads + math.ceil(attention.kv_heads / tp)) * head_dim * 2
        self.terms.decode_s += count * d["t0"] * forms.MICRO
        self.terms.sequence_s += count * float(forms.decode_sequence(d, chip, heads, head_dim))
        self.terms.prompt_s += count * p["t0"] * forms.MICRO
        self.terms.prompt_token_s += count * moved / (chip.bytes_per_s * p["sx"])
        return np.zeros(len(TOKENS))

    def _reads(
        self, group: LayerGroup, attention: Attention, decode: ChosenKernel, prompt: ChosenKernel
    ) -> None:
        """Context tokens and pairs of every cache of a layer: whole, or within its reach."""
        for name, chosen in (("decode attention", decode), ("prompt attention", prompt)):
            self.used[name] = Used(name, chosen, np.zeros(len(TOKENS)))
        d, p = decode.level.constants, prompt.level.constants
        chip, tp = chip_of(self.gpu, "bfloat16"), self.layout.tp
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
