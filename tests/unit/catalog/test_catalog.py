"""The shipped catalogue: it loads fast, is complete, and answers by name, alias and version."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from guide.catalog import find_gpu, load, release
from guide.domain import Catalog, Scheduling
from guide.errors import SpecError
from guide.models.precision import PRECISIONS
from guide.units import GIB

FOLDER = Path(__file__).parents[3] / "guide" / "catalog"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def test_gpus_of_the_paper_and_the_common_rest_are_there(catalog: Catalog):
    expected = [
        "V100-16GB",
        "V100-32GB",
        "T4",
        "A10",
        "A10G",
        "A30",
        "A40",
        "A100-SXM4-40GB",
        "A100-80GB",
        "A100-80GB-PCIe",
        "A100-PCIe-40GB",
        "A6000",
        "RTX3090",
        "RTX4090",
        "RTX5090",
        "RTX5070Ti",
        "RTX6000Ada",
        "RTXPRO6000",
        "L4",
        "L40",
        "L40S",
        "H100-SXM",
        "H100-PCIe",
        "H100-NVL",
        "GH200-96GB",
        "H200",
        "H200-NVL",
        "B200",
        "B300",
        "GB200",
        "MI210",
        "MI250",
        "MI250X",
        "MI300X",
        "MI325X",
        "MI355X",
        "Max1550",
    ]
    assert set(expected) <= set(catalog.gpus)
    assert all(gpu.source for gpu in catalog.gpus.values())


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA-H100-80GB-HBM3", "H100-SXM"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),  # as DRA writes it
        ("NVIDIA-H100-PCIe", "H100-PCIe"),
        ("NVIDIA-H100-NVL", "H100-NVL"),
        ("NVIDIA-A100-SXM4-80GB", "A100-80GB"),
        ("A100-SXM4-40GB", "A100-SXM4-40GB"),  # drivers before 470 write no maker
        ("NVIDIA-A100-PCIE-40GB", "A100-PCIe-40GB"),
        ("NVIDIA-A100-80GB-PCIe", "A100-80GB-PCIe"),
        ("Tesla-T4", "T4"),
        ("Tesla-V100-SXM2-16GB", "V100-16GB"),
        ("Tesla-V100-PCIE-16GB", "V100-PCIe-16GB"),
        ("NVIDIA-GeForce-RTX-4090", "RTX4090"),
        ("nvidia-rtx-a6000", "A6000"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "RTXPRO6000"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-Edition", "RTXPRO6000-MaxQ"),
        ("Quadro-RTX-6000", "QuadroRTX6000"),
        ("AMD_Instinct_MI300X_OAM", "MI300X"),
        ("Max_1550", "Max1550"),
        ("l40s", "L40S"),
    ],
)
def test_product_strings_of_nodes_name_their_gpu(catalog: Catalog, product: str, name: str):
    gpu = find_gpu(catalog, product)
    assert gpu is not None
    assert gpu.name == name


@pytest.mark.parametrize("product", ["", "NVIDIA", "H100", "RTX-6000", "NVIDIA-H900"])
def test_an_unknown_or_vague_product_is_no_gpu(catalog: Catalog, product: str):
    assert find_gpu(catalog, product) is None


def test_memory_is_the_drivers_figure_or_99_percent_of_the_advertised(catalog: Catalog):
    assert catalog.gpus["H100-SXM"].hbm_bytes == pytest.approx(81559 / 1024 * GIB, rel=1e-3)
    assert catalog.gpus["A100-80GB"].hbm_bytes == pytest.approx(0.99 * 80 * GIB)


def test_no_bf16_before_ampere(catalog: Catalog):
    without = {gpu.name for gpu in catalog.gpus.values() if gpu.bf16_flop_per_s is None}
    old = {g.name for g in catalog.gpus.values() if g.generation in {"volta", "turing"}}
    assert without == old


def test_fp8_needs_capability_8_9_on_nvidia(catalog: Catalog):
    for gpu in catalog.gpus.values():
        if gpu.compute_capability is not None:
            assert (gpu.fp8_flop_per_s is not None) == (gpu.compute_capability >= (8, 9)), gpu.name


def test_quantised_checkpoints_name_a_base_of_the_same_shape(catalog: Catalog):
    quantised = [model for model in catalog.models.values() if model.base is not None]
    assert len(quantised) > 20
    for model in quantised:
        assert model.base is not None
        base = catalog.models[model.base]
        assert base.base is None, model.name  # as its maker published it, 16 bit or not
        assert model.precision in set(PRECISIONS) - {"bf16", "fp16"}, model.name
        assert (model.layers, model.hidden, model.kv_heads, model.parameters) == (
            base.layers,
            base.hidden,
            base.kv_heads,
            base.parameters,
        )


@pytest.mark.parametrize(
    ("text", "scheduling", "since"),
    [
        (None, Scheduling.TOKEN_BUDGET, (0, 33)),
        ("0.33.0", Scheduling.TOKEN_BUDGET, (0, 33)),
        ("v0.19.1rc1.dev227+g08bfedc15", Scheduling.TOKEN_BUDGET, (0, 13)),
        ("0.8.5.post1", Scheduling.TOKEN_BUDGET, (0, 8)),
        ("~0.5.3-0.6.1 (not stated)", Scheduling.PREFILL_FIRST, (0, 1)),
        ("0.10.x (V1, 2025-09; not pinned)", Scheduling.TOKEN_BUDGET, (0, 9)),
        ("0.7.3", Scheduling.PREFILL_FIRST, (0, 1)),
    ],
)
def test_versions_find_their_release(
    catalog: Catalog, text: str | None, scheduling: Scheduling, since: tuple[int, ...]
):
    found = release(catalog, "vLLM", text)
    assert (found.scheduling, found.since) == (scheduling, since)


def test_defaults_of_the_modelled_releases(catalog: Catalog):
    newest = release(catalog, "vLLM")
    assert newest.version == "0.33.0"
    assert newest.image == "vllm/vllm-openai:v0.33.0"
    assert newest.gpu_memory_utilization == 0.92
    assert [(t.max_num_batched_tokens, t.max_num_seqs) for t in newest.tiers] == [
        (16384, 1024),
        (8192, 1024),
        (2048, 256),
    ]
    fastgen = release(catalog, "FastGen")
    assert fastgen.scheduling is Scheduling.SPLIT_FUSE
    assert fastgen.image is None
    assert fastgen.tiers[0].max_num_batched_tokens == 768


def test_an_unknown_framework_or_version_is_one_sentence(catalog: Catalog):
    with pytest.raises(
        SpecError, match=r"^Framework 'TGI' is unknown; use one of FastGen, SGLang, vLLM\.$"
    ):
        release(catalog, "TGI")
    with pytest.raises(SpecError, match=r"^vLLM version 'nightly' is no version; write it like"):
        release(catalog, "vLLM", "nightly")
    with pytest.raises(SpecError, match=r"^vLLM 0\.0 is in no version range"):
        release(catalog, "vLLM", "0.0")


def test_prices_are_positive_dated_and_of_known_gpus(catalog: Catalog):
    h100 = catalog.prices["H100-SXM"]  # the median of several providers, between their extremes
    assert h100.sellers > 2
    assert h100.low_usd_per_gpu_h < h100.usd_per_gpu_h < h100.high_usd_per_gpu_h
    assert all(price.usd_per_gpu_h > 0 for price in catalog.prices.values())
    assert set(catalog.prices) <= set(catalog.gpus)
    assert all(price.source and price.as_of for price in catalog.prices.values())
    assert "RTXA5000" not in catalog.prices  # no source, so no price


def test_digest_names_the_content(catalog: Catalog):
    assert catalog.digest.startswith("sha256:")
    assert len(catalog.digest) == len("sha256:") + 64
    assert load().digest == catalog.digest


def test_loading_costs_little_more_than_reading_the_files():
    files = [path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yaml")]

    def parse() -> float:
        start = time.process_time()
        for text in files:
            yaml.load(text, Loader=yaml.CSafeLoader)
        return time.process_time() - start

    # checks and conversion, beside what the YAML parser needs
    assert min(_timed() for _ in range(3)) < 5 * min(parse() for _ in range(3))


def _timed() -> float:
    start = time.process_time()
    load()
    return time.process_time() - start
