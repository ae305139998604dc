"""Qwen 2, 2.5 and 3, dense and mixtures: biases on q, k, v (2) or norms on q and k (3)."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.by_keys import read_by_keys
from guide.models.config import (
    ConfigView,
    all_but_every,
    decoder,
    effective_window,
    layers_of_type,
    mixture,
)
from guide.models.decoder import Decoder
from guide.models.towers import tower_parameters

ARCHITECTURES = (
    "Qwen2ForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
    "Qwen3NextForCausalLM",
    "Qwen3_5ForCausalLM",
    "Qwen3_5MoeForCausalLM",
    "Qwen3_5ForConditionalGeneration",
    "Qwen3_5MoeForConditionalGeneration",
)
_HYBRID = ("Qwen3Next", "Qwen3_5")  # a gated output, and delta nets in three of four layers


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Qwen 2 or Qwen 3 model."""
    if architecture.startswith(_HYBRID):
        # Qwen3-Next gates the output of attention without saying so
        gated = {"attn_output_gate": view.flag("attn_output_gate", True)}
        return read_by_keys(ConfigView(view.name, {**view.as_dict(), **gated}), architecture)
    arch = decoder(view, architecture=architecture)
    if architecture.startswith("Qwen2"):
        extra = arch.head_dim * (arch.heads + 2 * arch.kv_heads)
    else:
        extra = 2 * arch.head_dim
    arch = replace(
        arch,
        layer_parameters=arch.layer_parameters + extra,
        tower_parameters=tower_parameters(view),
    )
    if view.flag("use_sliding_window", False):
        arch = _windowed(view, arch)
    return _mixture(view, arch) if "Moe" in architecture else arch.arch()


def _windowed(view: ConfigView, arch: Decoder) -> Decoder:
    window = effective_window(view, arch.max_context_tokens)
    if window is None:
        return arch
    layers = layers_of_type(view, arch.layers, "sliding_attention")
    if layers is None:  # layers below max_window_layers attend to everything
        layers = frozenset(range(view.optional_count("max_window_layers") or 0, arch.layers))
    return replace(arch, window_tokens=window, windowed=layers)


def _mixture(view: ConfigView, arch: Decoder) -> ModelArch:
    experts, active = mixture(view, "num_experts")
    width = view.count("moe_intermediate_size")
    shared = view.optional_count("shared_expert_intermediate_size") or 0
    step = view.count("decoder_sparse_step", default=1)
    only_dense = view.entries("mlp_only_layers") or ()
    dense = all_but_every(arch.layers, step) | {i for i in only_dense if isinstance(i, int)}
    return replace(
        arch,
        dense=dense,
        experts=experts,
        active_experts=active,
        expert_ffn=width,
        shared_ffn=shared,
    ).arch()
