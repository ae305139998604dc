"""Step-3.5 and 3.7: windowed layers with more heads than the full ones, a gate for each head."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.by_keys import KeyTraits, feed_forward, prediction_layers, read_by_keys
from guide.models.config import ConfigView
from guide.models.mixing import mixers

ARCHITECTURES = (
    "Step3p5ForCausalLM",
    "Step3p7FlashForCausalLM",
    "Step3p7ForConditionalGeneration",
)
_WINDOWED_HEADS = 96  # of the released models, whose config may not say it


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Step model."""
    other = view.section("attention_other_setting")
    heads = other.optional_count("num_attention_heads") if other else None
    heads = heads or view.optional_count("num_sliding_attention_heads") or _WINDOWED_HEADS
    groups = other.optional_count("num_attention_groups") if other else None
    groups = groups or view.optional_count("num_attention_groups", "num_key_value_heads")
    named = {
        "swa_num_attention_heads": heads,
        "num_key_value_heads": groups,
        "layer_types": view.get("layer_types"),
    }
    view = ConfigView(view.name, {**view.as_dict(), **named})
    arch = read_by_keys(view, architecture, KeyTraits(mtp=False))
    windowed = mixers(view, ["sliding"], arch.max_context_tokens)
    dense, _ = feed_forward(view, arch.hidden, KeyTraits())
    predicting = tuple(block for block in (*windowed, dense) if block is not None)
    return replace(arch, mtp=prediction_layers(view, [predicting]))
