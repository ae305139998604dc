"""Bad catalogue data refuse to load, each with one sentence that names the row and the mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import guide.catalog
from guide.catalog import load
from guide.errors import CatalogError

GPU: dict[str, Any] = {
    "name": "X1",
    "vendor": "nvidia",
    "generation": "hopper",
    "memory_gb": 80,
    "bandwidth_gb_per_s": 3350,
    "tflops": {"fp16": 989, "fp8": 1979},
    "link": {"kind": "nvlink", "gb_per_s": 450},
    "source": "datasheet of the X1",
}
PRICE: dict[str, Any] = {
    "gpu": "A30",
    "provider": "Acme",
    "usd_per_gpu_h": 0.5,
    "as_of": "2026-01-31",
    "source": "quote 17",
}

WriteRows = Callable[..., Path]


@pytest.fixture
def rows(tmp_path: Path) -> WriteRows:
    def write(*rows: object) -> Path:
        path = tmp_path / "rows.yaml"
        path.write_text(yaml.safe_dump({"rows": list(rows)}), encoding="utf-8")
        return path

    return write


def test_a_users_gpu_is_added_and_changes_the_digest(rows: WriteRows):
    catalog = load(extra_gpus=rows(GPU))
    assert catalog.gpus["X1"].fp8_flop_per_s == 1979e12
    assert catalog.gpus["X1"].link.bytes_per_s == 450e9
    assert catalog.digest != load().digest


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": "red"}, r"row 1 \(X1\): colour is no known field\."),
        ({"memory_gb": -80}, r"row 1 \(X1\): memory_gb .*greater than 0 \(got -80\)\."),
        ({"memory_gb": 81920}, r"memory_gb .*less than or equal to 512 \(got 81920\)\."),
        ({"hbm_gib": 85}, r"hbm_gib 85\.0 exceeds the advertised memory_gb 80\."),
        ({"bandwidth_gb_per_s": 0}, r"bandwidth_gb_per_s .*greater than 0 \(got 0\)\."),
        ({"bandwidth_gb_per_s": float("nan")}, r"bandwidth_gb_per_s .*nan"),
        ({"tflops": {"fp16": 989, "fp8": 3958}}, r"tflops\.fp8 3958 is more than 2\.2 times"),
        ({"tflops": {"fp16": 989, "fp4": 9000}}, r"tflops\.fp4 9000 is more than 8\.5 times"),
        ({"tflops": {"fp32": 60}}, r"tflops\.fp16 is missing\."),
        ({"source": ""}, r"source .*at least 1 character"),
        ({"source": None}, r"source .*valid string"),
        ({"vendor": "acme"}, r"vendor .*'nvidia', 'amd' or 'intel' \(got 'acme'\)\."),
        ({"compute_capability": "nine"}, r"compute_capability .*\(got 'nine'\)\."),
        ({"name": "h100-sxm"}, r"GPU h100-sxm: 'h100-sxm' already names the GPU H100-SXM"),
        ({"relative": "T5"}, r"GPU X1: its relative T5 is in no row of the catalogue\."),
        ({"aliases": ["nvidia l4"]}, r"GPU X1: 'nvidia l4' already names the GPU L4"),
    ],
)
def test_a_bad_gpu_row_is_refused(rows: WriteRows, change: dict[str, Any], sentence: str):
    with pytest.raises(CatalogError, match=sentence) as caught:
        load(extra_gpus=rows(GPU | change))
    assert "\n" not in str(caught.value)


def test_an_unlikely_gpu_is_taken_with_a_warning(rows: WriteRows, caplog: pytest.LogCaptureFixture):
    assert "X1" in load(extra_gpus=rows(GPU | {"bandwidth_gb_per_s": 3.35})).gpus
    assert "X1: tflops.fp16 over bandwidth_gb_per_s is 295224 FLOP/byte, outside 50" in caplog.text
    caplog.clear()
    load(extra_gpus=rows(GPU))
    assert not caplog.text


def test_no_shipped_gpu_is_unlikely():
    ridges = [gpu.fp16_flop_per_s / gpu.hbm_bytes_per_s for gpu in load().gpus.values()]
    assert min(ridges) >= 50
    assert max(ridges) <= 1000


def test_a_missing_field_is_named(rows: WriteRows):
    row = {key: value for key, value in GPU.items() if key != "source"}
    with pytest.raises(CatalogError, match=r"rows\.yaml, row 1 \(X1\): source is missing\.$"):
        load(extra_gpus=rows(row))


def test_the_same_gpu_twice_is_refused(rows: WriteRows):
    with pytest.raises(CatalogError, match=r"GPU X1: 'X1' already names the GPU X1"):
        load(extra_gpus=rows(GPU, GPU))


def test_a_users_price_wins(rows: WriteRows):
    price = load(prices=rows(PRICE | {"gpu": "H100-SXM"})).prices["H100-SXM"]
    assert (price.usd_per_gpu_h, price.as_of) == (0.5, "2026-01-31")
    assert price.source == "Acme on-demand, quote 17"


def test_spot_prices_are_no_fallback(rows: WriteRows):
    assert "A30" not in load(prices=rows(PRICE | {"capacity": "spot"})).prices


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gpu": "T5"}, r"Price of T5 at Acme: no GPU of the catalogue is named T5\."),
        ({"usd_per_gpu_h": 0}, r"row 1 \(A30\): usd_per_gpu_h .*greater than 0 \(got 0\)\."),
        ({"as_of": "last year"}, r"as_of .*\(got 'last year'\)\."),
        ({"billed_gpus": 0}, r"billed_gpus .*greater than or equal to 1 \(got 0\)\."),
    ],
)
def test_a_bad_price_row_is_refused(rows: WriteRows, change: dict[str, Any], sentence: str):
    with pytest.raises(CatalogError, match=sentence):
        load(prices=rows(PRICE | change))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rows: [", "is no valid YAML"),
        ("- 1", "must be a mapping with a list under rows"),
        ("rows: 3", "must be a mapping with a list under rows"),
        ("rows: [3]", r"row 1: .*"),
    ],
)
def test_a_file_of_another_shape_is_one_sentence(tmp_path: Path, text: str, sentence: str):
    path = tmp_path / "gpus.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=sentence) as caught:
        load(extra_gpus=path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path):
    with pytest.raises(CatalogError, match=r"nowhere\.yaml: cannot be read"):
        load(prices=tmp_path / "nowhere.yaml")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Edits one shipped file in a copy of the catalogue."""
    for source in Path(guide.catalog.__file__).parent.glob("*.yaml"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "calibration.yaml").unlink(missing_ok=True)
    monkeypatch.setattr(guide.catalog, "_HERE", tmp_path)

    def edit(file: str, change: Any) -> None:
        path = tmp_path / file
        document = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
        change(document)
        path.write_text(yaml.safe_dump(document), encoding="utf-8")

    return edit


MODEL_EDITS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (
        lambda row: row.update(parameters_b=7.0),
        r"config counts 6\.74 billion parameters, but parameters_b says 7 \(more than 2 % apart\)",
    ),
    (
        lambda row: row["config"].update(architectures=["BertModel"]),
        r"'BertModel' makes embeddings or scores",
    ),
    (lambda row: row["config"].pop("hidden_size"), r"config\.json lacks hidden_size"),
    (
        lambda row: row.update(names=["Qwen/Qwen3-8B"]),
        r"the name Qwen/Qwen3-8B occurs twice",
    ),
    (
        lambda row: row.update(quantized={"me/mine": {"precision": "fp8", "base": "no/where"}}),
        r"me/mine: its base no/where has no row",
    ),
    (
        lambda row: row.update(quantized={"me/mine": {"precision": "int3"}}),
        r"quantized\.me/mine\.precision .*\(got 'int3'\)",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), MODEL_EDITS)
def test_a_bad_model_row_is_refused(
    shipped: Callable[[str, Any], None],
    change: Callable[[dict[str, Any]], None],
    sentence: str,
):
    shipped("models.yaml", lambda document: change(document["rows"][0]))
    with pytest.raises(CatalogError, match=sentence):
        load()


RELEASE_EDITS: list[tuple[Callable[[list[dict[str, Any]]], object], str]] = [
    (lambda rows: rows[1].update(since="0.8.1"), "overlap or leave a gap"),
    (lambda rows: rows[0].update(version="0.9"), r"version 0\.9 lies outside since and until"),
    (lambda rows: rows[0]["tiers"][0].update(min_hbm_gib=1), "one tier must hold for every GPU"),
    (lambda rows: rows[0].update(gpu_memory_utilization=92), "gpu_memory_utilization .*got 92"),
    (lambda rows: rows[0].update(scheduling="Magic"), r"scheduling .*got 'Magic'"),
]


@pytest.mark.parametrize(("change", "sentence"), RELEASE_EDITS)
def test_a_bad_release_row_is_refused(
    shipped: Callable[[str, Any], None],
    change: Callable[[list[dict[str, Any]]], object],
    sentence: str,
):
    shipped("frameworks.yaml", lambda document: change(document["rows"]))
    with pytest.raises(CatalogError, match=sentence):
        load()


def test_without_calibration_no_fit_is_known(shipped: Callable[[str, Any], None]):
    fits = load().fits
    assert (fits.rows, fits.points, fits.residuals, fits.evidence) == ({}, {}, {}, "")


FITS: dict[str, Any] = {
    "evidence": "static batches",
    "rows": [{"level": "gpu", "key": "L4", "points": 7, "values": {"share_w": -0.1}}],
    "residuals": [{"group": "vllm", "metric": "tpot", "half_width": 0.2}],
}


def test_calibration_becomes_the_fit_table(shipped: Callable[[str, Any], None]):
    before = load().digest
    shipped("calibration.yaml", lambda document: document.update(FITS))
    catalog = load()
    assert catalog.fits.rows == {("gpu", "L4"): {"share_w": -0.1}}
    assert catalog.fits.points == {("gpu", "L4"): 7}
    assert catalog.fits.residuals == {("vllm", "tpot"): 0.2}
    assert catalog.fits.evidence == "static batches"
    assert catalog.digest != before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rows": FITS["rows"] * 2}, "a level and key occur twice"),
        ({"residuals": [{"group": "a", "metric": "b", "half_width": -1}]}, "half_width"),
        ({"rows": [FITS["rows"][0] | {"values": {"x": float("inf")}}]}, r"values\.x"),
    ],
)
def test_a_bad_calibration_is_refused(
    shipped: Callable[[str, Any], None], change: dict[str, Any], sentence: str
):
    shipped("calibration.yaml", lambda document: document.update(FITS | change))
    with pytest.raises(CatalogError, match=sentence):
        load()
