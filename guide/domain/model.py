"""What is served: a transformer by its config.json, and how its weights are stored."""

from __future__ import annotations

from functools import cached_property

from guide.domain.layers import BF16, Attention, Format, LayerGroup, Mla, Mlp
from guide.record import Record


class Precision(Record, frozen=True, kw_only=True):
    """How a served checkpoint stores and multiplies its weights.

    ``*_bytes`` are per weight, scales included.
    """

    name: str  # bf16 fp16 fp8 int8 int4 mxfp4 nvfp4
    dense_bytes: float
    expert_bytes: float
    compute: str  # peak of dense GEMMs: fp16 | fp8 | fp4 | int8
    expert_compute: str
    group_size: int | None = None  # input channels that share one scale, if any


class ModelArch(Record, frozen=True, kw_only=True, dict=True):  # dict: derived facts stay
    """A decoder by its config.json: its layers in groups, and what stands around them.

    Counts and dimensions; no bytes.
    """

    name: str
    architecture: str  # config.json's architectures[0]
    hidden: int
    vocab: int
    tied_embeddings: bool = False
    groups: tuple[LayerGroup, ...]
    mtp: tuple[LayerGroup, ...] = ()  # multi-token prediction: in the checkpoint, idle without it
    max_context_tokens: int
    tower_parameters: int = 0  # vision and audio encoders
    extra_parameters: int = 0  # outside layers: position tables, the last norm and the like
    precision: str = "bf16"  # the checkpoint's own: the format of most of its weights
    head_format: Format = BF16
    kv_cache_dtype: str = "auto"  # what the checkpoint says; auto: 16 bit
    notes: tuple[str, ...] = ()  # what was assumed where its files do not say it
    base: str | None = None  # catalogue name of the original, for a checkpoint quantised from it
    parameters: int = 0  # published, for display and for the load check

    def __hash__(self) -> int:
        """By name alone: caches ask for it all the time, and the layers are deep."""
        return hash((self.name, self.architecture, self.precision))

    @cached_property
    def layers(self) -> int:
        """Layers of the stack."""
        return sum(group.count for group in self.groups)

    @cached_property
    def attentions(self) -> tuple[Attention, ...]:
        """The token mixer of each group that has one."""
        return tuple(group.attention for group in self.groups if group.attention is not None)

    @cached_property
    def attention(self) -> Attention:
        """What speaks for the model where one is shown: the first that caches tokens."""
        return next((a for a in self.attentions if a.caches), self.attentions[0])

    @property
    def heads(self) -> int:
        """Query heads of the attention that is shown."""
        return self.attention.heads

    @property
    def kv_heads(self) -> int:
        """KV heads of the attention that is shown."""
        return self.attention.kv_heads

    @property
    def head_dim(self) -> int:
        """Dimension of a head of the attention that is shown."""
        return self.attention.head_dim

    @property
    def mla(self) -> Mla | None:
        """Latent attention, where the model has it."""
        return self.attention.mla

    @cached_property
    def mlps(self) -> tuple[Mlp, ...]:
        """The feed-forward part of each group that has one."""
        return tuple(group.mlp for group in self.groups if group.mlp is not None)

    @cached_property
    def ffn(self) -> int:
        """Width of the widest dense MLP; 0 when every layer is a mixture."""
        return max((mlp.width for mlp in self.mlps), default=0)

    @cached_property
    def experts(self) -> int:
        """Routed experts of a layer; 0 in a dense model."""
        return max((mlp.experts for mlp in self.mlps), default=0)

    @cached_property
    def active_experts(self) -> int:
        """Routed experts that a token uses."""
        return max((mlp.active_experts for mlp in self.mlps), default=0)

    @cached_property
    def expert_ffn(self) -> int:
        """Width of a routed expert."""
        return max((mlp.expert_width for mlp in self.mlps), default=0)

    @cached_property
    def expert_layers(self) -> int:
        """Layers with routed experts."""
        return sum(group.count for group in self.groups if group.mlp and group.mlp.experts)

    @property
    def dense_layers(self) -> int:
        """Layers without routed experts."""
        return self.layers - self.expert_layers

    @cached_property
    def window_tokens(self) -> int | None:
        """The most tokens that a layer reads which does not read the whole context."""
        return max((a.read_tokens for a in self.attentions if a.read_tokens), default=None)

    @cached_property
    def window_layers(self) -> int:
        """Layers that do not read the whole context."""
        return sum(g.count for g in self.groups if g.attention and g.attention.read_tokens)
