"""SGLang: what it takes by itself, the flags of each version, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load, release
from guide.domain import Gpu, Limits, Reason, ReplicaGroup, Slo, Switches
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.frameworks.base import DeploymentOptions
from guide.frameworks.sglang_defaults import chunk_tokens, graph_batch, memory_fraction
from guide.frameworks.sglang_flags import FLAGS, has, image_version
from guide.manifests.objects import service
from guide.models.precision import PRECISIONS
from tests.manifest_cases import Case
from tests.toy import pool

CATALOG = load()
SGLANG = FRAMEWORKS["SGLang"]
MODEL = CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"]
VERSIONS = ("0.4.6", "0.4.10", "0.5.2", "0.5.9", "0.5.13", "0.5.14", "0.5.19", "0.5.20", "0.5.23")


def parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def group(card: str = "H100-SXM", **changes: object) -> ReplicaGroup:
    gpu = CATALOG.gpus[card]
    one = ReplicaGroup(
        pool=pool("one", gpu, (8,)),
        framework="SGLang",
        version="0.5.23",
        model=MODEL,
        precision=PRECISIONS["bf16"],
        tp=2,
        pp=1,
        replicas=1,
        limits=Limits(
            max_num_seqs=128,
            max_num_batched_tokens=8192,
            gpu_memory_utilization=0.828,
            max_model_len=16384,
        ),
        switches=Switches(),
    )
    return replace(one, **changes)  # pyright: ignore[reportArgumentType]


def options(version: str = "0.5.23", *extra: str, slo: Slo | None = None) -> DeploymentOptions:
    return DeploymentOptions(
        served_name="chat",
        images={"SGLang": f"lmsysorg/sglang:v{version}"},
        extra_args=extra,
        slo=slo or Slo(),
    )


# Read in server_args.py, or in the server_args line of public logs: GPU, TP, version, fraction
@pytest.mark.parametrize(
    ("card", "tp", "version", "fraction"),
    [
        ("H100-SXM", 1, "0.4.6", 0.88),
        ("H100-SXM", 4, "0.4.6", 0.85),
        ("T4", 1, "0.5.2", 0.807),
        ("L4", 4, "0.5.2", 0.858),
        ("H100-SXM", 1, "0.5.2", 0.874),
        ("B200", 1, "0.5.2", 0.821),
        ("T4", 8, "0.5.9", 0.699),
        ("L4", 1, "0.5.9", 0.837),
        ("L40S", 4, "0.5.9", 0.837),
        ("H100-SXM", 8, "0.5.9", 0.818),
        ("H200", 2, "0.5.9", 0.906),
        ("H100-SXM", 1, "0.5.19", 0.83),
        ("H200", 8, "0.5.19", 0.893),
        ("L4", 1, "0.5.19", 0.822),
        ("L4", 1, "0.5.20", 0.684),
        ("B200", 4, "0.5.23", 0.852),
    ],
)
def test_the_default_fraction_is_a_function_of_the_release(
    card: str, tp: int, version: str, fraction: float
):
    found = memory_fraction(CATALOG.gpus[card], tp, 1, parts(version))
    assert found == pytest.approx(fraction, abs=0.0011)


def test_a_model_with_an_encoder_takes_less():
    gpu = CATALOG.gpus["L4"]
    plain = memory_fraction(gpu, 1, 1, (0, 5, 23))
    assert memory_fraction(gpu, 1, 1, (0, 5, 23), towers=True) < plain


@pytest.mark.parametrize(
    ("card", "version", "chunk", "graphs"),
    [
        ("T4", "0.5.23", 2048, (8, 8)),
        ("L4", "0.5.19", 2048, (24, 80)),
        ("L4", "0.5.20", 4096, (48, 160)),
        ("L40S", "0.5.23", 4096, (32, 160)),
        ("H100-SXM", "0.5.23", 8192, (256, 512)),
        ("B200", "0.5.23", 16384, (512, 512)),
        ("L40S", "0.5.2", 8192, (80, 80)),
        ("L4", "0.4.6", 2048, (24, 80)),
    ],
)
def test_chunks_and_graphs_follow_memory(
    card: str, version: str, chunk: int, graphs: tuple[int, int]
):
    gpu = CATALOG.gpus[card]
    assert chunk_tokens(gpu, parts(version)) == chunk
    assert tuple(graph_batch(gpu, tp, parts(version)) for tp in (1, 4)) == graphs


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("pp", [1, 2])
@pytest.mark.parametrize("dtype", ["auto", "fp8"])
def test_every_flag_that_is_written_exists_in_that_version(version: str, pp: int, dtype: str):
    """Against the table of flags (first and last version of each, read from 27 argument parsers),
    for more versions than those whose parsers are asked in tests/e2e/test_sglang_parser.py.
    """
    limits = replace(group().limits, kv_cache_dtype=dtype)
    slo = Slo(ttft_p95_s=0.5, tpot_p95_s=0.05, e2e_p95_s=10)
    launch = SGLANG.launch(group(pp=pp, limits=limits), options(version, slo=slo))
    flags = [arg.split("=")[0] for arg in launch.args if arg.startswith("--")]
    assert len(flags) == len(set(flags))
    for flag in flags:
        since, last = FLAGS[flag]
        assert since <= parts(version)
        assert last is None or parts(version) <= last
    # a word without a flag is a number behind one that takes several
    assert all(arg.startswith("--") or float(arg) > 0 for arg in launch.args)
    assert {"--host=0.0.0.0", "--enable-metrics", "--max-running-requests=128"} <= set(launch.args)
    assert f"--context-length={limits.max_model_len}" in launch.args
    assert ("--pp-size=2" in launch.args) == (pp == 2)


def test_the_captured_batch_has_the_name_of_the_version():
    """--cuda-graph-max-bs is ambiguous from 0.5.20 on."""
    for version in VERSIONS:
        args = SGLANG.launch(group(), options(version)).args
        assert ("--cuda-graph-max-bs-decode=128" in args) == (parts(version) >= (0, 5, 14))
        assert not has("--cuda-graph-max-bs", (0, 5, 20))


def test_probes_leave_time_for_a_token():
    new, old = (SGLANG.launch(group(), options(v)) for v in ("0.5.23", "0.5.19"))
    assert new.readiness is not None
    assert old.readiness is not None
    assert (new.readiness.path, old.readiness.path) == ("/ready", "/health")
    for launch in (new, old):
        assert launch.liveness is not None
        assert launch.liveness.timeout_s >= 21
        assert launch.startup_timeout_s >= 21
        assert launch.port == 30000
        assert launch.command == ("python3", "-m", "sglang.launch_server")


@pytest.mark.parametrize(
    ("version", "flag", "said"),
    [
        ("0.5.23", "--mem-fraction-static=0.9", "is no flag that may be added"),
        ("0.5.23", "--enable-log-requests", "is no flag that may be added"),
        ("0.4.6", "--skip-server-warmup", "known since SGLang 0.4.10"),
        ("0.5.2", "--fastapi-root-path=/llm", "known since SGLang 0.5.6"),
    ],
)
def test_a_flag_outside_its_versions_is_one_sentence(version: str, flag: str, said: str):
    with pytest.raises(SpecError, match=said):
        SGLANG.launch(group(), options(version, flag))


def test_stages_need_a_version_that_has_them():
    with pytest.raises(SpecError, match=r"--pp-size, known since SGLang 0\.4\.6"):
        SGLANG.launch(group(pp=2), options("0.4.3"))


def test_an_image_for_amd_must_be_named():
    with pytest.raises(SpecError, match="imageSGLang is needed for MI300X"):
        SGLANG.launch(group("MI300X"), DeploymentOptions(served_name="chat"))


def test_versions_are_read_from_tags():
    assert image_version("lmsysorg/sglang:v0.5.19-cu129") == (0, 5, 19)
    assert image_version("lmsysorg/sglang:v0.5.15.post1-rocm720") in ((0, 5, 15), None)
    assert image_version("lmsysorg/sglang:latest") is None


@pytest.mark.parametrize(
    ("card", "model", "precision", "pp", "reason", "said"),
    [
        ("V100-32GB", MODEL.name, "fp16", 1, Reason.COMPUTE_CAPABILITY, "7.5 and above"),
        ("T4", MODEL.name, "fp16", 1, None, ""),
        ("T4", MODEL.name, "fp8", 1, Reason.COMPUTE_CAPABILITY, "8.0 for fp8"),
        ("A100-80GB", MODEL.name, "fp8", 1, None, ""),
        ("Max1550", MODEL.name, "bf16", 1, Reason.COMPUTE_CAPABILITY, "no image"),
        ("MI300X", MODEL.name, "int8", 1, Reason.UNSUPPORTED_PRECISION, "no int8 kernels"),
        ("H100-SXM", "google/gemma-2-9b", "bf16", 2, Reason.UNSUPPORTED_MODEL, "no pipeline"),
        ("H100-SXM", "google/gemma-2-9b", "bf16", 1, None, ""),
    ],
)
def test_refusals_have_its_reasons(
    card: str, model: str, precision: str, pp: int, reason: Reason | None, said: str
):
    gpu: Gpu = CATALOG.gpus[card]
    arch = CATALOG.models.get(model) or next(
        one for one in CATALOG.models.values() if one.architecture == "Gemma2ForCausalLM"
    )
    found = SGLANG.unsupported(gpu, arch, PRECISIONS[precision], pp)
    assert (found is None) == (reason is None)
    if found is not None:
        assert found[0] is reason
        assert said in found[1]


def test_a_model_that_came_later_than_the_image():
    qwen = next(m for m in CATALOG.models.values() if m.architecture == "Qwen3ForCausalLM")
    gpu, bf16 = CATALOG.gpus["H100-SXM"], PRECISIONS["bf16"]
    found = SGLANG.cannot_start(gpu, qwen, bf16, "0.5.23", "lmsysorg/sglang:v0.4.3-cu124")
    assert found is not None
    assert "since 0.4.6, not 0.4.3" in found[1]
    assert SGLANG.cannot_start(gpu, qwen, bf16, "0.5.23", None) is None


@pytest.mark.parametrize(
    ("version", "row"),
    [("0.4.6", "0.4.6"), ("0.5.2", "0.5.2"), ("0.5.4", "0.5.9"), ("0.5.23", "0.5.23")],
)
def test_every_version_has_a_release(version: str, row: str):
    assert release(CATALOG, "SGLang", version).version == row


def test_pods_of_several_nodes_run_one_command():
    leader, worker = (
        SGLANG.on_node("lmsysorg/sglang:v0.5.23", 2, first) for first in (True, False)
    )
    assert leader[:2] == worker[:2]
    assert leader[0] == "--dist-init-addr=$(LWS_LEADER_ADDRESS):20102"
    assert (leader[2], worker[2]) == ("--node-rank=0", "--node-rank=$(LWS_WORKER_INDEX)")
    flags = [arg.split("=")[0] for arg in leader]
    assert all(has(flag, parts(version)) for flag in flags for version in VERSIONS)
    with pytest.raises(SpecError, match="FastGen runs on one node"):
        FRAMEWORKS["FastGen"].on_node("image:1", 2, True)


@pytest.mark.parametrize("name", ["sglang", "sglang-grpc"])
def test_a_service_that_would_end_servers_is_one_sentence(name: str):
    """Kubernetes sets SGLANG_PORT=tcp://... for it, and SGLang to 0.5.14 reads a number there."""
    with pytest.raises(SpecError, match=f"a Service named {name} sets SGLANG_") as found:
        service(Case(name=name).plan, name, {})
    assert found.value.field == "metadata.name"
    assert service(Case(name="sglang-chat").plan, "sglang-chat", {})["kind"] == "Service"


def test_each_framework_takes_its_own_flags_and_refuses_the_others():
    """A plan may add what any of them knows, and the one that is started says what it does not."""
    spec = {"deployment": {"extraArgs": ["--skip-server-warmup"]}}
    assert Case(spec=spec).plan.spec.deployment.extra_args == ("--skip-server-warmup",)
    args = SGLANG.launch(group(), options("0.5.23", "--skip-server-warmup")).args
    assert "--skip-server-warmup" in args
    with pytest.raises(
        SpecError, match="--skip-server-warmup is no flag that may be added to vLLM"
    ):
        FRAMEWORKS["vLLM"].launch(
            group(framework="vLLM", version="0.33.0"), options("0.5.23", "--skip-server-warmup")
        )
