"""vLLM: the flags of ``vllm serve`` (0.33.0) that hold an operating point, and its limits."""

from __future__ import annotations

import json
import math

from msgspec.structs import replace

from guide.domain import (
    SIXTEEN_BIT,
    Gpu,
    Limits,
    ModelArch,
    Precision,
    Reason,
    Release,
    ReplicaGroup,
    Slo,
    SpeculationMethod,
)
from guide.errors import SpecError
from guide.frameworks import vllm_bench
from guide.frameworks.base import (
    PORT,
    Bench,
    BenchLoad,
    DeploymentOptions,
    Framework,
    Launch,
    below,
    hugging_face_env,
    shared_memory_bytes,
    slo_buckets,
    tier_limits,
)
from guide.frameworks.launches import flags_of
from guide.frameworks.speculation import vllm_config
from guide.frameworks.vllm_flags import (
    BATCH_FLAGS,
    BUCKETS,
    FLAGS,
    NEWEST,
    SPECULATION,
    image_version,
    missing,
)
from guide.frameworks.vllm_starts import brings_code, refusal

# Flags that a plan may add: none of them moves the predicted operating point.
EXTRA_ARG_FLAGS = frozenset(
    {
        "--chat-template",
        "--disable-uvicorn-access-log",
        "--enable-auto-tool-choice",
        "--enable-log-requests",
        "--generation-config",
        "--hf-overrides",
        "--limit-mm-per-prompt",
        "--load-format",
        "--override-generation-config",
        "--reasoning-parser",
        "--revision",
        "--root-path",
        "--seed",
        "--tokenizer",
        "--tokenizer-mode",
        "--tool-call-parser",
        "--trust-remote-code",
        "--uvicorn-log-level",
    }
)

# Formats that only the CUDA and ROCm kernels read, by vendor.
_PRECISIONS_BY_VENDOR: dict[str, frozenset[str]] = {
    "nvidia": frozenset({"fp16", "bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4"}),
    "amd": frozenset({"fp16", "bf16", "fp8", "int4", "mxfp4"}),
    "intel": frozenset({"fp16", "bf16", "fp8", "int4"}),
}
_MASTER_PORT = 29501


class Vllm(Framework):
    """vLLM, served by its OpenAI-compatible server."""

    name = "vLLM"
    image_vendors = frozenset({"nvidia", "amd"})
    image_field = "image"
    image_about = "Image of vLLM. Absent: the version that was modelled."
    formats = frozenset({"helm-values", "inferencepool", "leaderworkerset", "llminferenceservice"})
    kv_cache_dtypes = frozenset({"auto", "fp8"})
    expert_parallel = True
    extra_flags = EXTRA_ARG_FLAGS
    speculation = frozenset(SpeculationMethod)
    hands_over_cache = True

    def unsupported(
        self, gpu: Gpu, model: ModelArch, precision: Precision, pp: int
    ) -> tuple[Reason, str] | None:
        """Why vLLM cannot run this; it serves every architecture that GUIDE can read."""
        del model, pp
        if precision.name not in _PRECISIONS_BY_VENDOR.get(gpu.vendor, frozenset()):
            return (
                Reason.UNSUPPORTED_PRECISION,
                f"vLLM has no {precision.name} kernels for {gpu.vendor.upper()} GPUs such as "
                f"{gpu.name}",
            )
        if precision.name == "fp8" and gpu.fp8_flop_per_s is None and gpu.vendor != "nvidia":
            return (
                Reason.UNSUPPORTED_PRECISION,
                f"{gpu.name} multiplies no FP8, and vLLM's kernels that unpack it (Marlin) are for "
                "NVIDIA GPUs",
            )
        return None

    def cannot_start(
        self, gpu: Gpu, model: ModelArch, precision: Precision, version: str, image: str | None
    ) -> tuple[Reason, str] | None:
        """By what vLLM checks once it knows the GPU and the checkpoint."""
        tagged = None if image is None else image_version(image)
        runs = tagged or tuple(int(part) for part in version.split("."))
        return refusal(gpu, model, precision, runs, image is None or _official(image))

    def brings_code(self, model: ModelArch) -> bool:
        """--trust-remote-code, which this then writes."""
        return brings_code(model)

    def default_limits(self, release: Release, gpu: Gpu, max_model_len: int) -> Limits:
        """vLLM's API-server defaults for a GPU of this size."""
        return tier_limits(release, gpu, max_model_len)

    def launch(self, group: ReplicaGroup, options: DeploymentOptions) -> Launch:
        """``vllm serve`` with the whole operating point in its arguments.

        Raises `SpecError` for an image whose version lacks one of the flags: its server would
        exit.
        """
        image = options.images.get(self.name) or default_image(group)
        args = (
            group.model.name,
            "--host=0.0.0.0",
            f"--port={options.port or PORT}",
            *_operating_point(group, options.served_name),
            *options.extra_args,
        )
        _check_flags(image, args, options.extra_args)
        args = (*args, *_buckets(image, options.slo))
        return _launch("serve", image, args, group, options, health_path="/health")

    def batch_launch(
        self, group: ReplicaGroup, options: DeploymentOptions, requests: str, answers: str
    ) -> Launch:
        """``vllm run-batch`` at the same operating point; its metrics are on the port of a server.

        Raises `SpecError` for an image whose version lacks it, and for flags of the HTTP server.
        """
        image = options.images.get(self.name) or default_image(group)
        args = (
            f"--model={group.model.name}",
            f"--input-file={requests}",
            f"--output-file={answers}",
            "--enable-metrics",
            f"--port={PORT}",
            *_operating_point(group, options.served_name),
            *options.extra_args,
        )
        _check_batch_flags(image, args)
        return _launch("run-batch", image, args, group, options, health_path=None)

    def bench(self, group: ReplicaGroup, options: DeploymentOptions, load: BenchLoad) -> Bench:
        """``vllm bench serve`` (benchmarks/serve.py, 0.33): asks any server of OpenAI's API."""
        if group.framework != self.name:
            group = replace(group, version=".".join(map(str, NEWEST)))
        return Bench(
            options.images.get(self.name) or default_image(group),
            vllm_bench.COMMAND,
            vllm_bench.arguments(group.model.name, load),
        )

    def on_node(self, image: str, nodes: int, leader: bool) -> tuple[str, ...]:
        """Without Ray; workers serve nobody."""
        version = image_version(image)
        if version is not None and version < FLAGS["--nnodes"]:
            since = ".".join(map(str, FLAGS["--nnodes"]))
            raise SpecError(
                f"spec.deployment.image: {image} cannot span nodes without Ray; --nnodes is known "
                f"since vLLM {since}: name a newer image",
                field="spec.deployment.image",
            )
        rank = "0" if leader else "$(LWS_WORKER_INDEX)"
        return (
            "--distributed-executor-backend=mp",
            f"--nnodes={nodes}",
            f"--node-rank={rank}",
            "--master-addr=$(LWS_LEADER_ADDRESS)",
            f"--master-port={_MASTER_PORT}",
            *(() if leader else ("--headless",)),
        )

    def image_version(self, image: str) -> tuple[int, ...] | None:
        """The vLLM version in the tag of an image."""
        return image_version(image)


def _launch(
    command: str,
    image: str,
    args: tuple[str, ...],
    group: ReplicaGroup,
    options: DeploymentOptions,
    *,
    health_path: str | None,
) -> Launch:
    return Launch(
        image=image,
        command=("vllm", command),
        args=args,
        env=hugging_face_env(options),
        port=options.port or PORT,
        health_path=health_path,
        metrics_path="/metrics",
        shm_bytes=shared_memory_bytes(group.gpus_per_replica),
    )


def _official(image: str) -> bool:
    """An image that the project publishes, on the CUDA of its release."""
    return image.removeprefix("docker.io/").startswith("vllm/vllm-openai:") and "-cu12" not in image


def default_image(group: ReplicaGroup) -> str:
    """The official image of the modelled version; AMD and Intel have their own or none."""
    vendor = group.gpu.vendor
    if vendor == "nvidia":
        return f"vllm/vllm-openai:v{group.version}"
    if vendor == "amd":
        return f"vllm/vllm-openai-rocm:v{group.version}"
    raise SpecError(
        f"spec.deployment.image is needed for {group.gpu.name}: vLLM publishes no image for "
        f"{vendor} GPUs",
        field="spec.deployment.image",
    )


def _utilization(group: ReplicaGroup) -> str:
    """Share of the memory that the process sees, which on a time-shared GPU is not all its own."""
    gpu, share = group.gpu, group.limits.gpu_memory_utilization
    if gpu.seen_bytes is None:
        return f"{share:.2f}"
    return f"{math.floor(1000 * share * gpu.hbm_bytes / gpu.seen_bytes) / 1000:.3f}"


def _operating_point(group: ReplicaGroup, served_name: str) -> tuple[str, ...]:
    limits = group.limits
    args = [
        f"--served-model-name={served_name}",
        f"--tensor-parallel-size={group.tp}",
        f"--pipeline-parallel-size={group.pp}",
        f"--gpu-memory-utilization={_utilization(group)}",
        f"--max-num-seqs={limits.max_num_seqs}",
        f"--max-num-batched-tokens={limits.max_num_batched_tokens}",
        f"--max-model-len={limits.max_model_len}",
        f"--kv-cache-dtype={limits.kv_cache_dtype}",
    ]
    if group.attention_dp > 1:  # one server, which balances its ranks
        args.append(f"--data-parallel-size={group.attention_dp}")
    if group.ep > 1:  # over TP x DP ranks
        args.append("--enable-expert-parallel")
    if below(group.gpu, 8):
        args.append("--dtype=half")
    if brings_code(group.model):
        args.append("--trust-remote-code")
    if group.precision.name == "fp8" and group.model.precision in SIXTEEN_BIT:
        args.append("--quantization=fp8")  # quantised online, while the weights are loaded
    if group.speculation is not None:
        args.append(f"{SPECULATION}={vllm_config(group.speculation)}")
    return tuple(args)


def _check_flags(image: str, args: tuple[str, ...], extra: tuple[str, ...]) -> None:
    strange = sorted(flags_of(extra) - EXTRA_ARG_FLAGS)
    if strange:
        raise SpecError(
            f"spec.deployment.extraArgs: {strange[0]} is no flag that may be added to vLLM: remove "
            "it, or leave vLLM out of spec.frameworks",
            field="spec.deployment.extraArgs",
        )
    version = image_version(image)
    lacks = missing(args, version) if version else []
    if lacks:
        since = ".".join(map(str, FLAGS[lacks[0]]))
        raise SpecError(
            f"spec.deployment.image: {image} has no flag {lacks[0]}, known since vLLM {since}, and "
            "its server would exit: name a newer image, or drop the flag from "
            "spec.deployment.extraArgs",
            field="spec.deployment.image",
        )


def _check_batch_flags(image: str, args: tuple[str, ...]) -> None:
    """Where the tag tells no version, by the newest that was read."""
    lacks = missing(args, image_version(image) or NEWEST, BATCH_FLAGS)
    if not lacks:
        return
    since = BATCH_FLAGS.get(lacks[0])
    if since is None:
        raise SpecError(
            f"spec.deployment.extraArgs: {lacks[0]} is a flag of vllm serve, which vllm run-batch "
            "does not know and would end: remove it, or state a load that arrives over time "
            "instead of spec.workload.offline",
            field="spec.deployment.extraArgs",
        )
    raise SpecError(
        f"spec.deployment.image: vllm run-batch of {image} has no flag {lacks[0]}, known since "
        f"vLLM {'.'.join(map(str, since))}, and would end: name a newer image",
        field="spec.deployment.image",
    )


def _buckets(image: str, slo: Slo) -> tuple[str, ...]:
    """Histograms with a boundary at each limit; the defaults begin at 10 ms and 0.3 s."""
    version = image_version(image)
    if version is None or version < FLAGS[BUCKETS]:
        return ()
    bounds = slo_buckets(slo)
    return (f"{BUCKETS}={json.dumps(bounds, separators=(',', ':'))}",) if bounds else ()
