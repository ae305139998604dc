"""Families read realistic config.json files; counted weights equal the published checkpoints."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import guide.models.families
from guide.catalog import load
from guide.domain import Mla
from guide.errors import SpecError
from guide.models.arch import attention_bytes_per_token, weight_counts
from guide.models.families import FAMILIES, read_config
from tests.llama_config import LLAMA

# Parameter counts of the safetensors files as their publishers state them, to the last weight.
PUBLISHED = {
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-405B": 405_853_388_800,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "mistralai/Mistral-Nemo-Instruct-2407": 12_247_782_400,
    "mistralai/Mistral-Large-Instruct-2407": 122_610_069_504,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "Qwen/Qwen2-7B": 7_615_616_512,
    "Qwen/Qwen2-72B": 72_706_203_648,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "deepseek-ai/DeepSeek-V3": 671_026_419_200,
    "google/gemma-7b": 8_537_680_896,
    "google/gemma-2-9b": 9_241_705_984,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-12b-it": 12_187_325_040,
    "microsoft/phi-4": 14_659_507_200,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "zai-org/chatglm3-6b": 6_243_584_000,
    "EleutherAI/gpt-j-6b": 6_050_882_784,
    "facebook/opt-6.7b": 6_658_473_984,
    "bigscience/bloom": 176_247_271_424,
    "tiiuae/falcon-7b": 6_921_720_704,
    "EleutherAI/pythia-6.9b": 6_857_302_016,
    "microsoft/phi-2": 2_779_683_840,
    "microsoft/Phi-3.5-MoE-instruct": 41_873_153_344,
    "bigcode/starcoder2-3b": 3_030_371_328,
    "CohereLabs/c4ai-command-r-v01": 34_980_831_232,
    "HuggingFaceTB/SmolLM3-3B": 3_075_098_624,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_counted_weights_equal_the_published_count(name: str, parameters: int):
    assert weight_counts(load().models[name]).total == parameters


def test_every_family_file_is_registered():
    for module in pkgutil.iter_modules(guide.models.families.__path__):
        family = importlib.import_module(f"guide.models.families.{module.name}")
        for architecture in family.ARCHITECTURES:
            assert FAMILIES[architecture] is family.read


def test_every_family_has_a_model_in_the_catalogue():
    readers = {FAMILIES[model.architecture] for model in load().models.values()}
    assert readers == set(FAMILIES.values())


def test_llama_by_its_config():
    arch = read_config("me/my-llama", LLAMA)
    assert arch.name == "me/my-llama"
    assert (arch.layers, arch.hidden, arch.heads, arch.kv_heads, arch.head_dim) == (
        32,
        4096,
        32,
        8,
        128,
    )
    assert (arch.ffn, arch.dense_layers, arch.experts) == (14336, 32, 0)
    assert arch.max_context_tokens == 131072  # llama3 scaling is contained already
    assert arch.precision == "bf16"
    assert weight_counts(arch).total == 8_030_261_248


def test_yarn_and_linear_scaling_lengthen_the_context():
    yarn = {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
    }
    config = LLAMA | {"max_position_embeddings": 32768, "rope_scaling": yarn}
    assert read_config("m", config).max_context_tokens == 131072
    linear = {"type": "linear", "factor": 2.0}
    assert read_config("m", config | {"rope_scaling": linear}).max_context_tokens == 65536


def test_biases_of_a_llama_are_counted():
    plain = weight_counts(read_config("m", LLAMA)).total
    biased = weight_counts(read_config("m", LLAMA | {"attention_bias": True})).total
    assert biased - plain == 32 * (128 * (32 + 8 + 8) + 4096)


def test_decilm_takes_the_widest_layer():
    heads = [4] * 10 + [2] * 5 + [1] * 17
    config = LLAMA | {
        "architectures": ["DeciLMForCausalLM"],
        "num_key_value_heads_per_layer": heads,
    }
    del config["num_key_value_heads"]
    assert read_config("Deci/DeciLM-7B", config).kv_heads == 4


def test_windows_of_mistral():
    config = LLAMA | {
        "architectures": ["MistralForCausalLM"],
        "rope_scaling": None,
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
    }
    arch = read_config("m", config)
    assert (arch.window_tokens, arch.window_layers) == (4096, 32)
    arch = read_config("m", config | {"sliding_window": None})
    assert (arch.window_tokens, arch.window_layers) == (None, 0)
    arch = read_config("m", config | {"sliding_window": 262144})  # wider than the context
    assert (arch.window_tokens, arch.window_layers) == (None, 0)


@pytest.mark.parametrize(
    ("name", "window", "layers"),
    [
        ("openai/gpt-oss-120b", 128, 18),
        ("openai/gpt-oss-20b", 128, 12),
        ("google/gemma-2-9b", 4096, 21),
        ("google/gemma-3-12b-it", 1024, 40),
        ("google/gemma-3-27b-it", 1024, 52),
        ("mistralai/Mistral-7B-v0.1", 4096, 32),
        ("mistralai/Mistral-7B-v0.3", None, 0),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 8192, 36),
        ("microsoft/Phi-3-mini-4k-instruct", 2047, 32),
        ("microsoft/Phi-3-mini-128k-instruct", None, 0),
        ("Qwen/Qwen2-7B", None, 0),
        ("MiniMaxAI/MiniMax-M2.5", None, 0),
    ],
)
def test_windowed_layers_of_the_catalogue(name: str, window: int | None, layers: int):
    arch = load().models[name]
    assert (arch.window_tokens, arch.window_layers) == (window, layers)


def test_layer_types_win_over_the_period():
    config = {
        "architectures": ["GptOssForCausalLM"],
        "head_dim": 64,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "max_position_embeddings": 131072,
        "num_attention_heads": 64,
        "num_experts_per_tok": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 8,
        "num_local_experts": 32,
        "quantization_config": {"quant_method": "mxfp4"},
        "rope_scaling": {
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "rope_type": "yarn",
        },
        "sliding_window": 128,
        "vocab_size": 201088,
    }
    arch = read_config("openai/gpt-oss-tiny", config)
    assert (arch.window_layers, arch.max_context_tokens, arch.precision) == (1, 131072, "mxfp4")
    assert (arch.ffn, arch.expert_ffn, arch.dense_layers) == (0, 2880, 0)
    with pytest.raises(SpecError, match="layer_types has 3 entries for 4 layers"):
        read_config("m", config | {"num_hidden_layers": 4})


def test_mixtures_of_the_catalogue():
    models = load().models
    mixtral = models["mistralai/Mixtral-8x7B-v0.1"]
    assert (mixtral.ffn, mixtral.expert_ffn, mixtral.dense_layers) == (0, 14336, 0)
    kimi = models["moonshotai/Kimi-K2.5"]
    assert (kimi.dense_layers, kimi.ffn, kimi.experts, kimi.active_experts) == (1, 18432, 384, 8)
    glm = models["zai-org/GLM-4.6"]
    assert (glm.dense_layers, glm.ffn, glm.heads, glm.head_dim) == (3, 12288, 96, 128)
    qwen = models["Qwen/Qwen3-30B-A3B"]
    assert (qwen.ffn, qwen.expert_ffn, qwen.experts, qwen.active_experts) == (0, 768, 128, 8)
    scout = models["meta-llama/Llama-4-Scout-17B-16E-Instruct"]
    assert (scout.ffn, scout.mlps[0].shared_width, scout.active_experts) == (0, 8192, 1)


def test_qwen2_moe_counts_its_wide_shared_expert_in_units_of_an_expert():
    config = {
        "architectures": ["Qwen2MoeForCausalLM"],
        "decoder_sparse_step": 1,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "max_position_embeddings": 32768,
        "moe_intermediate_size": 2560,
        "num_attention_heads": 28,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "shared_expert_intermediate_size": 20480,
        "sliding_window": 65536,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": 151936,
    }
    arch = read_config("Qwen/Qwen2-57B-A14B", config)
    assert max(mlp.shared_width for mlp in arch.mlps) == 20480
    assert weight_counts(arch).total == pytest.approx(57.41e9, rel=1e-3)


def test_latent_attention_of_deepseek():
    arch = load().models["deepseek-ai/DeepSeek-R1-0528"]
    assert arch.mla == Mla(q_lora=1536, kv_lora=512, rope_dim=64, nope_dim=128, v_dim=128)
    assert attention_bytes_per_token(arch.attention, 2) == 1152
    assert (arch.precision, arch.base, arch.max_context_tokens) == ("fp8", None, 163840)


def test_deepseek_v2_lite_without_query_rank():
    config = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "first_k_dense_replace": 1,
        "hidden_size": 2048,
        "intermediate_size": 10944,
        "kv_lora_rank": 512,
        "max_position_embeddings": 163840,
        "moe_intermediate_size": 1408,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "num_attention_heads": 16,
        "num_experts_per_tok": 6,
        "num_hidden_layers": 27,
        "num_key_value_heads": 16,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "torch_dtype": "bfloat16",
        "v_head_dim": 128,
        "vocab_size": 102400,
    }
    arch = read_config("deepseek-ai/DeepSeek-V2-Lite", config)
    assert arch.mla is not None
    assert arch.mla.q_lora is None
    assert weight_counts(arch).total == 15_706_484_224


def test_decilm_with_impossible_heads_is_refused():
    config = LLAMA | {
        "architectures": ["DeciLMForCausalLM"],
        "num_key_value_heads_per_layer": [4, "two"],
    }
    with pytest.raises(SpecError, match="must hold divisors of num_attention_heads 32"):
        read_config("m", config)


def test_text_of_a_multimodal_config_and_its_vision_tower():
    models = load().models
    text = weight_counts(models["google/gemma-3-4b-it"]).total
    assert text == 4_300_079_472  # SigLIP tower and projector included
