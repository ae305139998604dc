"""What is known: releases of frameworks, fitted constants, and the catalogue that holds both."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import field

from guide.domain.cluster import Gpu, Price, PriceList
from guide.domain.layers import SIXTEEN_BIT
from guide.domain.model import ModelArch
from guide.record import Record


class Provenance(StrEnum):
    """Which measurements stand behind a number, from the most to the least telling."""

    MEASURED = "Measured"  # rows of this network on this GPU and engine, of such a load
    CALIBRATED = "Calibrated"  # rows of this GPU, precision and engine, of other networks or loads
    EXTRAPOLATED = "Extrapolated"  # rows of relatives


class Scheduling(StrEnum):
    """The ways a framework turns waiting requests into forward steps."""

    PREFILL_FIRST = "PrefillFirst"  # vLLM V0: whole prompts, never mixed with decodes
    TOKEN_BUDGET = "TokenBudget"  # vLLM V1: decodes first, prompts chunked into what is left
    SPLIT_FUSE = "SplitFuse"  # FastGen: the same token budget in every forward
    # SGLang: chunks of prompts whenever something may enter, decodes in steps of their own
    PREFILL_OR_DECODE = "PrefillOrDecode"


class LimitTier(Record, frozen=True, kw_only=True):
    """Defaults of a framework on GPUs of at least ``min_hbm_bytes`` (largest matching tier
    wins)."""

    min_hbm_bytes: float
    max_num_batched_tokens: int
    max_num_seqs: int
    not_gpus: tuple[str, ...] = ()  # prefixes of GPU names that fall to the next tier


class StaticFraction(Record, frozen=True, kw_only=True):
    """How a release divides the memory that is free before loading: `guide.perf.static_fraction`.

    `guide/catalog/memory.yaml` says what each figure means.
    """

    before_bytes: float
    before_link_bytes: float  # with several GPUs on a fast link
    workspace_bytes: float
    decode_graph_bytes: float
    prefill_graph_bytes: float  # of each captured size
    blackwell_page_tokens: int
    window_share: float
    window_models: tuple[str, ...]
    state_ratio: float
    state_slots: int


class MemoryRules(Record, frozen=True, kw_only=True):
    """How a release accounts for GPU memory before it sizes its KV cache; pairs hold a value for
    vLLM's first and second model runner. `guide/catalog/memory.yaml` says what each means."""

    since: tuple[int, ...]
    logit_bytes: tuple[float, float]
    penalty_bytes: float  # of the second runner
    graph_bytes: tuple[float, float]
    graph_parallel_bytes: float
    runtime_bytes: float
    runtime_parallel_bytes: float
    second_runner: tuple[str, ...]
    second_runner_quantized: bool  # whether it serves quantised checkpoints too
    hybrid_cache: bool
    batches_in_flight: int
    state_blocks: int
    uneven_groups: float
    full_length_tokens: bool
    source: str
    static: StaticFraction | None = None  # then nothing above is subtracted

    def runs_second(self, model: ModelArch) -> bool:
        """Whether the second model runner serves `model`."""
        names = self.second_runner
        if "all" in names:
            return True
        if not self.second_runner_quantized and model.precision not in SIXTEEN_BIT:
            return False
        plain = not model.experts and not any(one.state for one in model.attentions)
        return model.architecture in names or ("dense" in names and plain)


class Release(Record, frozen=True, kw_only=True):
    """Behaviour and defaults of a framework over a version range (``since`` <= version <
    ``until``)."""

    framework: str
    engine: str  # the generation whose overheads are alike: a level of the fits
    since: tuple[int, ...]
    until: tuple[int, ...] | None
    scheduling: Scheduling
    tiers: tuple[LimitTier, ...]
    gpu_memory_utilization: float
    memory: MemoryRules
    prefix_cache: bool
    block_tokens: int
    image: str | None = None  # pinned image of the newest version of the range, if one exists
    version: str = ""  # the version modelled when none is asked for
    source: str = ""


class Fit(Record, frozen=True, kw_only=True):
    """Fitted constants of one (GPU, framework, version, precision): never facts."""

    values: Mapping[str, float]  # by parameter of `guide.perf.fits`
    provenance: Provenance
    evidence: str
    measured_points: int
    residual: Mapping[str, float] = field(default_factory=dict[str, float])  # log half-width, 90 %
    pressed: Mapping[str, float] = field(default_factory=dict[str, float])  # where requests are
    # preempted for memory
    reach: tuple[float, float, float] | None = None  # see `FitTable.reach`; None: no row of its own
    novelties: tuple[str, ...] = ()  # what of the case nobody measured


class Catalog(Record, frozen=True, kw_only=True):
    """Facts, fits and prices, loaded and checked; ``digest`` names this very content."""

    gpus: Mapping[str, Gpu]
    models: Mapping[str, ModelArch]
    releases: tuple[Release, ...]
    prices: Mapping[str, Price]  # by GPU name: the fallback when the cluster states none
    fits: FitTable
    digest: str
    price_lists: tuple[PriceList, ...] = ()  # in this order, before `prices`
    memory: Mapping[str, tuple[MemoryRules, ...]] = field(
        default_factory=dict[str, tuple[MemoryRules, ...]]
    )  # by framework, oldest first
    node_sizes: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict[str, tuple[int, ...]]
    )  # GPUs a node, as nodes of a GPU are sold

    def __hash__(self) -> int:
        """By content, so that what follows from a catalogue can be remembered."""
        return hash(self.digest)


class FitTable(Record, frozen=True, kw_only=True):
    """Hierarchical fits: latent deviations by level and key, resolved by `guide.perf.fits`."""

    rows: Mapping[tuple[str, str], Mapping[str, float]]  # (level, key) -> parameter -> deviation
    points: Mapping[tuple[str, str], int]  # (level, key) -> measured rows behind it
    residuals: Mapping[tuple[str, str], float]  # (group, metric) -> 90 % half-width in log space
    evidence: str = ""
    notes: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    # (level, key) -> the largest load, prompt and output tokens among its rows
    reach: Mapping[tuple[str, str], tuple[float, float, float]] = field(
        default_factory=dict[tuple[str, str], tuple[float, float, float]]
    )
