"""Catalogued models whose published tensors are known to the last one."""

from __future__ import annotations

import pytest

from guide.catalog import load
from guide.domain import Part
from guide.models.arch import weight_counts, weights_of
from guide.models.storing import stored_bytes

CATALOG = load()


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("mistralai/Mistral-Medium-3.5-128B", 127_704_210_176),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 24_011_361_280),
    ],
)
def test_every_tensor_of_a_published_checkpoint_is_counted(name: str, tensors: int):
    """By the header of its safetensors."""
    assert weight_counts(CATALOG.models[name]).total == tensors


def test_kimi_k3_keeps_four_bits_for_routed_experts_alone():
    """2.8T parameters, 104B of them active; its 96 files hold 1.56 TB."""
    model = CATALOG.models["moonshotai/Kimi-K3"]
    counts = weight_counts(model)
    active = counts.total - counts.experts * (1 - 16 / 896) - counts.embedding
    assert counts.total == pytest.approx(2.78e12, rel=1e-3)
    assert active - model.tower_parameters == pytest.approx(104e9, rel=5e-3)
    assert stored_bytes(model) == pytest.approx(1.561e12, rel=1e-3)
    formats = {w.format.name for _, w in weights_of(model.groups) if w.part is Part.EXPERTS}
    assert formats == {"mxfp4"}
    others = {w.format.name for _, w in weights_of(model.groups) if w.part is not Part.EXPERTS}
    assert others == {"bf16"}
