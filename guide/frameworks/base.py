"""What each inference framework tells GUIDE: what it cannot run, its defaults, its start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from msgspec import field

from guide.domain import (
    Gpu,
    Limits,
    ModelArch,
    Precision,
    Reason,
    Release,
    ReplicaGroup,
    Slo,
    SpeculationMethod,
    Switches,
)
from guide.errors import SpecError
from guide.frameworks.metrics import USUAL, MetricNames
from guide.record import Record
from guide.units import GIB

HUGGING_FACE_HOME = "/models"  # not below /root, which only root may enter
PORT = 8000
BATCH_FOLDER = "/batch"  # where a batch finds its requests and leaves its answers


class DeploymentOptions(Record, frozen=True, kw_only=True):
    """Choices of the user that change how a replica is started, but not how fast it is."""

    served_name: str  # the model name that clients send
    images: Mapping[str, str] = field(default_factory=dict[str, str])  # of the user, by framework
    token_secret: tuple[str, str] | None = None  # name, key
    extra_args: tuple[str, ...] = ()
    port: int | None = None  # where a format looks for servers; None: the framework's own
    slo: Slo = field(default_factory=Slo)  # histogram buckets have a boundary at each limit


class EnvVar(Record, frozen=True, kw_only=True):
    """An environment variable: a literal `value`, or one key of a Secret."""

    name: str
    value: str | None = None
    secret: tuple[str, str] | None = None  # name, key


class Proxy(Record, frozen=True, kw_only=True):
    """A container through which the requests to the server go, in the image of the server."""

    command: tuple[str, ...]
    server_port: int  # where the server listens behind it


class Probe(Record, frozen=True):
    """A question to a server that is up."""

    path: str
    timeout_s: int = 5
    period_s: int = 10
    failures: int = 3


class Launch(Record, frozen=True, kw_only=True):
    """How one replica starts: an argv, never a shell line."""

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[EnvVar, ...]
    port: int  # of clients
    health_path: str | None  # None: it works through a batch and serves nobody
    metrics_path: str | None  # None: the framework exports no metrics
    shm_bytes: int
    files: tuple[tuple[str, str], ...] = ()  # absolute path in the container, text
    proxy: Proxy | None = None  # it then has `port` and `metrics_path`
    readiness: Probe | None = None  # None: by `health_path`
    liveness: Probe | None = None
    startup_timeout_s: int = 5


class BenchLoad(Record, frozen=True, kw_only=True):
    """What a benchmark sends to a server; lengths in tokens, the same for every request."""

    url: str
    served_name: str
    prompt_tokens: int
    prefix_tokens: int  # of the prompt, common to all of a group
    output_tokens: int
    requests: int
    requests_per_s: float | None  # None: a closed loop ...
    concurrency: int | None  # ... of so many users
    arrival_cv: float = 1.0
    groups: int = 1  # of prompts that begin alike, each as often as the others


class Bench(Record, frozen=True):
    """A program that sends such a load and prints the result as its last line."""

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]


class Framework(ABC):
    """One inference framework; stateless, so that every method is a function of its arguments."""

    name: str
    image_field: str  # of spec.deployment: where a plan names an image of its own
    image_about: str  # what that field is, in a sentence
    # whose GPUs an official image serves; for others it comes last unless a plan names an image
    image_vendors: frozenset[str] = frozenset({"nvidia"})
    formats: frozenset[str] = frozenset()  # that can hold it, beside plain Deployments
    expert_parallel: bool = False  # deals experts out whole, beside data-parallel attention
    serves_alias: bool = True  # clients ask for the plan's model, whatever checkpoint is served
    kv_cache_dtypes: frozenset[str] = frozenset({"auto"})
    extra_flags: frozenset[str] = frozenset()  # that a plan may add: none moves the prediction
    metrics: MetricNames = USUAL
    # Services of these names set variables that end its servers in the same namespace
    service_names: frozenset[str] = frozenset()
    router: str | None = None  # what keeps prefix hits where a Service deals requests out
    caveat: str | None = None  # said wherever it is recommended
    speculation: frozenset[SpeculationMethod] = frozenset()  # what may draft tokens
    hands_over_cache: bool = False  # from servers that prefill to servers that decode

    @abstractmethod
    def unsupported(
        self, gpu: Gpu, model: ModelArch, precision: Precision, pp: int
    ) -> tuple[Reason, str] | None:
        """Why this combination cannot run, as a reason and a sentence; None when it can."""

    def cannot_start(
        self, gpu: Gpu, model: ModelArch, precision: Precision, version: str, image: str | None
    ) -> tuple[Reason, str] | None:
        """Why a server of `version`, or of the `image` that a plan names, ends at its start."""
        del gpu, model, precision, version, image
        return None

    @abstractmethod
    def default_limits(self, release: Release, gpu: Gpu, max_model_len: int) -> Limits:
        """The operating point that `release` takes on `gpu` when no flag says otherwise."""

    def limits_of(
        self, release: Release, gpu: Gpu, model: ModelArch, tp: int, pp: int, max_model_len: int
    ) -> Limits:
        """The same for a layout, where it depends on that."""
        del model, tp, pp
        return self.default_limits(release, gpu, max_model_len)

    def brings_code(self, model: ModelArch) -> bool:
        """Whether a server loads this checkpoint only with Python code that comes with it."""
        del model
        return False

    def mixes_chunks(self, model: ModelArch, pp: int) -> bool:
        """Whether a flag, off by default, runs decodes in the steps of prompts."""
        del model, pp
        return False

    @abstractmethod
    def launch(self, group: ReplicaGroup, options: DeploymentOptions) -> Launch:
        """How one replica of `group` starts, with every flag of its operating point written out.

        Raises `SpecError` when an image is needed and none is known.
        """

    def batch_launch(
        self, group: ReplicaGroup, options: DeploymentOptions, requests: str, answers: str
    ) -> Launch:
        """How one replica of `group` answers the file `requests` into the file `answers` and ends.

        Raises `SpecError` where the framework has no program for that, or as `launch` does.
        """
        del group, options, requests, answers
        raise SpecError(
            f"spec.workload.offline: {self.name} has no program that answers a file of requests "
            "and ends: leave it out of spec.frameworks",
            field="spec.frameworks",
        )

    def bench(
        self, group: ReplicaGroup, options: DeploymentOptions, load: BenchLoad
    ) -> Bench | None:
        """The framework's own benchmark of a server; None where it has none."""
        del group, options, load
        return None

    def on_node(self, image: str, nodes: int, leader: bool) -> tuple[str, ...]:
        """More arguments of a pod of a replica over `nodes` nodes, in a LeaderWorkerSet, whose
        controller sets the rank and the address of the leader in the environment.

        Raises `SpecError` where the framework, or the version of the image, cannot do that.
        """
        del image, leader
        raise SpecError(
            f"{self.name} runs on one node: a replica over {nodes} nodes needs another framework",
            field="spec.frameworks",
        )

    def what_if(self, switches: Switches) -> str | None:
        """Why no server of this framework runs with `switches`; None where one does."""
        if switches.h2o_keep_share < 1:
            return (
                f"spec.optimizations.h2oKeepPercent is {100 * switches.h2o_keep_share:g}, and "
                f"{self.name} has no H2O: no server holds what this answer counts on, so it is a "
                "what-if and cannot be deployed; state 100 to deploy"
            )
        if not switches.flash_attention:
            return (
                f"spec.optimizations.flashAttention is false, and {self.name} has no switch for "
                "it: this answer is a what-if and cannot be deployed; state true to deploy"
            )
        return None

    def image_version(self, image: str) -> tuple[int, ...] | None:
        """The version in the tag of an image; None where the tag does not say it."""
        del image
        return None


def tier_limits(release: Release, gpu: Gpu, max_model_len: int) -> Limits:
    """Defaults of `release` on `gpu`: the largest tier that it reaches and may enter."""
    tiers = sorted(release.tiers, key=lambda tier: -tier.min_hbm_bytes)
    name = gpu.name.lower()
    for tier in tiers:
        excluded = any(name.startswith(prefix.lower()) for prefix in tier.not_gpus)
        if gpu.hbm_bytes >= tier.min_hbm_bytes and not excluded:
            break
    else:
        raise ValueError(f"{release.framework} {release.version} has no tier for {gpu.name}")
    return Limits(
        max_num_seqs=tier.max_num_seqs,
        max_num_batched_tokens=tier.max_num_batched_tokens,
        gpu_memory_utilization=release.gpu_memory_utilization,
        max_model_len=max_model_len,
    )


def below(gpu: Gpu, major: int, minor: int = 0) -> bool:
    """Whether `gpu` is an NVIDIA GPU of a lower compute capability."""
    return gpu.compute_capability is not None and gpu.compute_capability < (major, minor)


def capability(gpu: Gpu) -> str:
    """Compute capability as people write it: 8.0."""
    return ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else "none"


def tokenizer_is_code(model: ModelArch) -> bool:
    """Whether the tokenizer of a checkpoint is Python code that stands beside its weights."""
    return model.name.lower().startswith(("moonshotai/", "thudm/chatglm", "thudm/glm-4-9b"))


def hugging_face_env(options: DeploymentOptions) -> tuple[EnvVar, ...]:
    """The token for gated models, when the plan names a Secret."""
    if options.token_secret is None:
        return ()
    return (EnvVar(name="HF_TOKEN", secret=options.token_secret),)


def shared_memory_bytes(gpus: int) -> int:
    """Size of /dev/shm: NCCL and worker queues between the GPU processes of one replica."""
    return int(2 * GIB * max(1, gpus))


# Upper bounds of vLLM 0.33's histograms, in seconds, by their name in --custom-histogram-buckets.
DEFAULT_BUCKETS: dict[str, tuple[float, ...]] = {
    "inter_token_latency": (
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20),
        *(40, 80),
    ),
    "request_latency": (
        *(0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920),
        *(7680,),
    ),
    "time_to_first_token": (
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
        *(20, 40, 80, 160, 640, 2560),
    ),
}
# Fine around the limit, so that the share of requests within it can be read off, coarse elsewhere.
_LIMIT_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 5.0)


def slo_buckets(slo: Slo) -> dict[str, tuple[float, ...]]:
    """Bounds with one at each limit of `slo`, for the histograms that it limits."""
    limits = {
        "inter_token_latency": slo.tpot_p95_s,
        "request_latency": slo.e2e_p95_s,
        "time_to_first_token": slo.ttft_p95_s,
    }
    return {
        family: tuple(float(f"{limit * share:.6g}") for share in _LIMIT_SHARES)
        for family, limit in limits.items()
        if limit is not None
    }
