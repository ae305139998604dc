"""Nemotron-H and Nemotron-3 (a layer is one mixer or one MLP), and Nemotron found by search."""

from __future__ import annotations

from guide.domain import ModelArch
from guide.models.by_keys import read_by_keys, stacked
from guide.models.config import ConfigView
from guide.models.layers import Block, dense_mlp, grouped_attention

ARCHITECTURES = ("NemotronHForCausalLM", "NemotronHPuzzleForCausalLM", "DeciLMForCausalLM")
_ROUNDED_TO = 256  # widths of searched MLPs


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of such a model."""
    if architecture != "DeciLMForCausalLM":
        return read_by_keys(view, architecture)
    blocks = view.entries("block_configs")
    if blocks is None:
        return _decilm(view, architecture)
    return _searched(view, architecture, [view.inside("block_configs", b) for b in blocks])


def _decilm(view: ConfigView, architecture: str) -> ModelArch:
    """DeciLM-7B: vLLM repeats KV heads up to the widest layer, in the weights and in the cache."""
    per_layer = view.entries("num_key_value_heads_per_layer")
    if per_layer:
        heads = [head for head in per_layer if isinstance(head, int) and head > 0]
        total = view.count("num_attention_heads")
        if len(heads) < len(per_layer) or total % max(heads):
            raise view.fail(
                f"num_key_value_heads_per_layer must hold divisors of num_attention_heads {total}"
            )
        view = ConfigView(view.name, {**view.as_dict(), "num_key_value_heads": max(heads)})
    return read_by_keys(view, architecture)


def _searched(view: ConfigView, architecture: str, blocks: list[ConfigView]) -> ModelArch:
    """Super and Ultra: each layer has its own KV heads and width, or lacks one part."""
    hidden, heads = view.count("hidden_size"), view.count("num_attention_heads")
    layers = view.count("num_hidden_layers")
    if len(blocks) < layers:
        raise view.fail(f"block_configs has {len(blocks)} entries for {layers} layers")
    head_dim = view.optional_count("head_dim") or max(1, hidden // heads)
    stack: list[tuple[Block, ...]] = []
    for block in blocks[:layers]:
        parts: list[Block] = []
        attention, ffn = block.section("attention"), block.section("ffn")
        if attention is not None and _present(attention):
            kv_heads = max(1, heads // attention.count("n_heads_in_group"))
            parts.append(grouped_attention(hidden, heads, kv_heads, head_dim))
        if ffn is not None and _present(ffn):
            parts.append(dense_mlp(hidden, _width(ffn, hidden)))
        stack.append((*parts, Block(other_parameters=len(parts) * hidden)))
    return stacked(view, architecture, stack)


def _present(part: ConfigView) -> bool:
    if part.flag("replace_with_linear", False):
        raise part.fail("a part of a layer is replaced by one matrix, which GUIDE cannot model")
    return not part.flag("no_op", False)


def _width(ffn: ConfigView, hidden: int) -> int:
    wide = ffn.optional_count("intermediate_size")
    if wide:
        return wide
    exact = int(2 * (ffn.number("ffn_mult") or 0) * hidden / 3)
    return -(-exact // _ROUNDED_TO) * _ROUNDED_TO
