"""One format for each weight: lists of names, groups, sizes of groups, and files beside."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from guide.domain import ModelArch
from guide.errors import SpecError
from guide.models.families import read_config
from guide.models.patterns import Patterns
from guide.models.storing import stored_bytes
from tests.llama_config import LLAMA

FP8_WEIGHTS = {"num_bits": 8, "type": "float", "strategy": "channel"}
INT4_WEIGHTS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}


def formats(arch: ModelArch) -> dict[str, str]:
    return {w.name: w.format.name for g in arch.groups for w in g.weights}


def quantised(**quantization: Any) -> ModelArch:
    return read_config("m", LLAMA | {"quantization_config": quantization})


@pytest.mark.parametrize(
    ("entry", "meant", "spared"),
    [
        ("lm_head", [], [(0, "self_attn.q_proj")]),
        ("model.layers.3.self_attn.q_proj", [(3, "self_attn.q_proj")], [(2, "self_attn.q_proj")]),
        ("model.layers.3.self_attn", [(3, "self_attn.q_proj")], [(3, "mlp.up_proj")]),
        ("model.layers.1*", [(1, "mlp.up_proj"), (12, "mlp.up_proj")], [(2, "mlp.up_proj")]),
        ("model.layers.1*.mlp", [(1, "mlp.up_proj"), (12, "mlp.up_proj")], [(2, "mlp.up_proj")]),
        ("model.layers.1*.mlp", [], [(1, "self_attn.q_proj")]),
        ("model.layers.1.*", [(1, "mlp.up_proj")], [(12, "mlp.up_proj")]),
        ("gate", [(5, "mlp.gate")], [(5, "mlp.gate_proj")]),
        ("self_attn", [(5, "self_attn.k_proj")], [(5, "mlp.gate_proj")]),
        ("re:.*self_attn.*", [(5, "self_attn.k_proj")], [(5, "mlp.gate_proj")]),
        ("re:.*mlp\\.(gate|up)_proj.*", [(5, "mlp.up_proj")], [(5, "mlp.experts.up_proj")]),
        (
            "*.mlp.shared_expert.*",
            [(5, "mlp.shared_experts.up_proj")],
            [(5, "mlp.experts.up_proj")],
        ),
        ("backbone.layers.4.mixer.in_proj", [(4, "mamba.in_proj")], [(4, "mamba.out_proj")]),
        (
            "model.layers.7.block_sparse_moe.experts.0.w1",
            [(7, "mlp.experts.gate_proj")],
            [(7, "mlp.experts.down_proj")],
        ),
    ],
)
def test_what_an_entry_of_a_list_means(
    entry: str, meant: list[tuple[int, str]], spared: list[tuple[int, str]]
):
    patterns = Patterns([entry])
    assert all(patterns.match(*weight) for weight in meant)
    assert not any(patterns.match(*weight) for weight in spared)


@pytest.mark.parametrize("rest", ["", "*", ".self_attn", ".self_attn.k_proj", ".self_attn*"])
@pytest.mark.parametrize("tower", ["vision_tower.transformer", "model.visual", "mtp", "model.mtp"])
def test_layers_of_towers_and_predictors_are_not_those_of_the_decoder(tower: str, rest: str):
    beside = Patterns([f"{tower}.layers.0{rest}"])
    assert not beside.match(0, "self_attn.k_proj")
    assert Patterns([f"language_model.model.layers.0{rest}"]).match(0, "self_attn.k_proj")


def test_attention_that_is_left_out_stays_in_16_bit():
    names = [f"model.layers.{i}.self_attn.{x}_proj" for i in range(32) for x in "qkvo"]
    arch = quantised(quant_method="fbgemm_fp8", modules_to_not_convert=["lm_head", *names])
    assert formats(arch)["self_attn.q_proj"] == "bf16"
    assert formats(arch)["mlp.up_proj"] == "fp8"
    assert arch.precision == "fp8"


def test_the_order_of_groups_means_nothing():
    groups = {
        "a": {"targets": ["re:.*self_attn.*"], "weights": FP8_WEIGHTS},
        "b": {"targets": ["Linear"], "weights": INT4_WEIGHTS},
        "c": {"targets": ["re:.*down_proj"], "weights": FP8_WEIGHTS},
    }
    answers = {
        stored_bytes(
            quantised(
                quant_method="compressed-tensors",
                config_groups={key: groups[key] for key in order},
            )
        )
        for order in itertools.permutations(groups)
    }
    assert len(answers) == 1


def test_two_groups_for_all_layers_contradict_each_other():
    with pytest.raises(SpecError, match="two config_groups for Linear"):
        quantised(
            quant_method="compressed-tensors",
            config_groups={
                "a": {"targets": ["Linear"], "weights": FP8_WEIGHTS},
                "b": {"targets": ["Linear"], "weights": INT4_WEIGHTS},
            },
        )


def test_smaller_groups_take_more_scales():
    sizes = [
        stored_bytes(quantised(quant_method="awq", bits=4, group_size=size))
        for size in (32, 64, 128, -1)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_a_format_that_only_the_file_beside_names():
    beside = {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    arch = read_config("m", LLAMA, beside)
    assert arch.precision == "nvfp4"
    assert 2 * stored_bytes(arch) < stored_bytes(read_config("m", LLAMA))


def test_config_json_wins_over_the_file_beside():
    config = LLAMA | {"quantization_config": {"quant_method": "fp8"}}
    beside = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}
    arch = read_config("m", config, beside)
    assert (arch.precision, arch.kv_cache_dtype) == ("fp8", "auto")


def test_modelopt_without_its_own_name():
    arch = quantised(
        quant_algo="FP8",
        ignore=["lm_head"],
        kv_cache_scheme="FP8",
        config_groups={"g": {"weights": {"num_bits": 8, "type": "float"}}},
    )
    assert (arch.precision, arch.kv_cache_dtype) == ("fp8", "fp8")


def test_layers_that_are_stored_differently_part():
    arch = quantised(
        quant_method="modelopt",
        quantization={"quant_algo": "NVFP4", "exclude_modules": ["model.layers.0*"]},
    )
    assert [g.layers for g in arch.groups] == [(0,), tuple(range(1, 32))]


def test_a_broken_expression_is_one_sentence():
    with pytest.raises(SpecError, match="names modules by an expression"):
        quantised(quant_method="fp8", ignored_layers=["re:("])


def test_gptq_exceptions():
    arch = quantised(
        quant_method="gptq",
        bits=4,
        group_size=64,
        dynamic={"-:.*self_attn.*": {}, "+:.*down_proj.*": {"bits": 8}},
    )
    found = formats(arch)
    assert (found["self_attn.q_proj"], found["mlp.down_proj"], found["mlp.up_proj"]) == (
        "bf16",
        "int8",
        "int4",
    )
