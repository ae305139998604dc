"""The layers of a model: what each kind stores, caches and computes.

A model is a stack of layer groups; the layers of a group are alike, down to the format of every
weight matrix. Counts and dimensions only, over all GPUs; how they spread is in
`guide.models.arch`.
"""

from __future__ import annotations

import math
from enum import StrEnum

from guide.record import Record


class AttentionKind(StrEnum):
    """How a layer mixes tokens."""

    FULL = "full"
    SLIDING = "sliding window"
    CHUNKED = "chunked"
    LATENT = "latent"  # MLA: one compressed vector a token, shared by all heads
    SPARSE = "sparse"  # an indexer picks the tokens that a query attends to
    COMPRESSED = "compressed"  # one cache entry for several tokens, beside a window of all
    LINEAR = "linear"  # a state of fixed size instead of a cache


class Part(StrEnum):
    """What a weight matrix belongs to; experts are stored and multiplied in their own way."""

    ATTENTION = "attention"
    MLP = "mlp"
    EXPERTS = "experts"
    SHARED = "shared experts"
    ROUTER = "router"


class Format(Record, frozen=True, kw_only=True):
    """How a weight matrix is stored, and in what its GEMM multiplies."""

    name: str  # bf16 fp16 fp8 int8 int4 mxfp4 nvfp4
    bits: float  # of one weight
    compute: str  # fp16 | fp8 | fp4 | int8
    group_outputs: int | None = 1  # rows that share a scale
    group_inputs: int | None = None  # weights of a row that share it; None: the whole row
    scale_bytes: float = 0.0  # of one scale, with its zero point

    def stored_bytes(self, outputs: int, inputs: int) -> float:
        """Bytes of a matrix of `outputs` rows."""
        rows = 1 if self.group_outputs is None else math.ceil(outputs / self.group_outputs)
        groups = 1 if self.group_inputs is None else math.ceil(inputs / self.group_inputs)
        return outputs * inputs * self.bits / 8 + rows * groups * self.scale_bytes


BF16 = Format(name="bf16", bits=16, compute="fp16")
SIXTEEN_BIT = frozenset({"bf16", "fp16"})  # names of formats that lose nothing to each other


class Weight(Record, frozen=True, kw_only=True):
    """A weight matrix of one layer, by its name inside the layer of a published checkpoint."""

    name: str  # self_attn.q_proj
    outputs: int
    inputs: int
    part: Part
    copies: int = 1  # alike: one for every expert
    shards: int | None = None  # GPUs it splits over under TP (1: every GPU holds all; None: any)
    format: Format = BF16

    @property
    def stored_bytes(self) -> float:
        """Bytes of all copies, scales included."""
        return self.copies * self.format.stored_bytes(self.outputs, self.inputs)

    @property
    def parameters(self) -> int:
        """Weights of all copies."""
        return self.outputs * self.inputs * self.copies


class Cache(Record, frozen=True, kw_only=True):
    """One tensor that a layer keeps for the tokens of a sequence, and what reading it computes.

    ``pair_flop`` counts a query-key pair of a prompt over all heads, ``context_flop`` a context
    token of one decoding query.
    """

    elements: int  # of one entry, in one head
    heads: int = 1  # split over TP, and copied beyond
    tokens_per_entry: int = 1
    window_tokens: int | None = None  # only the last so many tokens are kept
    chunked: bool = False  # the window starts at multiples of its size
    selected_tokens: int | None = None  # all are kept, a query reads at most so many
    bytes_per_element: float | None = None  # None: as --kv-cache-dtype says
    pair_flop: float = 0.0
    context_flop: float = 0.0

    @property
    def read_tokens(self) -> int | None:
        """Tokens that a query reads at most; None for all."""
        return self.window_tokens or self.selected_tokens


class LayerState(Record, frozen=True, kw_only=True):
    """What a layer keeps of a sequence, however long: a convolution and a recurrence."""

    conv_elements: int  # in the type of the model
    recurrent_elements: int
    recurrent_bytes_per_element: float = 4.0
    shards: int | None = None  # GPUs it splits over under TP (1: every GPU holds all; None: any)
    flop_per_token: float = 0.0  # of the recurrence; the projections are weights


class Mla(Record, frozen=True, kw_only=True):
    """Multi-head latent attention (DeepSeek): ranks and per-head dimensions."""

    q_lora: int | None
    kv_lora: int
    rope_dim: int
    nope_dim: int
    v_dim: int


class Attention(Record, frozen=True, kw_only=True):
    """The token mixer of a layer."""

    kind: AttentionKind
    heads: int
    kv_heads: int  # as the cache holds them; 1 for a latent
    head_dim: int  # that a query head multiplies
    caches: tuple[Cache, ...] = ()
    mla: Mla | None = None
    state: LayerState | None = None

    @property
    def read_tokens(self) -> int | None:
        """Tokens beyond which a longer context costs some of its caches nothing more."""
        return max((c.read_tokens for c in self.caches if c.read_tokens), default=None)


class Mlp(Record, frozen=True, kw_only=True):
    """The feed-forward part of a layer: dense, or routed and shared experts."""

    width: int  # of the dense MLP beside or instead of experts; 0 without
    experts: int = 0
    active_experts: int = 0
    expert_width: int = 0
    shared_width: int = 0  # of all shared experts together


class LayerGroup(Record, frozen=True, kw_only=True):
    """Layers that are alike: where they stand, what they hold."""

    layers: tuple[int, ...]  # their places in the stack, from 0
    attention: Attention | None
    mlp: Mlp | None
    weights: tuple[Weight, ...]
    other_parameters: int = 0  # of one layer: norms, biases, convolutions; kept in 16 bit

    @property
    def count(self) -> int:
        """Layers of the group."""
        return len(self.layers)
