"""The layers that draft tokens for a model, as models of their own."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import LayerGroup, ModelArch, Part, Weight
from guide.models.families import read_config

HEAD_DIM = 128
QUERIES_PER_KV = 4
FUSED_STATES = 3  # EAGLE-3 joins hidden states of three layers


def prediction_model(model: ModelArch) -> ModelArch | None:
    """The layers of multi-token prediction of a checkpoint; None where it has none."""
    if not model.mtp:
        return None
    groups: list[LayerGroup] = []
    for group in model.mtp:
        start = sum(one.count for one in groups)
        places = tuple(range(start, start + group.count))
        groups.append(replace(group, layers=places))
    return replace(
        model,
        name=f"{model.name}, prediction layers",
        groups=tuple(groups),
        mtp=(),
        tower_parameters=0,
        extra_parameters=0,
    )


def eagle_head(model: ModelArch) -> ModelArch:
    """A head as EAGLE-3 publishes them: one layer of Llama as wide as the model, behind a
    projection of its hidden states; an assumption, since each head has a config of its own.

    Li et al., "EAGLE-3: Scaling up inference acceleration of large language models via
    training-time test", 2025.
    """
    heads = max(1, model.hidden // HEAD_DIM)
    llama = read_config(
        f"{model.name}, EAGLE head",
        {
            "architectures": ["LlamaForCausalLM"],
            "head_dim": HEAD_DIM,
            "hidden_size": model.hidden,
            "intermediate_size": model.ffn or 4 * model.hidden,
            "max_position_embeddings": model.max_context_tokens,
            "num_attention_heads": heads,
            "num_hidden_layers": 1,
            "num_key_value_heads": max(1, heads // QUERIES_PER_KV),
            "torch_dtype": "bfloat16",
            "vocab_size": model.vocab,
        },
    )
    (layer,) = llama.groups
    joined = Weight(
        name="fc",
        outputs=model.hidden,
        inputs=FUSED_STATES * model.hidden,
        part=Part.ROUTER,
        shards=1,
    )
    return replace(llama, groups=(replace(layer, weights=(joined, *layer.weights)),))
