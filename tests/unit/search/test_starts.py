"""No layout that the search keeps ends at the start of vLLM 0.33.0, by its own checks.

The checks are written out here from the wheel, apart from the rules of the engine: `validate_fp8_
block_shape` (fp8_utils.py:1296), `refine_fp8_moe_block_shape`, `_FLOAT16_NOT_SUPPORTED_MODELS` and
`verify_with_parallel_config` (config/model.py), `get_min_capability` (model_executor/layers/
quantization), and the flags of its argument parser (`guide.frameworks.vllm_flags`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from guide.catalog import load
from guide.domain import (
    Gpu,
    GpuPool,
    Inventory,
    Lengths,
    ModelArch,
    Part,
    Plan,
    Precision,
    Reason,
    Tolerance,
    Workload,
)
from guide.frameworks import FRAMEWORKS, DeploymentOptions
from guide.frameworks.vllm_flags import FLAGS
from guide.manifests.render import build_objects
from guide.search.bounds import LAYOUT_RULES, Broken
from guide.search.operating_point import default_limits
from guide.search.recommend import recommend
from guide.search.space import Shape, shapes
from guide.spec import InferencePlan, parse_plan, resolve_plan

CATALOG = load()
MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.1-70B-Instruct",
    "meta-llama/Llama-3.1-405B-Instruct-FP8",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "Qwen/Qwen3-4B-FP8",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3-32B-FP8",
    "Qwen/Qwen3-30B-A3B-FP8",
    "Qwen/Qwen3-235B-A22B-FP8",
    "Qwen/Qwen3-Next-80B-A3B-Instruct-FP8",
    "Qwen/Qwen2.5-7B-Instruct-AWQ",
    "deepseek-ai/DeepSeek-V3.2",
    "google/gemma-2-9b-it",
    "google/gemma-3-27b-it",
    "openai/gpt-oss-20b",
    "openai/gpt-oss-120b",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4",
    "moonshotai/Kimi-K2-Instruct",
    "zai-org/GLM-4.5-Air-FP8",
)
GPUS = ("V100-32GB", "T4", "A100-80GB", "L4", "L40S", "H100-SXM", "B200", "RTXPRO6000")
FLOAT16_NOT_SUPPORTED = {"gemma2", "gemma3", "gemma3_text", "glm4"}
MODEL_TYPE = {
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
    "Gemma3ForConditionalGeneration": "gemma3",
    "Glm4ForCausalLM": "glm4",
}
SWITCHES = ("--trust-remote-code", "--enable-expert-parallel")  # flags without a value
MIN_CAPABILITY = {"fp8": 75, "int4": 75, "int8": 75, "mxfp4": 80, "nvfp4": 75}
BUILT_FOR = 75  # CUDA 13: the oldest architecture of the official images
NATIVE = {"bf16", "fp16"}


def plan_of(name: str) -> Plan:
    return Plan(
        model=CATALOG.models[name],
        workload=Workload(
            prompt=Lengths(mean_tokens=512), output=Lengths(mean_tokens=64), requests_per_s=1
        ),
        tolerance=Tolerance.INT4,
        frameworks=("vLLM",),
    )


def cluster() -> Inventory:
    return Inventory(
        pools=tuple(
            GpuPool(
                name=name.lower(),
                gpu=CATALOG.gpus[name],
                product=name,
                source="test",
                resource="nvidia.com/gpu",
                gpus_per_node=16,
                free_gpus_by_node=(64,),
            )
            for name in GPUS
        )
    )


def kept(name: str) -> Iterator[Shape]:
    for shape in shapes(plan_of(name), cluster(), CATALOG):
        if not any(rule(shape) for rule in LAYOUT_RULES):
            yield shape


def parser() -> argparse.ArgumentParser:
    """As vLLM's: it ends at a flag that it does not know."""
    known = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    known.add_argument("model")
    for flag in FLAGS:
        known.add_argument(flag, nargs="?" if flag in SWITCHES else None)
    return known


def block_fp8_mismatch(model: ModelArch, tp: int, *, whole_experts: bool) -> Iterator[str]:
    for group in model.groups:
        for weight in group.weights:
            form = weight.format
            if form.name != "fp8" or form.group_inputs != 128 or form.group_outputs != 128:
                continue
            if weight.part is Part.EXPERTS and whole_experts:
                continue
            if weight.part is Part.EXPERTS:
                width = min(weight.outputs, weight.inputs) // tp
                if not weight.name.endswith("down_proj"):
                    width = weight.outputs // tp
                if width % 32:
                    yield f"{weight.name}: {width} is no multiple of 32"
            elif weight.shards != 1 and weight.name.endswith(("o_proj", "down_proj")):
                if weight.inputs // tp % 128:
                    yield f"{weight.name}: input {weight.inputs // tp}"
            elif weight.shards != 1 and weight.outputs // min(tp, weight.shards or tp) % 128:
                yield f"{weight.name}: output {weight.outputs // tp}"


def check_start(
    gpu: Gpu, model: ModelArch, precision: Precision, layout: tuple[int, int], args: Sequence[str]
) -> None:
    """The checks of vLLM 0.33.0 on what its server is started with."""
    tp, pp = layout
    major, minor = gpu.compute_capability or (0, 0)
    assert major * 10 + minor >= BUILT_FOR
    if precision.name not in NATIVE:
        assert major * 10 + minor >= MIN_CAPABILITY[precision.name]
    flags = vars(parser().parse_args(args))
    assert int(flags["tensor_parallel_size"]) == tp
    assert int(flags["pipeline_parallel_size"] or 1) == pp
    if flags["dtype"] == "half":
        assert MODEL_TYPE.get(model.architecture) not in FLOAT16_NOT_SUPPORTED
    else:
        assert major >= 8, "bfloat16 needs 8.0"
    assert model.heads % tp == 0
    whole = "--enable-expert-parallel" in args
    assert model.experts or not whole, "verify_with_parallel_config"
    if flags["quantization"] is None:
        assert not list(block_fp8_mismatch(model, tp, whole_experts=whole))
    assert 0 < float(flags["gpu_memory_utilization"] or 0.9) <= 1
    assert int(flags["max_model_len"]) <= model.max_context_tokens
    seqs, tokens = int(flags["max_num_seqs"]), int(flags["max_num_batched_tokens"])
    assert 0 < seqs <= tokens, "verify_max_num_batched_tokens in config/scheduler.py"


@pytest.mark.parametrize("name", MODELS)
def test_what_is_kept_starts(name: str):
    found = 0
    for shape in kept(name):
        found += 1
        args = (
            FRAMEWORKS["vLLM"]
            .launch(shape.group(default_limits(shape, 2048)), DeploymentOptions(served_name="chat"))
            .args
        )
        variant = shape.variant
        check_start(shape.gpu, variant.model, variant.precision, (shape.tp, shape.pp), args)
    assert found


def written(name: str, pools: tuple[GpuPool, ...]) -> InferencePlan:
    """A plan whose answer may use INT4, since what loses most has most ways not to start."""
    return parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "chat", "namespace": "ml"},
            "spec": {
                "model": {"name": name},
                "workload": {
                    "inputTokens": {"mean": 512},
                    "outputTokens": {"mean": 64},
                    "requestsPerSecond": 1,
                },
                "precisionTolerance": "INT4",
                "frameworks": ["vLLM"],
                "placement": {"gpus": [pool.product for pool in pools]},
            },
        }
    )


def emitted(name: str, pools: tuple[GpuPool, ...]) -> int:
    """Check every manifest of the answer; how many there were."""
    plan = written(name, pools)
    found = recommend(resolve_plan(plan, CATALOG), Inventory(pools=pools), CATALOG)
    extremes = (found.lowest_latency, found.highest_throughput)
    ones = [e for e in (found.best, *found.alternatives, *extremes, *found.pareto) if e]
    for one in ones:
        groups = one.candidate.groups
        objects = [v for _, v in build_objects(plan, one) if v["kind"] == "Deployment"]
        assert len(objects) == len(groups)
        for group, value in zip(groups, objects, strict=True):
            (container, *_) = value["spec"]["template"]["spec"]["containers"]
            layout = (group.tp, group.pp)
            check_start(group.gpu, group.model, group.precision, layout, container["args"])
    return len(ones)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_starts(name: str):
    assert emitted(name, cluster().pools)


@pytest.mark.scale
@pytest.mark.parametrize("pool", cluster().pools, ids=lambda pool: pool.name)
@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_for_each_gpu_starts(name: str, pool: GpuPool):
    emitted(name, (pool,))  # none where nothing starts on that GPU


def refused(model: str, gpu: str, tp: int) -> Broken | None:
    plan = replace(plan_of(model), gpus=(gpu,), tolerance=Tolerance.LOSSLESS)
    shape = next(s for s in shapes(plan, cluster(), CATALOG) if (s.tp, s.pp) == (tp, 1))
    return next((broken for rule in LAYOUT_RULES if (broken := rule(shape))), None)


@pytest.mark.parametrize(
    ("model", "gpu", "tp", "reason"),
    [
        ("Qwen/Qwen3-4B-FP8", "H100-SXM", 8, Reason.QUANT_GROUP_NOT_DIVISIBLE),
        ("Qwen/Qwen3-4B-FP8", "H100-SXM", 4, None),
        ("Qwen/Qwen3-32B-FP8", "H100-SXM", 16, Reason.QUANT_GROUP_NOT_DIVISIBLE),
        ("Qwen/Qwen3-30B-A3B-FP8", "H100-SXM", 4, None),  # 192 a GPU: blocks are refined to 64
        ("Qwen/Qwen3-30B-A3B-FP8", "H100-SXM", 8, None),  # 96: to 32
        ("Qwen/Qwen3-30B-A3B-FP8", "H100-SXM", 16, Reason.QUANT_GROUP_NOT_DIVISIBLE),  # 48
        ("google/gemma-2-9b-it", "T4", 2, Reason.UNSUPPORTED_PRECISION),
        ("google/gemma-2-9b-it", "L4", 2, None),
        ("meta-llama/Llama-3.1-8B-Instruct", "V100-32GB", 1, Reason.COMPUTE_CAPABILITY),
        ("Qwen/Qwen3-4B-FP8", "T4", 1, None),
    ],
)
def test_what_ends_is_refused(model: str, gpu: str, tp: int, reason: Reason | None):
    found = refused(model, gpu, tp)
    assert (found and found.reason) is reason


def test_older_images_do_not_refine_blocks():
    plan = replace(
        plan_of("Qwen/Qwen3-30B-A3B-FP8"), gpus=("H100-SXM",), tolerance=Tolerance.LOSSLESS
    )
    older = replace(plan, images=(("vLLM", "vllm/vllm-openai:v0.20.0"),))
    shape = next(s for s in shapes(older, cluster(), CATALOG) if (s.tp, s.pp) == (4, 1))
    found = next((broken for rule in LAYOUT_RULES if (broken := rule(shape))), None)
    assert found is not None
    assert found.reason is Reason.QUANT_GROUP_NOT_DIVISIBLE
