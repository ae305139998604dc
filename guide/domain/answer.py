"""What the engine works out and returns: candidates, their evaluation, rejections, the answer."""

from __future__ import annotations

import math
from enum import StrEnum

from guide.domain.asked import Switches
from guide.domain.beside import BatchPoint, ContextTier
from guide.domain.cache import CachePool
from guide.domain.cluster import Gpu, GpuPool, Inventory
from guide.domain.disaggregation import DisaggregationAdvice
from guide.domain.facts import Provenance
from guide.domain.layout import LayoutKey
from guide.domain.model import ModelArch, Precision
from guide.domain.offers import Addition, Relaxation
from guide.domain.prefixes import PrefixAdvice
from guide.domain.scaling import Scaling
from guide.domain.speculation import Speculation, SpeculationAdvice
from guide.record import Record

SHARE_TOLERANCE = 1e-6  # shares that differ by less are equal


class Reason(StrEnum):
    """Why a candidate lost: a closed list, part of the API."""

    DOES_NOT_FIT = "DoesNotFit"
    HEADS_NOT_DIVISIBLE = "HeadsNotDivisible"
    QUANT_GROUP_NOT_DIVISIBLE = "QuantGroupNotDivisible"
    SPANS_NODES = "SpansNodes"
    NOT_ENOUGH_GPUS = "NotEnoughGPUs"
    COMPUTE_CAPABILITY = "ComputeCapability"
    DRIVER_TOO_OLD = "DriverTooOld"
    UNSUPPORTED_MODEL = "UnsupportedModel"
    UNSUPPORTED_PRECISION = "UnsupportedPrecision"
    SHARED_GPU = "SharedGPU"
    UNKNOWN_GPU = "UnknownGPU"
    OVER_BUDGET = "OverBudget"
    TOO_FEW_REPLICAS = "TooFewReplicas"
    MISSES_TTFT = "MissesTTFT"
    MISSES_TPOT = "MissesTPOT"
    MISSES_E2E = "MissesE2E"
    MISSES_THROUGHPUT = "MissesThroughput"
    MISSES_DEADLINE = "MissesDeadline"
    UNSTABLE = "Unstable"
    DOMINATED = "Dominated"


class Limits(Record, frozen=True, kw_only=True):
    """The operating point of one replica: the prediction holds where the manifest does."""

    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    max_model_len: int
    kv_cache_dtype: str = "auto"
    mixed_chunk: bool = False  # decodes run in steps of prompts (--enable-mixed-chunk)


class ReplicaGroup(Record, frozen=True, kw_only=True):
    """Identical replicas on one pool, one Deployment; a homogeneous plan has one group."""

    pool: GpuPool
    framework: str
    version: str
    model: ModelArch  # the checkpoint really served
    precision: Precision
    tp: int
    pp: int
    replicas: int
    limits: Limits
    load_share: float = 1.0  # of the plan's requests, over all replicas of the group
    switches: Switches = Switches()
    ep: int = 1  # GPUs over which whole experts are dealt out; 1: each GPU has a slice of all
    attention_dp: int = 1  # groups of `tp` GPUs in a replica that attend to requests of their own
    speculation: Speculation | None = None

    @property
    def key(self) -> LayoutKey:
        """Which replica it repeats."""
        return LayoutKey(
            pool=self.pool.name,
            framework=self.framework,
            checkpoint=self.model.name,
            precision=self.precision.name,
            kv_cache_dtype=self.limits.kv_cache_dtype,
            tp=self.tp,
            pp=self.pp,
            ep=self.ep,
            attention_dp=self.attention_dp,
        )

    @property
    def gpus(self) -> int:
        """GPUs over all replicas."""
        return self.gpus_per_replica * self.replicas

    @property
    def gpus_per_replica(self) -> int:
        """GPUs of one replica."""
        return self.tp * self.pp * self.attention_dp

    @property
    def most_sequences(self) -> int:
        """Sequences of one replica: each attention rank takes so many."""
        return self.limits.max_num_seqs * self.attention_dp

    @property
    def most_tokens(self) -> int:
        """Tokens of a step of all attention ranks, or of a round of all stages, of one replica."""
        return self.limits.max_num_batched_tokens * self.attention_dp * self.pp

    @property
    def gpu(self) -> Gpu:
        """The pool's GPU; groups are only made on pools of known GPUs."""
        if self.pool.gpu is None:
            raise ValueError(f"pool {self.pool.name} has no known GPU")
        return self.pool.gpu


class Candidate(Record, frozen=True, kw_only=True):
    """One deployment that could answer the plan: DP x TP x PP on one pool, or a mix of pools."""

    groups: tuple[ReplicaGroup, ...]

    @property
    def gpus(self) -> int:
        """GPUs over all groups."""
        return sum(group.gpus for group in self.groups)

    @property
    def equal_shares(self) -> bool:
        """Whether every replica gets the same share, so that one Service splits the load."""
        shares = [group.load_share / group.replicas for group in self.groups]
        return max(shares) - min(shares) <= SHARE_TOLERANCE


class MemoryFit(Record, frozen=True, kw_only=True):
    """Where the memory of one GPU goes, and how many tokens the KV cache of one attention rank
    holds, on which a request lives; a replica has `attention_ranks` of them."""

    hbm_bytes: float
    weight_bytes: float  # per GPU
    activation_bytes: float
    reserved_bytes: float  # context, NCCL, CUDA graphs, utilisation headroom
    kv_bytes_per_token: float  # per GPU
    kv_capacity_tokens: int  # of an attention rank, in whole blocks
    block_tokens: int
    pool: CachePool | None = None  # None: every layer keeps every token
    attention_ranks: int = 1
    outside_bytes: float = 0.0  # what is not subtracted, and must fit into ...
    outside_room_bytes: float = 0.0  # ... so much
    max_sequences: int | None = None  # state slots over what a request takes of them

    @property
    def spare_bytes(self) -> float:
        """What is left of one GPU for the KV cache, below zero where the rest takes too much."""
        return self.hbm_bytes - self.weight_bytes - self.activation_bytes - self.reserved_bytes

    @property
    def kv_bytes(self) -> float:
        """Bytes left for the KV cache on one GPU (never negative)."""
        return max(0.0, self.spare_bytes)

    def longest_request(self, most: int) -> int:
        """The most tokens, up to `most`, that one request can have."""
        if self.pool is None:
            return min(most, self.kv_capacity_tokens)
        return self.pool.longest_request(most)

    def concurrency(self, tokens: int) -> float:
        """Requests of `tokens` that the cache takes at once, as vLLM logs it for the longest."""
        if self.pool is not None:
            return self.pool.concurrency(tokens)
        return self.kv_capacity_tokens // self.block_tokens / math.ceil(tokens / self.block_tokens)

    @property
    def replica_kv_tokens(self) -> int:
        """Tokens that the caches of all attention ranks hold."""
        return self.kv_capacity_tokens * self.attention_ranks

    def held_tokens(self, request_tokens: float) -> float:
        """Tokens that requests of this length hold between them in a full cache of the replica."""
        if self.pool is None:
            return self.replica_kv_tokens
        tokens = math.ceil(request_tokens)
        held = self.pool.blocks / self.pool.held_blocks(tokens) * tokens
        return held * self.attention_ranks


class Percentiles(Record, frozen=True, kw_only=True):
    """Percentiles and mean of one latency over the simulated requests, in seconds."""

    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float


class Interval(Record, frozen=True, kw_only=True):
    """A 90 % interval, in the unit of the value beside it."""

    lower: float
    upper: float


class ServingReport(Record, frozen=True, kw_only=True):
    """What one replica did under its share of the load."""

    ttft: Percentiles
    tpot: Percentiles
    e2e: Percentiles
    queue: Percentiles
    requests_per_s: float
    output_tokens_per_s: float
    kv_peak_share: float
    batch_mean: float
    preemptions: int
    stable: bool
    seed: int
    noise: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the p95 of TTFT, TPOT, end-to-end
    ttft_steepness: float = 1.0  # % by which p95 of TTFT grows where capacity is 1 % less
    job_s: float | None = None  # of an offline batch: until its last answer
    hit_share: float | None = None  # of prompt tokens, where prefixes are simulated
    full_per_s: float | None = None  # requests/s while more than enough wait, where simulated so


class Predicted(Record, frozen=True, kw_only=True):
    """Predicted service of the whole deployment; each latency interval is that of its p95."""

    ttft: Percentiles
    tpot: Percentiles
    e2e: Percentiles
    ttft_interval: Interval
    tpot_interval: Interval
    e2e_interval: Interval
    output_tokens_per_s: float
    output_tokens_interval: Interval
    requests_per_s: float
    requests_interval: Interval


class Job(Record, frozen=True, kw_only=True):
    """An offline batch, from its start to its last answer."""

    seconds: float
    interval: Interval
    usd: float | None  # the whole bill


class GroupEvaluation(Record, frozen=True, kw_only=True):
    """One group of a candidate: memory, simulated replica, capacity."""

    group: ReplicaGroup
    memory: MemoryFit
    report: ServingReport
    max_concurrent_requests: int
    max_requests_per_s: float  # one replica at saturation
    bound: str  # compute | memory | network | overhead: what a typical step waits for
    provenance: Provenance
    peak_prefill_tokens_per_s: float | None = None  # of one replica: what routers calibrate with
    peak_prefill_interval: Interval | None = None


class Evaluation(Record, frozen=True, kw_only=True):
    """A candidate that was simulated; ``usd_*`` are None where a pool has no price."""

    groups: tuple[GroupEvaluation, ...]
    predicted: Predicted
    gpus: int
    gpus_billed: int
    usd_per_h: float | None
    usd_per_million_output_tokens: float | None
    usd_per_million_tokens: float | None  # of prompts and outputs together
    provenance: Provenance
    job: Job | None = None  # where the load is an offline batch
    headroom: float | None = None  # load that limits still hold on top, where it was worked out

    @property
    def candidate(self) -> Candidate:
        """The candidate behind this evaluation."""
        return Candidate(groups=tuple(g.group for g in self.groups))


class Rival(Record, frozen=True, kw_only=True):
    """The best deployment of another framework beside the best of all, both of one pool."""

    evaluation: Evaluation
    decode_step_s: float  # of its mean batch
    same_batch_step_s: float  # of the mean batch of the best
    best_step_s: float  # the same under the best


class Rejection(Record, frozen=True, kw_only=True):
    """A candidate that lost; ``margin``: relative distance to the limit (0.77 = 77 % over)."""

    candidate: Candidate | None  # None: a whole pool was refused (UnknownGPU)
    reason: Reason
    detail: str
    margin: float
    pool: str


class Recommendation(Record, frozen=True, kw_only=True):
    """The answer: every candidate is in exactly one of best, alternatives, rejections."""

    best: Evaluation | None
    alternatives: tuple[Evaluation, ...]
    highest_throughput: Evaluation | None
    lowest_latency: Evaluation | None
    pareto: tuple[Evaluation, ...]
    rejections: tuple[Rejection, ...]
    relaxations: tuple[Relaxation, ...]
    candidates: int
    inventory: Inventory
    catalog_digest: str
    framework_versions: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    seed: int = 0
    combined: tuple[Relaxation, ...] = ()  # all of these together, when no single one suffices
    context_tiers: tuple[ContextTier, ...] = ()  # by GPUs of a replica
    batch_curve: tuple[BatchPoint, ...] = ()  # of the best, by size
    additions: tuple[Addition, ...] = ()  # any one of them, when there is no answer
    rivals: tuple[Rival, ...] = ()  # of the other frameworks that were compared
    scaling: Scaling | None = None  # where the plan states its day
    speculation: SpeculationAdvice | None = None  # where the best speculates
    prefixes: PrefixAdvice | None = None  # where the plan states them
    disaggregation: DisaggregationAdvice | None = None  # where the plan asks for it
    unready: tuple[str, ...] = ()  # frameworks that were compared and lack an image to run

    @property
    def feasible(self) -> bool:
        """Whether any candidate holds every limit."""
        return self.best is not None
