"""Every value that crosses a module boundary. Read this file first.

Base units stand in the names (``_s`` ``_bytes`` ``_tokens`` ``_flop`` ``_per_s`` ``_usd_per_h``); a
``share`` is 0..1; bare names are counts. All types are frozen; methods only do arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from guide.supply import Gpu as Gpu
from guide.supply import GpuPool as GpuPool
from guide.supply import InstancePrice as InstancePrice
from guide.supply import Inventory as Inventory
from guide.supply import Link as Link
from guide.supply import Price as Price
from guide.supply import PriceList as PriceList
from guide.supply import SkippedNode as SkippedNode
from guide.supply import Slicing as Slicing


class Reason(StrEnum):
    """Why a candidate lost: a closed list, part of the API."""

    DOES_NOT_FIT = "DoesNotFit"
    HEADS_NOT_DIVISIBLE = "HeadsNotDivisible"
    QUANT_GROUP_NOT_DIVISIBLE = "QuantGroupNotDivisible"
    SPANS_NODES = "SpansNodes"
    NOT_ENOUGH_GPUS = "NotEnoughGPUs"
    COMPUTE_CAPABILITY = "ComputeCapability"
    UNSUPPORTED_MODEL = "UnsupportedModel"
    UNSUPPORTED_PRECISION = "UnsupportedPrecision"
    SHARED_GPU = "SharedGPU"
    UNKNOWN_GPU = "UnknownGPU"
    OVER_BUDGET = "OverBudget"
    MISSES_TTFT = "MissesTTFT"
    MISSES_TPOT = "MissesTPOT"
    MISSES_E2E = "MissesE2E"
    MISSES_THROUGHPUT = "MissesThroughput"
    UNSTABLE = "Unstable"
    DOMINATED = "Dominated"


class Preference(StrEnum):
    """What the ranking minimises (or, for throughput, maximises) among the feasible."""

    COST = "Cost"
    LATENCY = "Latency"
    THROUGHPUT = "Throughput"


class Tolerance(StrEnum):
    """How much precision the user gives up; each member includes the former."""

    LOSSLESS = "Lossless"
    FP8 = "FP8"
    INT4 = "INT4"


class Provenance(StrEnum):
    """Whether measurements of this GPU and framework stand behind a number."""

    CALIBRATED = "Calibrated"
    EXTRAPOLATED = "Extrapolated"


class Scheduling(StrEnum):
    """The three ways a framework turns waiting requests into forward steps."""

    PREFILL_FIRST = "PrefillFirst"  # vLLM V0: whole prompts, never mixed with decodes
    TOKEN_BUDGET = "TokenBudget"  # vLLM V1: decodes first, prompts chunked into what is left
    SPLIT_FUSE = "SplitFuse"  # FastGen: the same token budget in every forward


# --- what is asked -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Distribution of a token count: a mean and, where known, its 95th percentile."""

    mean_tokens: float
    p95_tokens: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests as they arrive: open loop (``requests_per_s``) or closed loop (``concurrency``)."""

    prompt: Lengths
    output: Lengths
    requests_per_s: float | None = None
    concurrency: int | None = None
    arrival_cv: float = 1.0
    prefix_hit_share: float = 0.0
    max_context_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Limits on latency (95th percentile) and on throughput; None means no limit."""

    ttft_p95_s: float | None = None
    tpot_p95_s: float | None = None
    e2e_p95_s: float | None = None
    min_output_tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on spending; None means no limit."""

    max_usd_per_h: float | None = None
    max_gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """The paper's optimisations (P8): they change bytes, attended pairs and time in the operator
    table."""

    flash_attention: bool = True
    h2o_keep_share: float = 1.0  # share of the KV cache kept by heavy-hitter eviction


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One question to the engine: the domain form of ``InferencePlan.spec``."""

    model: ModelArch
    workload: Workload
    slo: Slo = Slo()
    budget: Budget = Budget()
    preference: Preference = Preference.COST
    tolerance: Tolerance = Tolerance.LOSSLESS
    frameworks: tuple[str, ...] = ("vLLM", "FastGen")
    switches: Switches = Switches()
    gpus: tuple[str, ...] = ()  # placement: catalogue names allowed; empty = all
    node_selector: tuple[tuple[str, str], ...] = ()
    unready: tuple[str, ...] = ()  # frameworks without an image to run: ranked behind all others
    over_nodes: bool = False  # a replica may span nodes; a pipeline stage never does


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTier:
    """Defaults of a framework on GPUs of at least ``min_hbm_bytes`` (largest matching tier
    wins)."""

    min_hbm_bytes: float
    max_num_batched_tokens: int
    max_num_seqs: int
    not_gpus: tuple[str, ...] = ()  # prefixes of GPU names that fall to the next tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Behaviour and defaults of a framework over a version range (``since`` <= version <
    ``until``)."""

    framework: str
    since: tuple[int, ...]
    until: tuple[int, ...] | None
    scheduling: Scheduling
    tiers: tuple[LimitTier, ...]
    gpu_memory_utilization: float
    graphs_inside_budget: bool  # CUDA graphs counted inside the utilisation budget
    prefix_cache: bool
    block_tokens: int
    image: str | None = None  # pinned image of the newest version of the range, if one exists
    version: str = ""  # the version modelled when none is asked for
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Fitted constants of one (GPU, framework, version, precision): never facts."""

    values: Mapping[str, float]  # by parameter of `guide.perf.fits`
    provenance: Provenance
    evidence: str
    measured_points: int
    residual: Mapping[str, float] = field(default_factory=dict[str, float])  # log half-width, 90 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Facts, fits and prices, loaded and checked; ``digest`` names this very content."""

    gpus: Mapping[str, Gpu]
    models: Mapping[str, ModelArch]
    releases: tuple[Release, ...]
    prices: Mapping[str, Price]  # by GPU name: the fallback when the cluster states none
    fits: FitTable
    digest: str
    price_lists: tuple[PriceList, ...] = ()  # in this order, before `prices`

    def __hash__(self) -> int:
        """By content, so that what follows from a catalogue can be remembered."""
        return hash(self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitTable:
    """Hierarchical fits: latent deviations by level and key, resolved by `guide.perf.fits`."""

    rows: Mapping[tuple[str, str], Mapping[str, float]]  # (level, key) -> parameter -> deviation
    points: Mapping[tuple[str, str], int]  # (level, key) -> measured rows behind it
    residuals: Mapping[tuple[str, str], float]  # (group, metric) -> 90 % half-width in log space
    evidence: str = ""
    notes: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
