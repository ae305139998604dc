"""LongCat-Flash: two latent attentions and two MLPs a layer, experts across the first half."""

from __future__ import annotations

from guide.domain import ModelArch
from guide.models.by_keys import ACTIVE, stacked
from guide.models.config import ConfigView
from guide.models.layers import Block, dense_mlp, expert_mlp
from guide.models.mixing import latent

ARCHITECTURES = ("LongcatFlashForCausalLM",)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of LongCat-Flash: each of its layers counts as two, as vLLM caches them.

    Zero experts have no weights, so a token may use fewer real ones than `moe_topk` says.
    """
    layers, hidden = view.count("num_layers", "num_hidden_layers"), view.count("hidden_size")
    wide = view.count("ffn_hidden_size", "intermediate_size")
    experts, zero = view.count("n_routed_experts"), view.optional_count("zero_expert_num") or 0
    mixing = latent(view, hidden, chosen=False)
    mixed = expert_mlp(
        hidden,
        view.count("expert_ffn_hidden_size", "moe_intermediate_size"),
        experts,
        min(view.count(*ACTIVE), experts),
        dense_width=wide,
        other_parameters=zero * hidden + experts + zero,  # the router scores zero experts too
    )
    norms = Block(other_parameters=2 * hidden)
    first, second = (mixing, mixed, norms), (mixing, dense_mlp(hidden, wide), norms)
    return stacked(view, architecture, [first, second] * layers)
