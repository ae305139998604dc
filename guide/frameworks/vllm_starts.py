"""What ends a start of vLLM after its flags were read: types, GPUs that an image lacks, kernels.

Read in the wheel of 0.33.0: `_FLOAT16_NOT_SUPPORTED_MODELS` (config/model.py), `get_min_capability`
(model_executor/layers/quantization), and in the pull request that built the images on CUDA 13.
"""

from __future__ import annotations

from guide.domain import Gpu, ModelArch, Precision, Reason
from guide.frameworks.base import below, capability, tokenizer_is_code

Version = tuple[int, ...]

# architectures of the model types gemma2, gemma3, gemma3_text, glm4
NOT_IN_FLOAT16 = frozenset(
    {
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "Gemma3ForConditionalGeneration",
        "Glm4ForCausalLM",
    }
)
CUDA_13 = (0, 20)  # https://github.com/vllm-project/vllm/pull/39878
OLDEST_IN_CUDA_13 = (7, 5)  # CUDA 13 compiles for nothing older

# Least compute capability by precision, from the version on; weight-only kernels widen it.
_LEAST_CAPABILITY: dict[str, tuple[tuple[Version, tuple[int, int]], ...]] = {
    "fp16": (((0,), (7, 0)),),
    "bf16": (((0,), (7, 0)),),  # run as fp16 below 8.0
    "int8": (((0,), (7, 5)),),
    "int4": (((0,), (7, 5)),),
    "gptq": (((0,), (6, 0)),),
    "fp8": (((0, 17, 1), (7, 5)), ((0,), (8, 0))),
    "mxfp4": (((0,), (8, 0)),),
    "nvfp4": (((0, 17), (7, 5)), ((0,), (8, 0))),
}
# config.json has a model_type that neither transformers nor vLLM reads, or the tokenizer is code
# (vLLM 0.33: transformers_utils/config.py, tokenizers/hf.py).
_BRINGS_CODE = frozenset({"DeciLMForCausalLM", "ExaoneForCausalLM", "MiMoForCausalLM"})


def refusal(
    gpu: Gpu, model: ModelArch, precision: Precision, version: Version, official: bool
) -> tuple[Reason, str] | None:
    """Why vLLM of `version` ends on `gpu`, in `official` images or in one that somebody built."""
    if gpu.vendor != "nvidia":
        return None
    if gpu.bf16_flop_per_s is None and model.architecture in NOT_IN_FLOAT16:
        return (
            Reason.UNSUPPORTED_PRECISION,
            f"vLLM refuses {model.architecture} in float16 (numerical instability), and {gpu.name} "
            "has no bfloat16",
        )
    if official and version >= CUDA_13 and below(gpu, *OLDEST_IN_CUDA_13):
        return (
            Reason.COMPUTE_CAPABILITY,
            f"images of vLLM are built on CUDA 13 since 0.20, without kernels for compute "
            f"capability {capability(gpu)} ({gpu.name}): name an image with CUDA 12 in "
            "spec.deployment.image",
        )
    name = "gptq" if precision.name == "int4" and "gptq" in model.name.lower() else precision.name
    least = next(low for since, low in _LEAST_CAPABILITY[name] if version >= since)
    if below(gpu, *least):
        return (
            Reason.COMPUTE_CAPABILITY,
            f"vLLM needs compute capability {least[0]}.{least[1]} for {precision.name}, and "
            f"{gpu.name} has {capability(gpu)}",
        )
    return None


def brings_code(model: ModelArch) -> bool:
    """Whether vLLM loads this checkpoint only with --trust-remote-code."""
    return model.architecture in _BRINGS_CODE or tokenizer_is_code(model)
