"""What SGLang runs and refuses, each with its reason: architectures, GPUs, formats, stages.

Read in the wheels 0.4.0 to 0.5.23: classes under srt/models (`EntryClass`), `get_min_capability` of
srt/layers/quantization, and the models that load a stage alone (`make_layers` with a PP rank).
"""

from __future__ import annotations

from guide.domain import Gpu, ModelArch, Precision, Reason
from guide.frameworks.base import below, capability, tokenizer_is_code

Version = tuple[int, ...]

_BRINGS_CODE = frozenset({"DeciLMForCausalLM", "MiMoForCausalLM"})  # by their config.json

# The first version read that has a class of its own, of the architectures that GUIDE reads. Between
# two versions read the true one may be earlier.
_SINCE: dict[Version, str] = {
    (0, 4, 0): (
        "CohereForCausalLM DeepseekV2ForCausalLM ExaoneForCausalLM Gemma2ForCausalLM "
        "GemmaForCausalLM InternLM2ForCausalLM LlamaForCausalLM MistralForCausalLM "
        "MixtralForCausalLM Olmo2ForCausalLM OlmoeForCausalLM Phi3ForCausalLM QWenLMHeadModel "
        "Qwen2ForCausalLM Qwen2MoeForCausalLM Qwen2VLForConditionalGeneration"
    ),
    (0, 4, 3): (
        "Cohere2ForCausalLM DeepseekV3ForCausalLM GraniteForCausalLM InternLM3ForCausalLM "
        "Qwen2_5_VLForConditionalGeneration"
    ),
    (0, 4, 6): (
        "Gemma3ForCausalLM Gemma3ForConditionalGeneration Llama4ForCausalLM "
        "Llama4ForConditionalGeneration MiMoForCausalLM Mistral3ForConditionalGeneration "
        "Qwen3ForCausalLM Qwen3MoeForCausalLM"
    ),
    (0, 4, 10): (
        "Glm4ForCausalLM Glm4MoeForCausalLM GraniteMoeForCausalLM HunYuanMoEV1ForCausalLM "
        "PhiForCausalLM PhiMoEForCausalLM"
    ),
    (0, 5, 0): ("BailingMoeForCausalLM Ernie4_5_MoeForCausalLM GptOssForCausalLM"),
    (0, 5, 2): ("DeciLMForCausalLM LongcatFlashForCausalLM OPTForCausalLM Qwen3NextForCausalLM"),
    (0, 5, 3): (
        "BailingMoeV2ForCausalLM DeepseekV32ForCausalLM FalconH1ForCausalLM "
        "NemotronHForCausalLM Qwen3VLForConditionalGeneration "
        "Qwen3VLMoeForConditionalGeneration Starcoder2ForCausalLM"
    ),
    (0, 5, 4): ("KimiLinearForCausalLM MiniMaxM2ForCausalLM"),
    (0, 5, 6): ("Ministral3ForCausalLM MistralLarge3ForCausalLM"),
    (0, 5, 7): ("MiMoV2FlashForCausalLM"),
    (0, 5, 8): ("Glm4MoeLiteForCausalLM"),
    (0, 5, 9): (
        "BailingMoeV2_5ForCausalLM Exaone4ForCausalLM GPTJForCausalLM GlmMoeDsaForCausalLM "
        "GraniteMoeHybridForCausalLM KimiK25ForConditionalGeneration Lfm2ForCausalLM "
        "Lfm2MoeForCausalLM Qwen3_5ForConditionalGeneration "
        "Qwen3_5MoeForConditionalGeneration Step3p5ForCausalLM"
    ),
    (0, 5, 11): ("Gemma4ForCausalLM Gemma4ForConditionalGeneration MiMoV2ForCausalLM"),
    (0, 5, 12): ("DeepseekV4ForCausalLM"),
    (0, 5, 13): ("NemotronHPuzzleForCausalLM Step3p7ForConditionalGeneration"),
    (0, 5, 16): ("MiniMaxM3SparseForCausalLM MiniMaxM3SparseForConditionalGeneration"),
    (0, 5, 17): ("KimiK3ForConditionalGeneration Qwen3_5ForCausalLM Qwen3_5MoeForCausalLM"),
    (0, 5, 19): ("GraniteMoeSharedForCausalLM"),
}
ARCHITECTURES: dict[str, Version] = {
    name: since for since, names in _SINCE.items() for name in names.split()
}
# Every layer of these is loaded on every stage (inferred from the model files).
_NO_STAGES = frozenset(
    {
        "Cohere2ForCausalLM",
        "CohereForCausalLM",
        "ExaoneForCausalLM",
        "GPTJForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "Gemma3ForConditionalGeneration",
        "GemmaForCausalLM",
        "GraniteForCausalLM",
        "InternLM2ForCausalLM",
        "Olmo2ForCausalLM",
        "PhiMoEForCausalLM",
    }
)
_LEAST = (7, 5)  # "SGLang only supports sm75 and above."
_LEAST_CAPABILITY = {
    "fp8": (8, 0),
    "int8": (7, 5),
    "int4": (7, 5),
    "mxfp4": (8, 0),
    "nvfp4": (8, 0),
}
_ON_AMD = frozenset({"fp16", "bf16", "fp8", "int4", "mxfp4"})


def unsupported(
    gpu: Gpu, model: ModelArch, precision: Precision, pp: int
) -> tuple[Reason, str] | None:
    """Why no version runs this; None where one does."""
    if gpu.vendor not in ("nvidia", "amd"):
        return (Reason.COMPUTE_CAPABILITY, f"SGLang has no image for GPUs such as {gpu.name}")
    if below(gpu, *_LEAST):
        return (
            Reason.COMPUTE_CAPABILITY,
            f"SGLang only supports compute capability 7.5 and above, and {gpu.name} has "
            f"{capability(gpu)}",
        )
    if model.architecture not in ARCHITECTURES:
        return (
            Reason.UNSUPPORTED_MODEL,
            f"SGLang has no implementation of {model.architecture} of its own",
        )
    if pp > 1 and model.architecture in _NO_STAGES:
        return (
            Reason.UNSUPPORTED_MODEL,
            f"SGLang has no pipeline stages of {model.architecture}",
        )
    if gpu.vendor == "amd" and precision.name not in _ON_AMD:
        return (
            Reason.UNSUPPORTED_PRECISION,
            f"SGLang has no {precision.name} kernels for AMD GPUs such as {gpu.name}",
        )
    if gpu.vendor == "amd" and precision.name == "int4" and "gptq" in model.name.lower():
        return (Reason.UNSUPPORTED_PRECISION, "SGLang reads no GPTQ checkpoints on AMD GPUs")
    least = _LEAST_CAPABILITY.get(precision.name, _LEAST)
    if below(gpu, *least):
        return (
            Reason.COMPUTE_CAPABILITY,
            f"SGLang needs compute capability {least[0]}.{least[1]} for {precision.name}, and "
            f"{gpu.name} has {capability(gpu)}",
        )
    return None


def cannot_start(model: ModelArch, version: Version) -> tuple[Reason, str] | None:
    """Why a server of `version` ends at its start."""
    since = ARCHITECTURES.get(model.architecture)
    if since is None or version >= since:
        return None
    return (
        Reason.UNSUPPORTED_MODEL,
        f"SGLang runs {model.architecture} since {'.'.join(map(str, since))}, not "
        f"{'.'.join(map(str, version))}",
    )


def brings_code(model: ModelArch) -> bool:
    """Whether SGLang loads this checkpoint only with --trust-remote-code: its model type stands
    neither in transformers nor in `_CONFIG_REGISTRY` (0.5.14 to 0.5.23), or its tokenizer is code.
    """
    return model.architecture in _BRINGS_CODE or tokenizer_is_code(model)
