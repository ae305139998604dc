"""The operator reads a model from a ConfigMap as the command line reads its folder."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guide.catalog import load
from guide.errors import SpecError
from guide.spec import parse_plan
from guide_operator.asking import Asker
from guide_operator.work import Work
from tests.good_plan import PLAN
from tests.llama_config import LLAMA

KEY = {"configMapKeyRef": {"name": "own", "key": "config.json"}}
FP8 = {"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}


def precision_of(**data: Any) -> str:
    held = {name.replace("__", "."): json.dumps(value) for name, value in data.items()}
    nothing = cast("Any", SimpleNamespace())
    client = cast("Any", SimpleNamespace(config_map=lambda *_: {"data": held}))  # pyright: ignore[reportUnknownLambdaType]
    asker = Asker(client, load(), nothing, nothing)
    model = {"name": "own/model", "configFrom": KEY}
    written = parse_plan({**PLAN, "spec": {**PLAN["spec"], "model": model}})
    work = cast("Work", SimpleNamespace(look_again_s=None))
    return asyncio.run(asker.question(work, written)).model.precision


def test_files_beside_the_config_count():
    assert precision_of(config__json=LLAMA) == "bf16"
    assert precision_of(config__json=LLAMA, hf_quant_config__json=FP8) == "fp8"


def test_an_index_of_another_model_is_refused():
    index = {"metadata": {"total_size": 140e9}}
    files = {"config__json": LLAMA, "model__safetensors__index__json": index}
    with pytest.raises(SpecError, match="do not belong together"):
        precision_of(**files)
