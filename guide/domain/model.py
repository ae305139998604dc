"""What is served: a transformer by its config.json, and how its weights are stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How a served checkpoint stores and multiplies its weights.

    ``*_bytes`` are per weight, scales included.
    """

    name: str  # bf16 fp16 fp8 int8 int4 mxfp4 nvfp4
    dense_bytes: float
    expert_bytes: float
    compute: str  # peak of dense GEMMs: fp16 | fp8 | fp4 | int8
    expert_compute: str
    group_size: int | None = None  # input channels that share one scale, if any


@dataclass(frozen=True, slots=True, kw_only=True)
class Mla:
    """Multi-head latent attention (DeepSeek): ranks and per-head dimensions."""

    q_lora: int | None
    kv_lora: int
    rope_dim: int
    nope_dim: int
    v_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArch:
    """A decoder-only transformer by its config.json.

    Counts and dimensions; no bytes.
    """

    name: str
    architecture: str  # config.json's architectures[0]
    layers: int
    hidden: int
    heads: int
    kv_heads: int  # as the KV cache holds them, in every layer
    head_dim: int
    ffn: int  # width of a dense MLP (0 when every layer is a mixture)
    gated_mlp: bool = True
    vocab: int
    tied_embeddings: bool = False
    experts: int = 0
    active_experts: int = 0
    shared_experts: int = 0
    expert_ffn: int = 0
    dense_layers: int = 0  # of `layers`, how many keep a dense MLP (all when experts == 0)
    mla: Mla | None = None
    window_tokens: int | None = None  # sliding window
    window_layers: int = 0  # of `layers`, how many use it
    max_context_tokens: int
    extra_parameters: int = (
        0  # position tables, biases, norms and the like: counted, never multiplied
    )
    precision: str = "bf16"  # the checkpoint's own
    base: str | None = None  # catalogue name of the 16-bit original, for a quantised checkpoint
    parameters: int = 0  # published, for display and for the load check

    @property
    def used_window_tokens(self) -> int | None:
        """The sliding window, where a layer uses it."""
        return self.window_tokens if self.window_layers else None
