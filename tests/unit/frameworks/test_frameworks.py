"""What each framework refuses, its defaults, and the arguments that hold the operating point."""

from __future__ import annotations

import ast
import json
from dataclasses import replace

import pytest

from guide.catalog import load, release
from guide.domain import Gpu, Reason, Slo
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS, DeploymentOptions
from guide.frameworks.base import DEFAULT_BUCKETS
from guide.models.precision import PRECISIONS
from tests.handmade import AMD_POOL, GROUP, MODEL, V100_POOL

CATALOG = load()
VLLM, FASTGEN = FRAMEWORKS["vLLM"], FRAMEWORKS["FastGen"]
OPTIONS = DeploymentOptions(served_name="chat", images={"FastGen": "reg.example/fastgen:1"})


def gpu(name: str) -> Gpu:
    return CATALOG.gpus[name]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_is_registered_under_its_own_name(name: str):
    assert FRAMEWORKS[name].name == name


@pytest.mark.parametrize(
    ("card", "precision", "reason"),
    [
        ("H100-SXM", "bf16", None),
        ("V100-16GB", "bf16", Reason.COMPUTE_CAPABILITY),  # no kernels in images on CUDA 13
        ("T4", "int4", None),
        ("V100-16GB", "int4", Reason.COMPUTE_CAPABILITY),
        ("A100-80GB", "fp8", None),
        ("T4", "fp8", None),
        ("A100-80GB", "mxfp4", None),
        ("T4", "mxfp4", Reason.COMPUTE_CAPABILITY),
        ("MI300X", "fp8", None),
        ("MI300X", "nvfp4", Reason.UNSUPPORTED_PRECISION),
    ],
)
def test_vllm_refuses_by_compute_capability(card: str, precision: str, reason: Reason | None):
    asked = (gpu(card), MODEL, PRECISIONS[precision])
    found = VLLM.unsupported(*asked, 1) or VLLM.cannot_start(*asked, "0.33.0", None)
    assert (found[0] if found else None) is reason
    if found:
        assert card in found[1]


@pytest.mark.parametrize(
    ("card", "precision", "name", "version", "image", "says"),
    [
        ("V100-16GB", "bf16", "a/b", "0.19.1", None, None),
        ("V100-16GB", "bf16", "a/b", "0.33.0", "own.example/vllm:v0.33.0", None),
        ("V100-16GB", "bf16", "a/b", "0.33.0", "vllm/vllm-openai:v0.33.0-cu129", None),
        ("V100-16GB", "bf16", "a/b", "0.33.0", "vllm/vllm-openai:v0.33.0", "CUDA 13"),
        ("V100-16GB", "bf16", "a/b", "0.33.0", "docker.io/vllm/vllm-openai:v0.19.0", None),
        ("V100-16GB", "int4", "a/b-GPTQ-Int4", "0.33.0", "own.example/vllm:v0.33.0", None),
        ("V100-16GB", "int4", "a/b-AWQ", "0.33.0", "own.example/vllm:v0.33.0", "7.5 for int4"),
        ("T4", "fp8", "a/b", "0.16.0", None, "8.0 for fp8"),
        ("T4", "fp8", "a/b", "0.33.0", "vllm/vllm-openai:v0.17.0", "8.0 for fp8"),
        ("T4", "fp8", "a/b", "0.17.1", None, None),
    ],
)
def test_vllm_starts_by_its_version_and_image(
    card: str, precision: str, name: str, version: str, image: str | None, says: str | None
):
    model = replace(MODEL, name=name)
    found = VLLM.cannot_start(gpu(card), model, PRECISIONS[precision], version, image)
    assert (found is None) is (says is None)
    if found:
        assert says in found[1]


@pytest.mark.parametrize(
    ("architecture", "refused"),
    [
        ("Gemma2ForCausalLM", True),
        ("Gemma3ForConditionalGeneration", True),
        ("Glm4ForCausalLM", True),
        ("GemmaForCausalLM", False),
        ("LlamaForCausalLM", False),
    ],
)
def test_vllm_refuses_some_models_in_float16(architecture: str, refused: bool):
    """On a T4, which has no bfloat16; everywhere else they run in it."""
    model = replace(MODEL, architecture=architecture)
    found = VLLM.cannot_start(gpu("T4"), model, PRECISIONS["fp16"], "0.33.0", None)
    assert (found is not None) is refused
    if found:
        assert found[0] is Reason.UNSUPPORTED_PRECISION
    assert VLLM.cannot_start(gpu("L4"), model, PRECISIONS["bf16"], "0.33.0", None) is None


@pytest.mark.parametrize(
    ("name", "trusted"), [("moonshotai/Kimi-K2-Instruct", True), ("Qwen/Qwen3-8B", False)]
)
def test_code_of_a_checkpoint_is_trusted_only_where_it_must(name: str, trusted: bool):
    group = replace(GROUP, model=replace(MODEL, name=name))
    for framework, version in ((VLLM, GROUP.version), (FRAMEWORKS["SGLang"], "0.5.23")):
        one = replace(group, framework=framework.name, version=version)
        assert framework.brings_code(one.model) is trusted
        assert ("--trust-remote-code" in framework.launch(one, OPTIONS).args) is trusted
    assert not FRAMEWORKS["FastGen"].brings_code(group.model)


@pytest.mark.parametrize(
    ("card", "architecture", "precision", "pp", "reason"),
    [
        ("A100-80GB", "LlamaForCausalLM", "bf16", 1, None),
        ("T4", "LlamaForCausalLM", "bf16", 1, Reason.COMPUTE_CAPABILITY),
        ("V100-16GB", "LlamaForCausalLM", "bf16", 1, Reason.COMPUTE_CAPABILITY),
        ("MI300X", "LlamaForCausalLM", "bf16", 1, Reason.COMPUTE_CAPABILITY),
        ("H100-SXM", "Qwen3ForCausalLM", "bf16", 1, Reason.UNSUPPORTED_MODEL),
        ("H100-SXM", "Gemma2ForCausalLM", "bf16", 1, Reason.UNSUPPORTED_MODEL),
        ("H100-SXM", "LlamaForCausalLM", "fp8", 1, Reason.UNSUPPORTED_PRECISION),
        ("H100-SXM", "LlamaForCausalLM", "bf16", 2, Reason.UNSUPPORTED_MODEL),
    ],
)
def test_fastgen_refuses_what_it_never_learnt(
    card: str, architecture: str, precision: str, pp: int, reason: Reason | None
):
    model = replace(MODEL, architecture=architecture)
    found = FASTGEN.unsupported(gpu(card), model, PRECISIONS[precision], pp)
    assert (found[0] if found else None) is reason


@pytest.mark.parametrize(
    ("card", "tokens", "sequences"),
    [("H100-SXM", 8192, 1024), ("A100-80GB", 2048, 256), ("B200", 16384, 1024), ("L4", 2048, 256)],
)
def test_vllm_takes_its_defaults_by_memory(card: str, tokens: int, sequences: int):
    limits = VLLM.default_limits(release(CATALOG, "vLLM"), gpu(card), 4096)
    assert (limits.max_num_batched_tokens, limits.max_num_seqs) == (tokens, sequences)
    assert limits.max_model_len == 4096


def test_vllm_writes_the_whole_operating_point():
    args = VLLM.launch(replace(GROUP, pp=2), OPTIONS).args
    assert args[0] == MODEL.name
    assert {
        "--tensor-parallel-size=2",
        "--pipeline-parallel-size=2",
        "--gpu-memory-utilization=0.90",
        "--max-num-seqs=96",
        "--max-num-batched-tokens=8192",
        "--max-model-len=8192",
        "--kv-cache-dtype=auto",
        "--served-model-name=chat",
    } < set(args)
    assert not any(arg.startswith(("--dtype", "--quantization")) for arg in args)


def test_vllm_runs_in_half_precision_where_bf16_is_missing():
    assert "--dtype=half" in VLLM.launch(replace(GROUP, pool=V100_POOL), OPTIONS).args


def test_vllm_quantises_online_only_what_is_stored_in_16_bit():
    fp8 = replace(GROUP, precision=PRECISIONS["fp8"])
    assert "--quantization=fp8" in VLLM.launch(fp8, OPTIONS).args
    stored = replace(fp8, model=replace(MODEL, precision="fp8"))
    assert "--quantization=fp8" not in VLLM.launch(stored, OPTIONS).args


def test_the_image_is_pinned_and_follows_the_vendor():
    assert VLLM.launch(GROUP, OPTIONS).image == "vllm/vllm-openai:v0.33.0"
    amd = replace(GROUP, pool=AMD_POOL)
    assert VLLM.launch(amd, OPTIONS).image == "vllm/vllm-openai-rocm:v0.33.0"
    intel = replace(GROUP, pool=replace(AMD_POOL, gpu=CATALOG.gpus["Max1550"]))
    with pytest.raises(SpecError, match=r"spec\.deployment\.image is needed for Max1550"):
        VLLM.launch(intel, OPTIONS)
    own = replace(OPTIONS, images={"vLLM": "registry.example/vllm:1"})
    assert VLLM.launch(intel, own).image == "registry.example/vllm:1"


@pytest.mark.parametrize("card", ["H100-SXM", "MI300X", "Max1550"])
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_image_needs_no_name_where_the_framework_says_so(name: str, card: str):
    """What ranks behind for want of an image is what cannot be rendered without one."""
    group = replace(GROUP, pool=replace(GROUP.pool, gpu=gpu(card)), framework=name)
    framework = FRAMEWORKS[name]
    if gpu(card).vendor in framework.image_vendors:
        assert framework.launch(group, replace(OPTIONS, images={})).image
    else:
        with pytest.raises(SpecError, match=framework.image_field):
            framework.launch(group, replace(OPTIONS, images={}))


def test_fastgen_holds_the_token_budget_in_a_script_that_is_valid_python():
    launch = FASTGEN.launch(GROUP, OPTIONS)
    text = dict(launch.files)[launch.command[-1]]
    ast.parse(text)
    engine = json.loads(text.split('ENGINE = json.loads("""')[1].split('""")')[0])
    manager = engine["inference_engine_config"]["state_manager"]
    assert manager["max_ragged_batch_size"] == 8192
    assert manager["max_ragged_sequence_count"] == 96
    assert manager["max_context"] == engine["max_length"] == 8192
    assert engine["tensor_parallel"] == 2


def test_fastgen_is_reached_and_measured_through_its_proxy():
    launch = FASTGEN.launch(GROUP, replace(OPTIONS, slo=Slo(ttft_p95_s=0.5)))
    assert launch.metrics_path == "/metrics"
    assert launch.proxy is not None
    assert dict(launch.files)[launch.proxy.command[1]]
    given = dict(word[2:].split("=", 1) for word in launch.proxy.command[2:])
    assert (given["port"], given["max-sequences"]) == (str(launch.port), "96")
    assert f'"--port={given["server-port"]}"' in dict(launch.files)[launch.command[-1]]
    buckets = json.loads(given["buckets"])
    assert 0.5 in buckets["time_to_first_token"]
    assert tuple(buckets["request_latency"]) == DEFAULT_BUCKETS["request_latency"]


def test_fastgen_without_an_image_says_what_to_name():
    with pytest.raises(SpecError, match=r"spec\.deployment\.imageFastGen is needed") as error:
        FASTGEN.launch(GROUP, DeploymentOptions(served_name="chat"))
    assert error.value.field == "spec.deployment.imageFastGen"
