"""A decoder whose layers differ at most in their window and in dense or mixed feed-forward.

Most families are of this kind: they state its numbers, and `Decoder.arch` makes the stack.
"""

from __future__ import annotations

from guide.domain import Mla, ModelArch
from guide.models.layers import (
    Block,
    dense_mlp,
    expert_mlp,
    grouped_attention,
    latent_attention,
    layer_groups,
)
from guide.record import Record


class Decoder(Record, frozen=True, kw_only=True):
    """The numbers of such a decoder."""

    name: str
    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int  # width of a dense MLP
    gated_mlp: bool = True
    vocab: int
    tied_embeddings: bool = False
    experts: int = 0
    active_experts: int = 0
    shared_ffn: int = 0  # width of all shared experts together
    expert_ffn: int = 0
    dense: frozenset[int] = frozenset()  # with experts: the layers that keep a dense MLP
    mla: Mla | None = None
    window_tokens: int | None = None  # sliding window or chunk
    windowed: frozenset[int] = frozenset()  # the layers that use it
    chunked: bool = False
    max_context_tokens: int
    tower_parameters: int = 0
    layer_parameters: int = 0  # of one layer beside its matrices: norms and biases
    expert_parameters: int = 0  # the same, in layers with experts only
    extra_parameters: int = 0  # outside layers

    def arch(self) -> ModelArch:
        """The model as a stack of layers."""
        full = self._attention(windowed=False)
        windowed = full if self.window_tokens is None else self._attention(windowed=True)
        dense = dense_mlp(self.hidden, self.ffn, gated=self.gated_mlp)
        mixed = dense
        if self.experts:
            mixed = expert_mlp(
                self.hidden,
                self.expert_ffn,
                self.experts,
                self.active_experts,
                shared_width=self.shared_ffn,
                gated=self.gated_mlp,
                other_parameters=self.expert_parameters,
            )
        layers = [
            (windowed if i in self.windowed else full, dense if i in self.dense else mixed)
            for i in range(self.layers)
        ]
        return ModelArch(
            name=self.name,
            architecture=self.architecture,
            hidden=self.hidden,
            vocab=self.vocab,
            tied_embeddings=self.tied_embeddings,
            groups=layer_groups(layers, self.layer_parameters),
            max_context_tokens=self.max_context_tokens,
            tower_parameters=self.tower_parameters,
            extra_parameters=self.extra_parameters,
        )

    def _attention(self, *, windowed: bool) -> Block:
        if self.mla is not None:
            return latent_attention(self.hidden, self.heads, self.mla)
        return grouped_attention(
            self.hidden,
            self.heads,
            self.kv_heads,
            self.head_dim,
            window_tokens=self.window_tokens if windowed else None,
            chunked=self.chunked,
        )
