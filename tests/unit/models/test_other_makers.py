"""Architectures beside the published set, by the size that their makers state (in 1e9)."""

from __future__ import annotations

from typing import Any

import pytest

from guide.domain import ModelArch
from guide.errors import SpecError
from guide.models.arch import state_bytes_per_sequence, weight_counts
from guide.models.families import read_config

CONFIGS: dict[str, tuple[float, dict[str, Any]]] = {
    "Falcon-H1-34B": (
        33.6,
        {
            "architectures": ["FalconH1ForCausalLM"],
            "hidden_size": 5120,
            "intermediate_size": 21504,
            "num_hidden_layers": 72,
            "num_attention_heads": 20,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "mamba_d_ssm": 4096,
            "mamba_n_heads": 32,
            "mamba_d_head": 128,
            "mamba_n_groups": 2,
            "mamba_d_state": 256,
            "mamba_d_conv": 4,
            "vocab_size": 261120,
            "max_position_embeddings": 262144,
        },
    ),
    "ERNIE-4.5-300B": (
        300,
        {
            "architectures": ["Ernie4_5_MoeForCausalLM"],
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "moe_intermediate_size": 3584,
            "moe_num_experts": 64,
            "moe_k": 8,
            "moe_layer_start_index": 3,
            "moe_layer_end_index": 53,
            "moe_layer_interval": 1,
            "num_hidden_layers": 54,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 103424,
            "max_position_embeddings": 131072,
        },
    ),
    "Hunyuan-A13B": (
        80.4,
        {
            "architectures": ["HunYuanMoEV1ForCausalLM"],
            "hidden_size": 4096,
            "intermediate_size": 3072,
            "moe_intermediate_size": [3072] * 32,
            "num_experts": 64,
            "moe_topk": [8] * 32,
            "num_shared_expert": [1] * 32,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 128167,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": True,
        },
    ),
    "Mistral-Small-4": (
        119,
        {
            "architectures": ["Mistral3ForConditionalGeneration"],
            "text_config": {
                "model_type": "mistral4",
                "hidden_size": 4096,
                "num_attention_heads": 32,
                "num_key_value_heads": 32,
                "num_hidden_layers": 36,
                "n_routed_experts": 128,
                "num_experts_per_tok": 4,
                "n_shared_experts": 1,
                "first_k_dense_replace": 0,
                "moe_intermediate_size": 2048,
                "intermediate_size": 12288,
                "kv_lora_rank": 256,
                "q_lora_rank": 1024,
                "qk_nope_head_dim": 64,
                "qk_rope_head_dim": 64,
                "v_head_dim": 128,
                "vocab_size": 131072,
                "max_position_embeddings": 1048576,
            },
        },
    ),
    "LongCat-Flash": (
        562,
        {
            "architectures": ["LongcatFlashForCausalLM"],
            "num_layers": 28,
            "hidden_size": 6144,
            "ffn_hidden_size": 12288,
            "expert_ffn_hidden_size": 2048,
            "n_routed_experts": 512,
            "zero_expert_num": 256,
            "moe_topk": 12,
            "num_attention_heads": 64,
            "q_lora_rank": 1536,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "vocab_size": 131072,
            "max_position_embeddings": 131072,
        },
    ),
    "InternVL3-78B": (
        78.4,
        {
            "architectures": ["InternVLChatModel"],
            "llm_config": {
                "architectures": ["Qwen2ForCausalLM"],
                "hidden_size": 8192,
                "intermediate_size": 29568,
                "num_hidden_layers": 80,
                "num_attention_heads": 64,
                "num_key_value_heads": 8,
                "vocab_size": 151674,
                "max_position_embeddings": 32768,
            },
            "vision_config": {
                "hidden_size": 3200,
                "num_hidden_layers": 45,
                "intermediate_size": 12800,
                "patch_size": 14,
                "image_size": 448,
            },
        },
    ),
}


def read(name: str, **changes: Any) -> ModelArch:
    return read_config(name, {**CONFIGS[name][1], **changes})


@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_maker_states_is_counted(name: str):
    assert weight_counts(read(name)).total / 1e9 == pytest.approx(CONFIGS[name][0], rel=5e-3)


def test_falcon_h1_keeps_tokens_and_a_state_in_every_layer():
    (attention,) = read("Falcon-H1-34B").attentions
    assert attention.caches[0].elements * attention.kv_heads == 2 * 4 * 128
    assert state_bytes_per_sequence(attention) == 32 * 128 * 256 * 4 + (4096 + 2 * 2 * 256) * 3 * 2


def test_each_half_of_a_longcat_layer_has_a_cache():
    assert read("LongCat-Flash").layers == 56


def test_a_newer_model_under_an_older_name_is_not_read_without_its_experts():
    arch = read("Mistral-Small-4")
    assert (arch.experts, arch.active_experts) == (128, 4)
    assert all(attention.mla for attention in arch.attentions)


def test_a_list_that_differs_by_layer_is_no_number():
    with pytest.raises(SpecError, match="moe_topk"):
        read("Hunyuan-A13B", moe_topk=[8] * 31 + [4])
