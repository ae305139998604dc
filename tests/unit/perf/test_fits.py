"""Fitted constants: bounds of their links, and what is known of a GPU that nobody measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import FitTable, Gpu, ModelArch, Precision, Provenance
from guide.models.precision import PRECISIONS
from guide.perf.belonging import shape_of
from guide.perf.fits import (
    ENOUGH_POINTS,
    PARAMETERS,
    SPREADS,
    UNFITTED,
    ServingParams,
    constants,
    kernels_price,
    latent_centre,
    resolve,
)
from guide.perf.terms import StepParams

CATALOG = load()
PRIOR, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})


@given(st.lists(st.floats(-30, 30), min_size=len(PARAMETERS), max_size=len(PARAMETERS)))
def test_links_keep_every_constant_inside_its_bounds(latent: list[float]):
    step, serving = constants({q.name: x for q, x in zip(PARAMETERS, latent, strict=True)})
    values = {**step._asdict(), **serving._asdict()}
    assert set(values) == {q.name for q in PARAMETERS}
    for q in PARAMETERS:
        if q.link == "share":
            assert 0 < values[q.name] < 1, q.name
        elif q.link == "positive":
            assert values[q.name] > 0, q.name
    assert step.p >= 1  # below 1 the soft maximum would exceed the sum


def test_the_links_undo_the_latent_centres():
    step, serving = constants({q.name: latent_centre(q) for q in PARAMETERS})
    for q in PARAMETERS:
        value = {**step._asdict(), **serving._asdict()}[q.name]
        assert value == pytest.approx(q.centre + (1.0 if q.name == "p" else 0.0)), q.name
        assert q.spread in SPREADS, q.name


NEW = replace(CATALOG.gpus["H100-SXM"], name="New", generation="future", aliases=())


def fit_of(table: FitTable, gpu: Gpu, version: str = "0.10.0"):
    arch = CATALOG.models["meta-llama/Llama-3.1-8B"]
    catalog = replace(CATALOG, fits=table)
    return resolve(catalog, gpu, "vLLM", version, PRECISIONS["bf16"], arch)


def table(
    rows: Mapping[tuple[str, str], Mapping[str, float]],
    points: Mapping[tuple[str, str], int] | None = None,
    residuals: Mapping[tuple[str, str], float] | None = None,
) -> FitTable:
    return FitTable(rows=rows, points=points or {}, residuals=residuals or {})


LLAMA = "meta-llama/Llama-3.1-8B"


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def test_an_unseen_gpu_is_the_prior_and_its_vendor_and_is_extrapolated():
    rows = {
        ("all", "*"): {"share_w": 0.1},
        ("vendor", "nvidia"): {"share_w": 0.2, "c0": 0.5},
        ("vendor", "amd"): {"share_w": -3.0},
        ("gpu", "H100-SXM"): {"share_w": 0.4},
        ("gpu-engine", "H100-SXM/vLLM-V1"): {"share_w": 0.8},
    }
    known_levels = (
        *(("engine", "vLLM-V1"), ("generation", "hopper"), ("gpu-engine", "H100-SXM/vLLM-V1")),
        *(("precision-gpu", "16-bit/H100-SXM/vLLM-V1"), ("version", "vLLM-0.10")),
        *(("architecture", "LlamaForCausalLM/vLLM-V1"), ("model", f"{LLAMA}/vLLM-V1")),
    )
    own = ("model-gpu", f"{LLAMA}/16-bit/H100-SXM/vLLM-V1")
    points = dict.fromkeys(known_levels, ENOUGH_POINTS) | {own: 1}
    residuals = {("serving/free/row", "ttft"): 0.11, ("serving/free/generation", "ttft"): 0.33}
    fits = table(rows, points, residuals)
    new = fit_of(fits, NEW)
    assert logit(new.values["share_w"]) == pytest.approx(logit(PRIOR.share_w) + 0.3)
    assert new.values["c0"] == pytest.approx(PRIOR.c0 * np.exp(0.5))
    assert new.values["share_c"] == pytest.approx(PRIOR.share_c)
    assert new.provenance is Provenance.EXTRAPOLATED
    assert new.measured_points == 0
    assert new.residual["ttft"] == 0.33
    known = fit_of(fits, CATALOG.gpus["H100-SXM"])
    assert logit(known.values["share_w"]) == pytest.approx(logit(PRIOR.share_w) + 1.5)
    assert known.provenance is Provenance.CALIBRATED
    assert known.residual["ttft"] == 0.11


def test_too_few_points_leave_a_gpu_extrapolated():
    points = {("gpu-engine", "H100-SXM/vLLM-V1"): ENOUGH_POINTS - 1}
    few = fit_of(table({}, points), CATALOG.gpus["H100-SXM"])
    assert few.provenance is Provenance.EXTRAPOLATED
    assert few.measured_points == ENOUGH_POINTS - 1


def test_without_any_fit_the_prior_speaks():
    fit = fit_of(table({}), NEW)
    assert {n: fit.values[n] for n in StepParams._fields} == pytest.approx(PRIOR._asdict())
    assert set(ServingParams._fields) < set(fit.values)
    assert fit.evidence == "prior"
    assert all(width > 0 for width in fit.residual.values())


def test_an_unmeasured_version_takes_the_nearest_older_one():
    fits = table({("version", "vLLM-0.8"): {"c0": 1.0}, ("version", "vLLM-0.12"): {"c0": 2.0}})

    def shift(version: str) -> float:
        return float(np.log(fit_of(fits, NEW, version).values["c0"] / PRIOR.c0))

    assert shift("0.9.2") == pytest.approx(1.0)  # versions pool in pairs
    assert shift("0.11.0") == pytest.approx(1.0)
    assert shift("0.13.0") == pytest.approx(2.0)
    assert shift("0.33.0") == pytest.approx(2.0)


def test_shipped_shares_are_physical():
    """Whatever calibration wrote, no GPU of the catalogue is promised more than its datasheet."""
    for gpu in CATALOG.gpus.values():
        for arch in CATALOG.models.values():
            fit = resolve(CATALOG, gpu, "vLLM", "0.33.0", precision_of(arch), arch).values
            shares = [n for n in fit if n.startswith("share_")]
            assert all(0 < fit[n] < 1 for n in shares), (gpu.name, arch.name)


def precision_of(arch: ModelArch) -> Precision:
    return PRECISIONS[arch.precision]


def test_one_network_under_two_names_has_one_shape():
    first, second = (
        CATALOG.models[name] for name in ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-Coder-30B-A3B-Instruct")
    )
    assert shape_of(first) == shape_of(replace(first, name="another", base=None))
    assert shape_of(first) == shape_of(second)
    assert shape_of(first) != shape_of(CATALOG.models["Qwen/Qwen3-8B"])


def test_measured_kernels_price_only_where_the_fits_were_made_so():
    chip = CATALOG.gpus["H100-SXM"]
    assert kernels_price(UNFITTED, chip, "vLLM-V1")
    assert not kernels_price(replace(UNFITTED, rows={}), chip, "vLLM-V1")
    assert not kernels_price(UNFITTED, chip, "vLLM-V0")
    assert not kernels_price(UNFITTED, CATALOG.gpus["MI300X"], "vLLM-V1")


def test_what_roofs_taught_of_a_gpu_moves_no_step_that_kernels_price():
    taught = {("gpu", "H100-SXM"): {q.name: 0.1 for q in PARAMETERS}}
    both = replace(UNFITTED, rows={**UNFITTED.rows, **taught})

    def served(fits: FitTable, framework: str) -> Mapping[str, float]:
        chip, bf16 = CATALOG.gpus["H100-SXM"], PRECISIONS["bf16"]
        return resolve(replace(CATALOG, fits=fits), chip, framework, "0.12.0", bf16).values

    assert served(both, "vLLM") == served(UNFITTED, "vLLM")
    assert served(both, "FastGen") != served(UNFITTED, "FastGen")


@pytest.mark.parametrize(
    ("new", "relative"), [("GB200", "B200"), ("GH200-96GB", "H100-SXM"), ("MI325X", "MI300X")]
)
def test_a_gpu_without_rows_takes_those_of_its_relative(new: str, relative: str):
    """Else it is priced as its whole generation: GB200 was 1.6 times slower than B200."""
    arch = CATALOG.models["meta-llama/Llama-3.1-70B"]
    own, theirs = (
        resolve(CATALOG, CATALOG.gpus[name], "vLLM", "0.10.0", PRECISIONS["bf16"], arch)
        for name in (new, relative)
    )
    assert own.values == pytest.approx(theirs.values)
    assert own.provenance is Provenance.EXTRAPOLATED


def test_relatives_are_of_one_chip_and_form():
    for gpu in CATALOG.gpus.values():
        if gpu.relative is not None:
            other = CATALOG.gpus[gpu.relative]
            assert (gpu.generation, gpu.link.kind) == (other.generation, other.link.kind)
            assert gpu.compute_capability == other.compute_capability
            assert other.relative is None
