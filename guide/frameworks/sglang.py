"""SGLang: ``python3 -m sglang.launch_server`` with its whole operating point, and its probes."""

from __future__ import annotations

import math

from guide.domain import (
    SIXTEEN_BIT,
    AttentionKind,
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
from guide.frameworks import sglang_bench, sglang_rules
from guide.frameworks.base import (
    Bench,
    BenchLoad,
    DeploymentOptions,
    Framework,
    Launch,
    Probe,
    below,
    hugging_face_env,
    shared_memory_bytes,
    slo_buckets,
    tier_limits,
)
from guide.frameworks.launches import flags_of
from guide.frameworks.sglang_defaults import (
    MAX_RUNNING,
    chunk_tokens,
    graph_batch,
    memory_fraction,
    prefill_tokens,
)
from guide.frameworks.sglang_flags import (
    BUCKETS,
    DECODE_GRAPH,
    EXTRA,
    FLAGS,
    GRAPH,
    has,
    image_version,
    wrong,
)
from guide.frameworks.sglang_metrics import NAMES
from guide.frameworks.speculation import sglang_args

PORT = 30000
_RENDEZVOUS_PORT = 20102
_READY = (0, 5, 20)  # /ready, which generates nothing
_GENERATES_S = 25  # /health generates a token: it waits a second, then up to 20


class Sglang(Framework):
    """SGLang behind its OpenAI-compatible server."""

    name = "SGLang"
    image_field = "imageSGLang"
    image_about = "Image of SGLang. Absent: the version that was modelled."
    formats = frozenset({"inferencepool", "leaderworkerset", "llminferenceservice"})
    kv_cache_dtypes = frozenset({"auto", "fp8"})
    service_names = frozenset({"sglang", "sglang-grpc"})  # SGLANG_PORT, SGLANG_GRPC_PORT
    metrics = NAMES
    extra_flags = EXTRA
    speculation = frozenset(SpeculationMethod)
    hands_over_cache = True
    router = (  # PyPI: sglang-router; a gateway of its own image
        "`python3 -m sglang_router.launch_router --policy=cache_aware --worker-urls URL ...` "
        "(image lmsysorg/sgl-model-gateway) sends a prompt where its prefix lies"
    )

    def unsupported(
        self, gpu: Gpu, model: ModelArch, precision: Precision, pp: int
    ) -> tuple[Reason, str] | None:
        """Why SGLang cannot run this."""
        return sglang_rules.unsupported(gpu, model, precision, pp)

    def cannot_start(
        self, gpu: Gpu, model: ModelArch, precision: Precision, version: str, image: str | None
    ) -> tuple[Reason, str] | None:
        """By the architectures of the version that runs."""
        del gpu, precision
        tagged = None if image is None else image_version(image)
        return sglang_rules.cannot_start(model, tagged or numbers(version))

    def brings_code(self, model: ModelArch) -> bool:
        """--trust-remote-code, which this then writes."""
        return sglang_rules.brings_code(model)

    def default_limits(self, release: Release, gpu: Gpu, max_model_len: int) -> Limits:
        """What SGLang takes by itself on one GPU."""
        return tier_limits(release, gpu, max_model_len)

    def limits_of(
        self, release: Release, gpu: Gpu, model: ModelArch, tp: int, pp: int, max_model_len: int
    ) -> Limits:
        """What SGLang takes by itself for this layout."""
        version = numbers(release.version)
        return Limits(
            max_num_seqs=MAX_RUNNING,
            max_num_batched_tokens=chunk_tokens(gpu, version),
            gpu_memory_utilization=memory_fraction(
                gpu,
                tp,
                pp,
                version,
                latent=any(one.kind is AttentionKind.LATENT for one in model.attentions),
                towers=bool(model.tower_parameters),
            ),
            max_model_len=max_model_len,
        )

    def mixes_chunks(self, model: ModelArch, pp: int) -> bool:
        """--enable-mixed-chunk: versions whose prefill graphs for multimodal models cannot mix end
        at their start, and stages in flight are not modelled with it.
        """
        return pp == 1 and not model.tower_parameters

    def launch(self, group: ReplicaGroup, options: DeploymentOptions) -> Launch:
        """The server with the whole operating point in its arguments.

        Raises `SpecError` for a flag that the version of the image does not have: it would end.
        """
        image = options.images.get(self.name) or default_image(group)
        version = image_version(image) or numbers(group.version)
        port = options.port or PORT
        args = (
            f"--model-path={group.model.name}",
            "--host=0.0.0.0",
            f"--port={port}",
            *_operating_point(group, options.served_name, version),
            *options.extra_args,
        )
        _check(image, version, args, options.extra_args)
        ready = (
            Probe(path="/ready")
            if version >= _READY
            else Probe(path="/health", timeout_s=_GENERATES_S)
        )
        return Launch(
            image=image,
            command=("python3", "-m", "sglang.launch_server"),
            args=(*args, *_buckets(version, options.slo)),
            env=hugging_face_env(options),
            port=port,
            health_path="/health",
            metrics_path="/metrics",
            shm_bytes=shared_memory_bytes(group.tp * group.pp),
            readiness=ready,
            liveness=Probe(path="/health", timeout_s=_GENERATES_S, period_s=30, failures=3),
            startup_timeout_s=_GENERATES_S,
        )

    def bench(self, group: ReplicaGroup, options: DeploymentOptions, load: BenchLoad) -> Bench:
        """``sglang.bench_serving``, in the image of the server."""
        image = options.images.get(self.name) or default_image(group)
        args = sglang_bench.arguments(group.model.name, load)
        return Bench(image, sglang_bench.COMMAND, args)

    def on_node(self, image: str, nodes: int, leader: bool) -> tuple[str, ...]:
        """Leader and workers run the same command."""
        del image
        rank = "0" if leader else "$(LWS_WORKER_INDEX)"
        return (
            f"--dist-init-addr=$(LWS_LEADER_ADDRESS):{_RENDEZVOUS_PORT}",
            f"--nnodes={nodes}",
            f"--node-rank={rank}",
        )

    def image_version(self, image: str) -> tuple[int, ...] | None:
        """The SGLang version in the tag of an image."""
        return image_version(image)


def numbers(version: str) -> tuple[int, ...]:
    """``"0.5.23"`` as (0, 5, 23)."""
    return tuple(int(part) for part in version.split("."))


def default_image(group: ReplicaGroup) -> str:
    """The official image of the modelled version; AMD's are named by their ROCm, which differs."""
    if group.gpu.vendor == "nvidia":
        return f"lmsysorg/sglang:v{group.version}"
    raise SpecError(
        f"spec.deployment.imageSGLang is needed for {group.gpu.name}: the tags of SGLang's images "
        "for AMD GPUs name a ROCm version, such as lmsysorg/sglang:v0.5.15.post1-rocm720",
        field="spec.deployment.imageSGLang",
    )


def _fraction(group: ReplicaGroup) -> str:
    """Share of the memory that is free, which on a time-shared GPU is not all its own."""
    gpu, share = group.gpu, group.limits.gpu_memory_utilization
    if gpu.seen_bytes is not None:
        share *= gpu.hbm_bytes / gpu.seen_bytes
    return f"{math.floor(1000 * share + 1e-6) / 1000:.3f}"


def _operating_point(
    group: ReplicaGroup, served_name: str, version: tuple[int, ...]
) -> tuple[str, ...]:
    limits = group.limits
    captured = min(limits.max_num_seqs, graph_batch(group.gpu, group.tp, version))
    graph = DECODE_GRAPH if has(DECODE_GRAPH, version) else GRAPH
    fp8 = limits.kv_cache_dtype == "fp8"
    args = [
        f"--served-model-name={served_name}",
        f"--tp-size={group.tp}",
        *([f"--pp-size={group.pp}"] if group.pp > 1 else []),
        f"--mem-fraction-static={_fraction(group)}",
        f"--max-running-requests={limits.max_num_seqs}",
        f"--chunked-prefill-size={limits.max_num_batched_tokens}",
        f"--max-prefill-tokens={prefill_tokens(limits.max_num_batched_tokens)}",
        f"--context-length={limits.max_model_len}",
        f"--kv-cache-dtype={'fp8_e4m3' if fp8 else limits.kv_cache_dtype}",
        f"{graph}={captured}",
        "--enable-metrics",
    ]
    if sglang_rules.brings_code(group.model):
        args.append("--trust-remote-code")
    if limits.mixed_chunk:
        args.append("--enable-mixed-chunk")
    if below(group.gpu, 8):
        args.append("--dtype=half")
    if group.precision.name == "fp8" and group.model.precision in SIXTEEN_BIT:
        args.append("--quantization=fp8")  # quantised online, while the weights are loaded
    if group.speculation is not None:
        args += sglang_args(group.speculation)
    return tuple(args)


def _check(
    image: str, version: tuple[int, ...], args: tuple[str, ...], extra: tuple[str, ...]
) -> None:
    strange = sorted(flags_of(extra) - EXTRA)
    if strange:
        raise SpecError(
            f"spec.deployment.extraArgs: {strange[0]} is no flag that may be added to SGLang: "
            "remove it, or leave SGLang out of spec.frameworks",
            field="spec.deployment.extraArgs",
        )
    lacks = wrong(args, version)
    if lacks:
        since, last = FLAGS[lacks[0]]
        when = f"known since SGLang {'.'.join(map(str, since))}"
        if last is not None and version > last:
            when = f"gone after SGLang {'.'.join(map(str, last))}"
        raise SpecError(
            f"spec.deployment.imageSGLang: {image} has no flag {lacks[0]}, {when}, and its server "
            "would exit: name another image, or drop the flag from spec.deployment.extraArgs",
            field="spec.deployment.imageSGLang",
        )


def _buckets(version: tuple[int, ...], slo: Slo) -> tuple[str, ...]:
    """Histograms with a boundary at each limit; that of TTFT begins at 100 ms by default. Numbers
    stand one an argument behind their flag.
    """
    return tuple(
        word
        for family, bounds in slo_buckets(slo).items()
        if has(BUCKETS[family], version)
        for word in (BUCKETS[family], *(f"{bound:g}" for bound in bounds))
    )
