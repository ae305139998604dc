"""What is asked: the model, its load, the limits and what is preferred."""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from guide.domain.disaggregation import Disaggregation
from guide.domain.model import ModelArch
from guide.domain.prefixes import Prefixes
from guide.domain.speculation import Speculation
from guide.record import Record


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


class Billing(StrEnum):
    """What is on the bill of a deployment."""

    NODES = "Nodes"  # each node that it touches, whole
    FREE_GPUS = "FreeGPUs"  # the GPUs that it uses, since the nodes are there and paid


class MixRule(StrEnum):
    """Whether replicas may run on GPUs of several types."""

    AUTO = "Auto"  # two types, and only where that pays well or where no single type will do
    ANY = "Any"
    NEVER = "Never"


class Lengths(Record, frozen=True, kw_only=True):
    """Distribution of a token count: a mean and, where known, its 95th percentile."""

    mean_tokens: float
    p95_tokens: float | None = None


class Workload(Record, frozen=True, kw_only=True):
    """Requests as they come: open loop (``requests_per_s``), closed loop (``concurrency``), or all
    at once (``offline``: a batch of so many).
    """

    prompt: Lengths
    output: Lengths
    requests_per_s: float | None = None
    concurrency: int | None = None
    offline: int | None = None
    arrival_cv: float = 1.0
    prefix_hit_share: float = 0.0  # with `prefixes`: what would be found if nothing were forgotten
    max_context_tokens: int | None = None
    max_output_tokens: int | None = None  # what clients send as max_tokens
    prefixes: Prefixes | None = None

    def as_found(self, hit_share: float | None) -> Workload:
        """The same with the hits that were simulated; of a load without prefixes nothing was."""
        return self if hit_share is None else replace(self, prefix_hit_share=hit_share)


class DayProfile(Record, frozen=True, kw_only=True):
    """Requests per second over all replicas: in the quietest moment of a day, on average, and at
    the peak, which `Workload.requests_per_s` repeats.
    """

    low_per_s: float
    mean_per_s: float
    peak_per_s: float
    recorded_per_s: tuple[float, ...] = ()  # means of equal parts of a recorded day, if it was


class Slo(Record, frozen=True, kw_only=True):
    """Limits on latency (95th percentile), on throughput and on the time of an offline batch; None
    means no limit.
    """

    ttft_p95_s: float | None = None
    tpot_p95_s: float | None = None
    e2e_p95_s: float | None = None
    min_output_tokens_per_s: float | None = None
    job_s: float | None = None


class Budget(Record, frozen=True, kw_only=True):
    """Limits on spending; None means no limit."""

    max_usd_per_h: float | None = None
    max_gpus: int | None = None
    billing: Billing = Billing.NODES


class Switches(Record, frozen=True, kw_only=True):
    """The paper's optimisations (P8): they change bytes, attended pairs and time in the operator
    table."""

    flash_attention: bool = True
    h2o_keep_share: float = 1.0  # share of the KV cache kept by heavy-hitter eviction


class Plan(Record, frozen=True, kw_only=True):
    """One question to the engine: the domain form of ``InferencePlan.spec``."""

    model: ModelArch
    workload: Workload
    slo: Slo = Slo()
    budget: Budget = Budget()
    preference: Preference = Preference.COST
    tolerance: Tolerance = Tolerance.LOSSLESS
    frameworks: tuple[str, ...] = ()  # empty: those that are compared by default
    switches: Switches = Switches()
    gpus: tuple[str, ...] = ()  # placement: catalogue names allowed; empty = all
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[tuple[tuple[str, str], ...], ...] = ()  # fields of each, as in a pod
    images: tuple[tuple[str, str], ...] = ()  # framework, image: those that the plan names
    mix: MixRule = MixRule.AUTO
    unready: tuple[str, ...] = ()  # frameworks without an image to run: ranked behind all others
    day: DayProfile | None = None
    min_replicas: int = 1  # over all groups: fewer are not considered
    over_nodes: bool = False  # a replica may span nodes; a pipeline stage never does
    speculation: Speculation | None = None
    disaggregation: Disaggregation | None = None  # compare two pools
