"""A checkpoint by its folder: config.json, what lies beside it, and the size its index states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guide.catalog import load
from guide.cli.checkpoint import called, named_path, read_checkpoint
from guide.domain import ModelArch
from guide.errors import SpecError
from guide.models.storing import stored_bytes
from guide.spec.checkpoint_files import with_files_beside
from guide.spec.resolve import model_of_config
from tests.llama_config import LLAMA

NVFP4 = {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}


def folder(tmp_path: Path, **files: Any) -> Path:
    names = {"config": "config.json", "beside": "hf_quant_config.json"}
    for key, value in files.items():
        name = names.get(key, "model.safetensors.index.json")
        (tmp_path / name).write_text(json.dumps(value))
    return tmp_path


def read(path: Path) -> ModelArch:
    return model_of_config("m", read_checkpoint(path))


def test_the_file_beside_counts(tmp_path: Path):
    path = folder(tmp_path, config=LLAMA, beside=NVFP4)
    assert read(path).precision == read(path / "config.json").precision == "nvfp4"


@pytest.mark.parametrize(("factor", "noted"), [(1.0, 0), (1.015, 0), (0.95, 1)])
def test_the_size_of_the_index_is_checked(tmp_path: Path, factor: float, noted: int):
    total = factor * stored_bytes(model_of_config("m", json.dumps(LLAMA)))
    arch = read(folder(tmp_path, config=LLAMA, index={"metadata": {"total_size": total}}))
    assert len(arch.notes) == noted


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path):
    path = folder(tmp_path, config=LLAMA, index={"metadata": {"total_size": 140e9}})
    with pytest.raises(SpecError, match="do not belong together"):
        read(path)


@pytest.mark.parametrize("empty", [{}, {"quant_method": ""}, {"quant_method": None}, None])
def test_a_quantisation_without_a_method_leaves_it_to_the_file_beside(
    tmp_path: Path, empty: dict[str, Any] | None
):
    path = folder(tmp_path, config={**LLAMA, "quantization_config": empty}, beside=NVFP4)
    assert read(path).precision == "nvfp4"
    if empty is not None:
        with pytest.raises(SpecError, match="names no quant_method"):
            model_of_config("m", json.dumps({**LLAMA, "quantization_config": empty}))


def test_two_files_that_say_different_formats_are_noted(tmp_path: Path):
    other = {"quant_method": "fp8"}
    arch = read(folder(tmp_path, config={**LLAMA, "quantization_config": other}, beside=NVFP4))
    assert arch.precision == "fp8"
    assert any("hf_quant_config.json nvfp4" in note for note in arch.notes)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"beside": {}}, "hf_quant_config.json names no quant_algo"),
        ({"beside": [1]}, "hf_quant_config.json must hold one JSON object"),
        ({"beside": {"quantization": {"quant_algo": "W3A3"}}}, "modelopt W3A3"),
        ({"index": {"metadata": {"total_size": "lots"}}}, "total_size = 'lots'"),
        ({"index": {"metadata": {"total_size": -1}}}, "total_size = -1"),
        ({"index": [1]}, "model.safetensors.index.json must hold one JSON object"),
    ],
)
def test_a_file_beside_that_says_nothing_is_one_sentence(
    tmp_path: Path, files: dict[str, Any], sentence: str
):
    with pytest.raises(SpecError, match=sentence):
        read(folder(tmp_path, config=LLAMA, **files))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden_size": 10**12}, "whole number up to 1,000,000,000"),
        ({"hidden_size": 9 * 10**8, "intermediate_size": 9 * 10**8}, "a number is mistyped"),
        ({"quantization_config": {"quant_method": "hqq"}}, "the quantisation 'hqq'"),
        (
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 128]}},
            "two whole numbers",
        ),
        (
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128]}},
            "two whole numbers",
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 5}}, "gptq with 5 bits"),
        (
            {"quantization_config": {"quant_method": "awq", "group_size": 0}},
            "must be at least 1",
        ),
    ],
)
def test_absurd_numbers_and_unknown_schemes_are_one_sentence(change: dict[str, Any], sentence: str):
    with pytest.raises(SpecError, match=sentence) as error:
        model_of_config("m", json.dumps({**LLAMA, **change}))
    assert "\n" not in str(error.value)


def test_a_config_map_holds_the_same_files_under_the_same_names(tmp_path: Path):
    total = 2 * stored_bytes(model_of_config("m", json.dumps(LLAMA)))
    index = {"metadata": {"total_size": total}}
    path = folder(tmp_path, config=LLAMA, beside=NVFP4, index=index)
    data = {file.name: file.read_text() for file in path.iterdir()}
    joined = with_files_beside("config.json", data["config.json"], data.get)
    assert json.loads(joined) == json.loads(read_checkpoint(path))
    several = {f"{model}.{name}": text for model in ("a", "b") for name, text in data.items()}
    assert with_files_beside("a.config.json", data["config.json"], several.get) == joined
    alone = with_files_beside("own.json", data["config.json"], data.get)
    assert alone == data["config.json"], "a key of another name has no files beside it"


def plan_of(name: object) -> dict[str, Any]:
    return {"spec": {"model": {"name": name}}}


def test_a_model_may_be_named_by_a_path_seen_from_the_plan(tmp_path: Path):
    own = tmp_path / "my models" / "own"
    own.mkdir(parents=True)
    (own / "config.json").write_text(json.dumps(LLAMA))
    catalog = load()
    for name in ("my models/own", "./my models/own", str(own), "my models/own/config.json"):
        path = named_path(plan_of(name), tmp_path, catalog)
        assert path is not None
        assert called(path) == "own"
    known = next(iter(catalog.models))
    (tmp_path / known).mkdir(parents=True)
    for name in (known, "own/model", "", 7, None, "a" * 9999, "a\0b"):
        assert named_path(plan_of(name), tmp_path, catalog) is None
    for name in ("./nothing", "/nothing/here", "../nothing"):
        with pytest.raises(SpecError, match=r"spec\.model\.name: there is no"):
            named_path(plan_of(name), tmp_path, catalog)


@pytest.mark.parametrize(
    ("name", "sentence"), [("", "holds no config.json"), ("m.gguf", "is a GGUF file")]
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, sentence: str):
    with pytest.raises(SpecError, match=sentence):
        read_checkpoint(tmp_path / name if name else tmp_path)


def test_an_unknown_architecture_is_read_by_its_keys_with_a_note():
    arch = model_of_config("m", json.dumps({**LLAMA, "architectures": ["NovelForCausalLM"]}))
    assert any("NovelForCausalLM" in note and "8.0 billion" in note for note in arch.notes)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"architectures": ["NovelForCausalLM"]}, "lacks num_hidden_layers, hidden_size"),
        ({"dim": 4096, "n_layers": 32}, "is a params.json of Mistral"),
        ({**LLAMA, "architectures": ["BertForMaskedLM"]}, "makes embeddings or scores"),
    ],
)
def test_what_is_no_decoder_says_what_to_do(config: dict[str, Any], sentence: str):
    with pytest.raises(SpecError, match=sentence):
        model_of_config("m", json.dumps(config))
