"""GLM: ChatGLM 2 and 3 with their own field names, GLM-4 dense, and the GLM-4.5 to 4.7 mixtures."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder, mixture
from guide.models.decoder import Decoder

ARCHITECTURES = (
    "ChatGLMModel",
    "ChatGLMForConditionalGeneration",
    "GlmForCausalLM",
    "Glm4ForCausalLM",
    "Glm4MoeForCausalLM",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a GLM model."""
    if architecture.startswith("ChatGLM"):
        return _chatglm(view, architecture)
    # GLM-4-0414 normalises twice more, after attention and after the MLP
    arch = decoder(
        view, architecture=architecture, norms=4 if architecture.startswith("Glm4For") else 2
    )
    extra = 0
    if view.flag("attention_bias", False):
        extra += arch.head_dim * (arch.heads + 2 * arch.kv_heads)
    if view.flag("use_qk_norm", False):
        extra += 2 * arch.head_dim
    arch = replace(arch, layer_parameters=arch.layer_parameters + extra)
    if architecture != "Glm4MoeForCausalLM":
        return arch.arch()
    experts, active = mixture(view, "n_routed_experts")
    width = view.count("moe_intermediate_size")
    dense = min(view.optional_count("first_k_dense_replace") or 0, arch.layers)
    return replace(
        arch,
        expert_parameters=experts,  # router bias
        dense=frozenset(range(dense)),
        experts=experts,
        active_experts=active,
        expert_ffn=width,
        shared_ffn=width * (view.optional_count("n_shared_experts") or 0),
    ).arch()


def _chatglm(view: ConfigView, architecture: str) -> ModelArch:
    layers = view.count("num_layers")
    hidden = view.count("hidden_size")
    heads = view.count("num_attention_heads")
    head_dim = view.count("kv_channels", default=max(1, hidden // heads))
    grouped = view.flag("multi_query_attention", False)
    kv_heads = view.count("multi_query_group_num") if grouped else heads
    bias = head_dim * (heads + 2 * kv_heads) if view.flag("add_qkv_bias", False) else 0
    return Decoder(
        name=view.name,
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=view.count("ffn_hidden_size"),
        vocab=view.count("padded_vocab_size", "vocab_size"),
        tied_embeddings=view.flag("tie_word_embeddings", False),
        max_context_tokens=view.count("seq_length"),
        layer_parameters=2 * hidden + bias,
        extra_parameters=hidden,
    ).arch()
