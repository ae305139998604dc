"""Stored precision of checkpoints, and configs that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from guide.errors import SpecError
from guide.models.families import read_config
from tests.llama_config import LLAMA


@pytest.mark.parametrize(
    ("quantization", "precision"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4"),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "int8"),
        ({"quant_method": "mxfp4"}, "bf16"),  # of experts alone, and this model has none
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}, "fp8"),
        (
            {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}},
            "mxfp4",
        ),
    ],
)
def test_precision_of_a_quantised_config(quantization: dict[str, Any], precision: str):
    arch = read_config("m", LLAMA | {"quantization_config": quantization})
    assert arch.precision == precision


@pytest.mark.parametrize(
    ("weights", "precision"),
    [
        ({"num_bits": 8, "type": "float"}, "fp8"),
        ({"num_bits": 8, "type": "int"}, "int8"),
        ({"num_bits": 4, "type": "int", "group_size": 32}, "int4"),
        ({"num_bits": 4, "type": "float", "group_size": 16}, "nvfp4"),
    ],
)
def test_precision_of_compressed_tensors(weights: dict[str, Any], precision: str):
    quantization = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    arch = read_config("m", LLAMA | {"quantization_config": quantization})
    assert arch.precision == precision


@pytest.mark.parametrize(
    ("fields", "precision"),
    [
        ({"torch_dtype": "float16"}, "fp16"),
        ({"torch_dtype": None, "dtype": "bfloat16"}, "bf16"),
        ({"torch_dtype": "float32"}, "bf16"),
        ({"torch_dtype": None}, "bf16"),
    ],
)
def test_precision_of_a_plain_config(fields: dict[str, Any], precision: str):
    assert read_config("m", LLAMA | fields).precision == precision


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"architectures": None}, r"^Model m: config\.json names no architecture; use"),
        ({"architectures": ["T5ForConditionalGeneration"]}, r"'T5ForC.*is an encoder-decoder"),
        ({"architectures": "LlamaForCausalLM"}, r"architectures = 'Llama.*must be a list"),
        ({"hidden_size": None}, r"config\.json lacks hidden_size"),
        ({"hidden_size": "4096"}, r"hidden_size = '4096', but it must be a whole number"),
        ({"hidden_size": -4096}, r"hidden_size = -4096, but it must be a whole number"),
        ({"hidden_size": 4097}, r"hidden_size 4097 is no multiple of num_attention_heads 32"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers = 0, but it must be at least 1"),
        ({"num_key_value_heads": 5}, r"32 is no multiple of num_key_value_heads 5"),
        ({"vocab_size": True}, r"vocab_size = True, but it must be a whole number"),
        ({"vocab_size": 10**12}, r"vocab_size = 1000000000000, but"),
        ({"tie_word_embeddings": "no"}, r"tie_word_embeddings = 'no'.*true or false"),
        ({"rope_scaling": [1]}, r"rope_scaling = \[1\], but it must be an object"),
        ({"torch_dtype": "int7"}, r"dtype = 'int7', but it must be one of"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 3}},
            r"quantisation 'gptq with 3 bits', which GUIDE does not know; use a checkpoint in",
        ),
        ({"quantization_config": {"quant_method": "zip"}}, r"quantisation 'zip'"),
    ],
)
def test_a_bad_config_is_one_sentence(change: dict[str, Any], sentence: str):
    with pytest.raises(SpecError, match=sentence) as caught:
        read_config("m", LLAMA | change)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert caught.value.field == "spec.model"


def test_more_active_experts_than_experts_is_refused():
    config = LLAMA | {
        "architectures": ["MixtralForCausalLM"],
        "num_local_experts": 8,
        "num_experts_per_tok": 9,
    }
    with pytest.raises(SpecError, match="num_experts_per_tok 9 exceeds the 8 experts"):
        read_config("m", config)
