"""What each inference framework tells GUIDE: what it cannot run, its defaults, its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from guide.answer import Limits, ReplicaGroup
from guide.domain import Gpu, ModelArch, Precision, Reason, Release, Slo
from guide.units import GIB

HUGGING_FACE_HOME = "/root/.cache/huggingface"
PORT = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentOptions:
    """Choices of the user that change how a replica is started, but not how fast it is."""

    served_name: str  # the model name that clients send
    image: str | None = None
    image_fastgen: str | None = None
    model_cache_claim: str | None = None
    token_secret: tuple[str, str] | None = None  # name, key
    extra_args: tuple[str, ...] = ()
    slo: Slo = field(default_factory=Slo)  # histogram buckets have a boundary at each limit


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """An environment variable: a literal `value`, or one key of a Secret."""

    name: str
    value: str | None = None
    secret: tuple[str, str] | None = None  # name, key


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How one replica starts: an argv, never a shell line."""

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[EnvVar, ...]
    port: int
    health_path: str
    metrics_path: str | None  # None: the framework exports no metrics
    shm_bytes: int
    files: tuple[tuple[str, str], ...] = ()  # absolute path in the container, text


class Framework(Protocol):
    """One inference framework; stateless, so that every method is a function of its arguments."""

    name: str

    def unsupported(
        self, gpu: Gpu, model: ModelArch, precision: Precision, pp: int
    ) -> tuple[Reason, str] | None:
        """Why this combination cannot run, as a reason and a sentence; None when it can."""
        ...

    def default_limits(self, release: Release, gpu: Gpu, max_model_len: int) -> Limits:
        """The operating point that `release` takes on `gpu` when no flag says otherwise."""
        ...

    def launch(self, group: ReplicaGroup, options: DeploymentOptions) -> Launch:
        """How one replica of `group` starts, with every flag of its operating point written out.

        Raises `SpecError` when an image is needed and none is known.
        """
        ...


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


def hugging_face_env(options: DeploymentOptions) -> tuple[EnvVar, ...]:
    """The token for gated models, when the plan names a Secret."""
    if options.token_secret is None:
        return ()
    return (EnvVar(name="HF_TOKEN", secret=options.token_secret),)


def shared_memory_bytes(gpus: int) -> int:
    """Size of /dev/shm: NCCL and worker queues between the GPU processes of one replica."""
    return int(2 * GIB * max(1, gpus))
