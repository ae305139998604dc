"""gpt-oss: mixtures in every layer, biases everywhere, windowed and full attention in turn."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder, effective_window, layers_of_type, mixture

ARCHITECTURES = ("GptOssForCausalLM",)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a gpt-oss model."""
    arch = decoder(view, architecture=architecture)
    experts, active = mixture(view, "num_local_experts", "num_experts")
    attention_bias = arch.head_dim * (arch.heads + 2 * arch.kv_heads) + arch.hidden
    sinks = arch.heads
    expert_bias = experts * (2 * arch.ffn + arch.hidden)
    window = effective_window(view, arch.max_context_tokens)
    layers = layers_of_type(view, arch.layers, "sliding_attention")
    if layers is None:
        layers = frozenset(range(0, arch.layers, 2))
    return replace(
        arch,
        expert_ffn=arch.ffn,
        experts=experts,
        active_experts=active,
        window_tokens=window,
        windowed=layers,
        layer_parameters=arch.layer_parameters + attention_bias + sinks,
        expert_parameters=expert_bias + experts,
    ).arch()
