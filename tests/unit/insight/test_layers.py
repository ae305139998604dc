"""The layers of a model by kind: nothing is lost, nothing counted twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load
from guide.insight.layers import layers_by_kind
from guide.models.precision import PRECISIONS, own_precision
from guide.models.storing import stored_bytes
from guide.report.layers import layers_table

CATALOG = load()


@pytest.mark.parametrize("name", sorted(CATALOG.models))
def test_kinds_weigh_what_the_checkpoint_does(name: str):
    model = CATALOG.models[name]
    kinds = layers_by_kind(model, own_precision(model), 2.0)
    assert sum(kind.layers for kind in kinds) == model.layers
    weights = sum(sum(kind.weight_bytes.values()) for kind in kinds)
    assert weights == pytest.approx(stored_bytes(replace(model, mtp=())))


def shown(name: str, precision: str | None = None) -> list[tuple[str, ...]]:
    model = CATALOG.models[name]
    served = PRECISIONS[precision] if precision else own_precision(model)
    return list(layers_table(layers_by_kind(model, served, 2.0), "").rows)


PINNED: dict[str, list[tuple[str, ...]]] = {
    "Qwen/Qwen3-Next-80B-A3B-Instruct": [
        ("linear", "10 of 512 experts + shared", "36", "", "73.7 MiB", "110.54 GiB 16 bit"),
        ("full", "10 of 512 experts + shared", "12", "24,576 bytes", "", "36.70 GiB 16 bit"),
        ("", "embedding, head", "", "", "", "1.16 GiB 16 bit"),
    ],
    "tiiuae/Falcon-H1-34B-Instruct": [
        ("full beside linear", "dense", "72", "147,456 bytes", "290.1 MiB", "57.68 GiB 16 bit"),
        ("", "embedding, head", "", "", "", "4.98 GiB 16 bit"),
    ],
    "google/gemma-3-27b-it": [
        ("sliding window 1,024", "dense", "52", "425,984 bytes", "", "39.99 GiB 16 bit"),
        ("full", "dense", "10", "81,920 bytes", "", "7.69 GiB 16 bit"),
        ("", "embedding, head, encoders", "", "", "", "3.41 GiB 16 bit"),
    ],
    "deepseek-ai/DeepSeek-V3.2": [
        ("sparse", "dense", "3", "3,852 bytes", "", "1.67 GiB fp8"),
        (
            "sparse",
            "8 of 256 experts + shared",
            "58",
            "74,472 bytes",
            "",
            "622.21 GiB fp8, 0.25 GiB 16 bit",
        ),
        ("", "embedding, head", "", "", "", "3.45 GiB 16 bit"),
    ],
    "openai/gpt-oss-120b": [
        (
            "sliding window 128",
            "4 of 128 experts",
            "18",
            "36,864 bytes",
            "",
            "28.37 GiB mxfp4, 0.94 GiB 16 bit",
        ),
        ("full", "4 of 128 experts", "18", "36,864 bytes", "", "28.37 GiB mxfp4, 0.94 GiB 16 bit"),
        ("", "embedding, head", "", "", "", "2.16 GiB 16 bit"),
    ],
}


@pytest.mark.parametrize("name", PINNED)
def test_what_is_shown(name: str):
    assert shown(name) == PINNED[name]


def test_weights_quantised_while_loading_are_shown_as_served():
    layers, around = shown("meta-llama/Llama-3.1-8B-Instruct", "fp8")
    assert layers[-1] == "6.50 GiB fp8"
    assert around[-1] == "1.96 GiB 16 bit"
