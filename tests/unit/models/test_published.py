"""Published configurations of today's models: each is read, counted and sized.

``configs.json.xz`` holds the fields of 57 published config.json and hf_quant_config.json files.
``sizes.csv`` states what their makers say of them (``published_*``), and a count of every tensor
made independently of this reader (``counted_*``, ``loaded_gib``), without prediction layers.
"""

from __future__ import annotations

import csv
import json
import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guide.domain import ModelArch, Part
from guide.models.arch import (
    cache_bytes_per_token,
    state_bytes_per_sequence,
    weight_counts,
    weights_of,
)
from guide.models.families import read_config
from guide.models.storing import stored_bytes
from guide.units import GIB

PUBLISHED = Path(__file__).parent / "published"
FILES: dict[str, dict[str, Any]] = json.loads(
    lzma.decompress((PUBLISHED / "configs.json.xz").read_bytes())
)
SIZES = {
    row["model"]: row for row in csv.DictReader((PUBLISHED / "sizes.csv").read_text().splitlines())
}
# names that round: Kimi's "1T", V4-Pro's "1.6T" (with its prediction layer)
ROUNDED = ("Kimi-K2", "DeepSeek-V4-Pro", "Qwen3.5-27B", "Qwen3-1.7B", "MiMo-7B", "gemma-4")


def read(name: str) -> ModelArch:
    files = FILES[name]
    return read_config(name, files["config"], files.get("hf_quant_config"))


def active(arch: ModelArch) -> float:
    """Weights that a token multiplies, without the input table and the encoders."""
    total = weight_counts(arch)
    experts = sum(n * w.parameters for n, w in weights_of(arch.groups) if w.part is Part.EXPERTS)
    used = experts * arch.active_experts / arch.experts if arch.experts else 0
    table = 0 if arch.tied_embeddings else total.embedding
    return total.total - experts + used - table - arch.tower_parameters


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_published_model_is_counted_and_sized(name: str):
    arch, row = read(name), SIZES[name]
    total = weight_counts(arch).total
    assert total / 1e9 == pytest.approx(float(row["counted_total_b"]), rel=1e-3)
    assert active(arch) / 1e9 == pytest.approx(float(row["counted_active_b"]), rel=2e-3)
    if not any(part in name for part in ROUNDED):
        assert total / 1e9 == pytest.approx(float(row["published_total_b"]), rel=0.01)
    loaded = stored_bytes(replace(arch, mtp=()))
    assert loaded / GIB == pytest.approx(float(row["loaded_gib"]), rel=2e-3)
    assert arch.notes == () or "Super" in name or "Step3p7" in arch.architecture


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_it_keeps_of_a_sequence(name: str):
    arch, row = read(name), SIZES[name]
    caches = [
        (g.count, cache)
        for g in arch.groups
        if g.attention
        for cache in g.attention.caches
        if cache.window_tokens is None
    ]
    own = sum(n * cache_bytes_per_token(c, 2) for n, c in caches if c.bytes_per_element is None)
    index = sum(n * cache_bytes_per_token(c, 2) for n, c in caches if c.bytes_per_element)
    state = sum(g.count * state_bytes_per_sequence(g.attention) for g in arch.groups if g.attention)
    assert own == float(row["kv_bytes_per_token"])
    assert index == pytest.approx(float(row["index_bytes_per_token"]), abs=1)
    assert state == float(row["state_bytes"])
