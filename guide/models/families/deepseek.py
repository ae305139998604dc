"""DeepSeek V2 to V4, Kimi K2 and GLM-5: latent attention over mixtures with shared experts."""

from __future__ import annotations

from guide.domain import ModelArch
from guide.models.by_keys import KeyTraits, feed_forward, read_by_keys, stacked
from guide.models.config import ConfigView
from guide.models.layers import Block
from guide.models.sparse import Compressed, Indexer, compressed_attention

ARCHITECTURES = (
    "DeepseekV2ForCausalLM",
    "DeepseekV3ForCausalLM",
    "DeepseekV32ForCausalLM",
    "DeepseekV4ForCausalLM",
    "KimiK2ForCausalLM",
    "KimiK25ForConditionalGeneration",
    "GlmMoeDsaForCausalLM",
    "Glm4MoeLiteForCausalLM",
    "MistralLarge3ForCausalLM",
)
_MATRICES = 2  # hyper-connections before attention and before the experts


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of such a model."""
    if architecture == "DeepseekV4ForCausalLM":
        return _compressed(view, architecture)
    # V3 routes with a correction bias per expert, V2 without
    biased = architecture != "DeepseekV2ForCausalLM"
    return read_by_keys(view, architecture, KeyTraits(router_bias=biased))


def _compressed(view: ConfigView, architecture: str) -> ModelArch:
    """V4: each layer has its own compression ratio; the residual stream is several wide."""
    layers, hidden = view.count("num_hidden_layers"), view.count("hidden_size")
    ratios = view.entries("compress_ratios") or ()
    if len(ratios) < layers:
        raise view.fail(f"compress_ratios has {len(ratios)} entries for {layers} layers")
    of = Compressed(
        hidden=hidden,
        heads=view.count("num_attention_heads"),
        head_dim=view.count("head_dim"),
        q_lora=view.count("q_lora_rank"),
        o_lora=view.count("o_lora_rank"),
        o_groups=view.count("o_groups"),
        window_tokens=view.count("sliding_window"),
        indexer=Indexer(
            heads=view.count("index_n_heads"),
            head_dim=view.count("index_head_dim"),
            selected_tokens=view.count("index_topk"),
        ),
    )
    wide = view.count("hc_mult", default=1)
    connections = _MATRICES * ((2 + wide) * wide * (wide * hidden + 1) + 3)
    _, mixed = feed_forward(view, hidden, KeyTraits())
    if mixed is None:
        raise view.fail("config.json lacks n_routed_experts; use the published file")
    other = Block(other_parameters=2 * hidden + connections)
    known = {r: compressed_attention(of, r) for r in {_ratio(view, r) for r in ratios}}
    stack = [(known[_ratio(view, r)], mixed, other) for r in ratios[:layers]]
    # the first layers route by a table of tokens: stored apart, 32-bit when loaded
    table = view.count("vocab_size") * view.count("num_experts_per_tok") * 2
    hashed = Block(other_parameters=table)
    first = min(layers, view.optional_count("num_hash_layers") or 0)
    stack = [(*blocks, hashed) if i < first else blocks for i, blocks in enumerate(stack)]
    return stacked(view, architecture, stack, mtp=[(known.get(0, stack[-1][0]), mixed, other)])


def _ratio(view: ConfigView, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise view.fail(f"compress_ratios holds {value!r}, but it must hold whole numbers")
    return value
