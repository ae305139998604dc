"""Bytes a weight and the peak that its GEMMs use, by format and GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load
from guide.domain import Catalog, Gpu
from guide.models.precision import PRECISIONS, effective, peak_flop_per_s
from guide.perf.ops import Role, gemm_peak_flop_per_s


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


@pytest.fixture(scope="module")
def h100(catalog: Catalog) -> Gpu:
    return catalog.gpus["H100-SXM"]


@pytest.fixture(scope="module")
def a100(catalog: Catalog) -> Gpu:
    return catalog.gpus["A100-80GB"]


@pytest.fixture(scope="module")
def b200(catalog: Catalog) -> Gpu:
    return catalog.gpus["B200"]


@pytest.mark.parametrize(
    ("name", "dense", "expert"),
    [
        ("fp16", 2, 2),
        ("bf16", 2, 2),
        ("fp8", 1, 1),
        ("int8", 1, 1),
        # 4 bits, and per group of 128 a 16-bit scale and a 4-bit zero
        ("int4", (128 * 4 + 16 + 4) / 8 / 128, (128 * 4 + 16 + 4) / 8 / 128),
        # gpt-oss: 16-bit attention; experts of 4 bits with one scale byte per 32
        ("mxfp4", 2, (32 * 4 + 8) / 8 / 32),
        ("nvfp4", (16 * 4 + 8) / 8 / 16, (16 * 4 + 8) / 8 / 16),
    ],
)
def test_bytes_a_weight_hold_the_scales(name: str, dense: float, expert: float):
    precision = PRECISIONS[name]
    assert precision.name == name
    assert precision.dense_bytes == pytest.approx(dense, rel=1e-12)
    assert precision.expert_bytes == pytest.approx(expert, rel=1e-12)


def test_weight_only_formats_compute_in_16_bit(h100: Gpu, b200: Gpu):
    for gpu in (h100, b200):
        assert gemm_peak_flop_per_s(gpu, PRECISIONS["int4"], Role.DENSE) == gpu.fp16_flop_per_s
        assert gemm_peak_flop_per_s(gpu, PRECISIONS["mxfp4"], Role.DENSE) == gpu.fp16_flop_per_s


def test_fp8_reaches_the_fp8_peak_only_where_the_gpu_has_it(h100: Gpu, a100: Gpu):
    fp8 = PRECISIONS["fp8"]
    assert gemm_peak_flop_per_s(h100, fp8, Role.DENSE) == h100.fp8_flop_per_s
    assert gemm_peak_flop_per_s(a100, fp8, Role.DENSE) == a100.fp16_flop_per_s
    assert effective(a100, "fp8") == "fp16"


def test_fp4_experts_unpack_to_16_bit_without_fp4_cores(h100: Gpu, b200: Gpu):
    mxfp4 = PRECISIONS["mxfp4"]
    assert gemm_peak_flop_per_s(h100, mxfp4, Role.EXPERT) == h100.fp16_flop_per_s
    assert gemm_peak_flop_per_s(b200, mxfp4, Role.EXPERT) == b200.fp4_flop_per_s
    assert effective(b200, "fp4") == "fp4"


def test_head_and_attention_stay_in_16_bit(h100: Gpu):
    for role in (Role.HEAD, Role.ATTENTION):
        for precision in PRECISIONS.values():
            assert gemm_peak_flop_per_s(h100, precision, role) == h100.fp16_flop_per_s


def test_int8_uses_int8_cores_or_16_bit(a100: Gpu):
    assert peak_flop_per_s(a100, "int8") == a100.int8_flop_per_s
    assert peak_flop_per_s(replace(a100, int8_flop_per_s=None), "int8") == a100.fp16_flop_per_s


def test_no_format_is_slower_than_16_bit_on_any_gpu(catalog: Catalog):
    for gpu in catalog.gpus.values():
        for precision in PRECISIONS.values():
            for role in (Role.DENSE, Role.EXPERT):
                peak = gemm_peak_flop_per_s(gpu, precision, role)
                assert peak >= gpu.fp16_flop_per_s, (gpu.name, precision.name)
