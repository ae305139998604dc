"""Token mixers with a state of fixed size instead of a cache: delta nets, Mamba-2, lightning.

Weights and state shapes follow vLLM (``layers/mamba/mamba_utils.py``): the convolution keeps
``kernel - 1`` inputs of each channel in the type of the model, the recurrence one matrix a head.
The FLOPs of a token are those of updating and reading that matrix; a prompt is scanned in chunks,
which costs no less.
"""

from __future__ import annotations

from guide.domain import Attention, AttentionKind, Cache, LayerState, Part, Weight
from guide.models.layers import Block


def _weight(name: str, outputs: int, inputs: int, shards: int | None = None) -> Weight:
    return Weight(name=name, outputs=outputs, inputs=inputs, part=Part.ATTENTION, shards=shards)


def _linear(
    heads: int,
    groups: int,
    head_dim: int,
    state: LayerState,
    weights: tuple[Weight, ...],
    other_parameters: int,
    caches: tuple[Cache, ...] = (),
) -> Block:
    return Block(
        attention=Attention(
            kind=AttentionKind.LINEAR,
            heads=heads,
            kv_heads=groups,
            head_dim=head_dim,
            caches=caches,
            state=state,
        ),
        weights=weights,
        other_parameters=other_parameters,
    )


def gated_delta_net(
    hidden: int,
    key_heads: int,
    key_dim: int,
    value_heads: int,
    value_dim: int,
    kernel: int,
    state_bytes: float = 4.0,
) -> Block:
    """Gated DeltaNet (Qwen3-Next, Qwen3.5): a key x value matrix for each value head."""
    keys, values = key_heads * key_dim, value_heads * value_dim
    channels = 2 * keys + values
    matrix = value_heads * value_dim * key_dim
    return _linear(
        value_heads,
        key_heads,
        value_dim,
        LayerState(
            conv_elements=channels * (kernel - 1),
            recurrent_elements=matrix,
            recurrent_bytes_per_element=state_bytes,
            flop_per_token=7 * matrix,
        ),
        (
            _weight("linear_attn.in_proj_qkv", channels, hidden),
            _weight("linear_attn.in_proj_z", values, hidden),
            _weight("linear_attn.out_proj", hidden, values),
        ),
        # gates a and b, convolution, A_log, dt_bias, norm
        2 * value_heads * hidden + channels * kernel + 2 * value_heads + value_dim,
    )


def kimi_delta_attention(
    hidden: int, heads: int, head_dim: int, kernel: int, *, full_rank_gate: bool = False
) -> Block:
    """Kimi Delta Attention (Kimi-Linear, K3): a square matrix a head, a decay for each channel."""
    width = heads * head_dim
    matrix = heads * head_dim * head_dim
    gate = (_weight("self_attn.g_proj", width, hidden),)
    if not full_rank_gate:
        gate = (
            _weight("self_attn.g_a_proj", head_dim, hidden, 1),
            _weight("self_attn.g_b_proj", width, head_dim),
        )
    return _linear(
        heads,
        heads,
        head_dim,
        LayerState(
            conv_elements=3 * width * (kernel - 1),
            recurrent_elements=matrix,
            flop_per_token=7 * matrix,
        ),
        (
            *(_weight(f"self_attn.{name}_proj", width, hidden) for name in "qkv"),
            *gate,
            _weight("self_attn.f_a_proj", head_dim, hidden, 1),
            _weight("self_attn.f_b_proj", width, head_dim),
            _weight("self_attn.o_proj", hidden, width),
        ),
        # b_proj, convolutions, A_log, dt_bias, norm
        heads * hidden + 3 * width * kernel + heads + width + head_dim,
    )


def mamba2(
    hidden: int,
    heads: int,
    head_dim: int,
    groups: int,
    state_size: int,
    kernel: int,
    state_bytes: float = 4.0,
) -> Block:
    """Mamba-2 (Nemotron-H, Granite 4, Falcon-H1): a channel x state matrix a head."""
    inner = heads * head_dim
    channels = inner + 2 * groups * state_size
    matrix = heads * head_dim * state_size
    return _linear(
        heads,
        groups,
        head_dim,
        LayerState(
            conv_elements=channels * (kernel - 1),
            recurrent_elements=matrix,
            recurrent_bytes_per_element=state_bytes,
            flop_per_token=6 * matrix,
        ),
        (
            _weight("mamba.in_proj", inner + channels + heads, hidden),
            _weight("mamba.out_proj", hidden, inner),
        ),
        channels * (kernel + 1) + 3 * heads + inner,  # convolution; A, D, dt_bias; gated norm
    )


def mamba1(hidden: int, inner: int, state_size: int, rank: int, kernel: int) -> Block:
    """Mamba (Jamba): a state vector for each channel."""
    matrix = inner * state_size
    return _linear(
        1,
        1,
        inner,
        LayerState(
            conv_elements=inner * (kernel - 1), recurrent_elements=matrix, flop_per_token=6 * matrix
        ),
        (
            _weight("mamba.in_proj", 2 * inner, hidden),
            _weight("mamba.x_proj", rank + 2 * state_size, inner),
            _weight("mamba.dt_proj", inner, rank),
            _weight("mamba.out_proj", hidden, inner),
        ),
        inner * (kernel + 1) + matrix + 2 * inner,
    )


def lightning_attention(hidden: int, heads: int, head_dim: int) -> Block:
    """Lightning attention (MiniMax-01, Ling 2.5): linear attention with a decay a head."""
    width = heads * head_dim
    matrix = heads * head_dim * head_dim
    return _linear(
        heads,
        heads,
        head_dim,
        LayerState(conv_elements=0, recurrent_elements=matrix, flop_per_token=4 * matrix),
        (
            _weight("self_attn.qkv_proj", 3 * width, hidden),
            _weight("self_attn.output_gate", width, hidden),
            _weight("self_attn.out_proj", hidden, width),
        ),
        width,
    )


def short_convolution(hidden: int, kernel: int) -> Block:
    """Gated short convolution (LFM2): three projections in, one out, and the last inputs."""
    return _linear(
        1,
        1,
        hidden,
        LayerState(conv_elements=hidden * (kernel - 1), recurrent_elements=0),
        (
            _weight("conv.in_proj", 3 * hidden, hidden),
            _weight("conv.out_proj", hidden, hidden),
        ),
        hidden * kernel,
    )
