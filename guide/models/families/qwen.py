"""Qwen 2, 2.5 and 3, dense and mixtures: biases on q, k, v (2) or norms on q and k (3)."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import ModelArch
from guide.models.config import (
    ConfigView,
    decoder,
    effective_window,
    layers_of_type,
    mixture,
    vision_parameters,
)

ARCHITECTURES = (
    "Qwen2ForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Qwen 2 or Qwen 3 model."""
    arch = decoder(view, architecture=architecture)
    if architecture.startswith("Qwen2"):
        extra = arch.layers * arch.head_dim * (arch.heads + 2 * arch.kv_heads)
    else:
        extra = arch.layers * 2 * arch.head_dim
    extra += vision_parameters(view)
    arch = replace(arch, extra_parameters=arch.extra_parameters + extra)
    if view.flag("use_sliding_window", False):
        arch = _windowed(view, arch)
    return _mixture(view, arch) if "Moe" in architecture else arch


def _windowed(view: ConfigView, arch: ModelArch) -> ModelArch:
    window = effective_window(view, arch.max_context_tokens)
    if window is None:
        return arch
    layers = layers_of_type(view, arch.layers, "sliding_attention")
    if layers is None:  # layers below max_window_layers attend to everything
        layers = arch.layers - min(arch.layers, view.optional_count("max_window_layers") or 0)
    return replace(arch, window_tokens=window if layers else None, window_layers=layers)


def _mixture(view: ConfigView, arch: ModelArch) -> ModelArch:
    experts, active = mixture(view, "num_experts")
    width = view.count("moe_intermediate_size")
    shared = view.optional_count("shared_expert_intermediate_size") or 0
    if shared % width:
        raise view.fail(
            f"shared_expert_intermediate_size {shared} is no multiple of moe_intermediate_size "
            f"{width}"
        )
    step = view.count("decoder_sparse_step", default=1)
    only_dense = view.entries("mlp_only_layers") or ()
    sparse = sum(1 for i in range(arch.layers) if i not in only_dense and (i + 1) % step == 0)
    dense_layers = arch.layers - sparse
    return replace(
        arch,
        ffn=arch.ffn if dense_layers else 0,
        dense_layers=dense_layers,
        experts=experts,
        active_experts=active,
        expert_ffn=width,
        shared_experts=shared // width,
    )
