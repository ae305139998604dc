"""The step-time formula: its two uses agree, it is monotone, and it stays above each roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.answer import StepShape
from guide.catalog import load
from guide.domain import FitTable, Gpu, Link, ModelArch, Precision, Provenance, Switches
from guide.models.precision import PRECISIONS
from guide.perf.fits import (
    ENOUGH_POINTS,
    PARAMETERS,
    SPREADS,
    ServingParams,
    constants,
    latent_centre,
    resolve,
)
from guide.perf.ops import Layout
from guide.perf.roofline import roofs
from guide.perf.step import StepFacts, StepParams, Traits, fold, pnorm, step_seconds
from guide.simulate.cost import LayoutCost

CATALOG = load()
MODELS = (
    "meta-llama/Llama-3.1-8B",
    "mistralai/Mixtral-8x7B-v0.1",
    "openai/gpt-oss-120b",
    "deepseek-ai/DeepSeek-V3",
    "Qwen/Qwen2.5-0.5B",
)
PRIOR, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})


def facts(
    model: str = "meta-llama/Llama-3.1-8B",
    gpu: Gpu | None = None,
    layout: Layout = Layout(),  # noqa: B008
    **more: object,
) -> StepFacts:
    arch = CATALOG.models[model]
    return fold(
        arch,
        gpu or CATALOG.gpus["H100-SXM"],
        PRECISIONS[arch.precision],
        layout,
        **more,  # pyright: ignore[reportArgumentType]
    )


@st.composite
def shapes(draw: st.DrawFn) -> StepShape:
    """A step that some scheduler could form: sums that belong to real sequences."""
    prompts = draw(st.lists(st.integers(1, 4000), max_size=4))
    decodes = draw(st.integers(0 if prompts else 1, 512))
    context = decodes * draw(st.integers(1, 30_000))
    pairs = sum(n * (n + 1) / 2 for n in prompts)
    inside = draw(st.floats(0, 1))
    return StepShape(
        prefill_tokens=sum(prompts),
        prefill_sequences=len(prompts),
        attended_pairs=pairs,
        window_pairs=inside * pairs,
        decode_sequences=decodes,
        decode_context_tokens=context,
        decode_window_tokens=inside * context,
        sampled_sequences=decodes + draw(st.integers(0, len(prompts))),
    )


@st.composite
def params(draw: st.DrawFn) -> StepParams:
    """Constants inside the links, within three of the widest standard deviations."""
    latent = {q.name: latent_centre(q) + draw(st.floats(-3, 3)) for q in PARAMETERS}
    latent["decode_c"] = 0.0
    step, _ = constants(latent)
    return step._replace(**{n: 0.0 for n in ("decode_h",) if n in StepParams._fields})


LAYOUTS = st.sampled_from(
    [Layout(), Layout(tp=2), Layout(tp=8), Layout(tp=4, pp=2), Layout(attention_ranks=8)]
)


# --- one formula, two uses ---


@given(st.lists(st.tuples(st.sampled_from(MODELS), shapes(), params()), min_size=1, max_size=8))
def test_arrays_give_what_floats_give(cases: list[tuple[str, StepShape, StepParams]]):
    folded = [facts(model) for model, _, _ in cases]

    def columns(rows: list[tuple[float, ...]]) -> list[np.ndarray]:
        return list(np.array(rows, dtype=float).T)

    together = step_seconds(
        StepFacts(*columns([tuple(f) for f in folded])),
        StepParams(*columns([tuple(v) for _, _, v in cases])),
        StepShape(*columns([tuple(s) for _, s, _ in cases])),
    )
    alone = [step_seconds(f, v, s) for f, (_, s, v) in zip(folded, cases, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@given(st.sampled_from(MODELS), shapes(), params())
def test_the_simulator_pays_what_the_formula_says(model: str, s: StepShape, v: StepParams):
    cost = LayoutCost(facts(model), v)
    if s.prefill_tokens:
        seconds = cost.prompt_step(
            int(s.prefill_tokens),
            int(s.prefill_sequences),
            s.attended_pairs,
            s.window_pairs,
            int(s.decode_sequences),
            s.decode_context_tokens,
            s.decode_window_tokens,
            int(s.sampled_sequences),
        )
    else:
        decodes = int(s.decode_sequences)
        seconds = cost.decode_run(1, decodes, s.decode_context_tokens, s.decode_window_tokens)
        three = cost.decode_run(3, decodes, s.decode_context_tokens, s.decode_window_tokens)
        assert three == pytest.approx(3 * seconds)
    assert seconds == pytest.approx(step_seconds(cost.facts, v, s), rel=1e-12)


@given(st.floats(1e-6, 1e2), st.floats(1e-6, 1e2), st.floats(1, 16))
def test_pnorm_lies_between_maximum_and_sum(a: float, b: float, p: float):
    soft = pnorm(a, b, p)
    assert max(a, b) * (1 - 1e-9) <= soft <= (a + b) * (1 + 1e-9)


# --- monotone ---

PEAKS = (
    "hbm_bytes_per_s",
    "fp16_flop_per_s",
    "fp8_flop_per_s",
    "fp4_flop_per_s",
    "int8_flop_per_s",
)


def faster(gpu: Gpu, peak: str, factor: float) -> Gpu:
    if peak == "link":
        link = Link(kind=gpu.link.kind, bytes_per_s=gpu.link.bytes_per_s * factor)
        return replace(gpu, link=link)
    value = getattr(gpu, peak)
    return replace(gpu, **{peak: value * factor if value else value})


@given(
    st.sampled_from(MODELS),
    st.sampled_from(["A100-80GB", "H100-SXM", "B200", "MI300X", "RTX4090"]),
    st.sampled_from([*PEAKS, "link"]),
    st.floats(1, 10),
    LAYOUTS,
    shapes(),
    params(),
)
def test_no_step_is_slower_on_a_gpu_with_a_higher_peak(
    model: str,
    name: str,
    peak: str,
    factor: float,
    layout: Layout,
    shape: StepShape,
    v: StepParams,
):
    gpu = CATALOG.gpus[name]
    before = step_seconds(facts(model, gpu, layout), v, shape)
    after = step_seconds(facts(model, faster(gpu, peak, factor), layout), v, shape)
    assert after <= before * (1 + 1e-12)


GROWING = (
    "attended_pairs",
    "window_pairs",
    "decode_sequences",
    "decode_context_tokens",
    "decode_window_tokens",
    "sampled_sequences",
)


@given(
    st.sampled_from(MODELS), LAYOUTS, shapes(), params(), st.sampled_from(GROWING),
    st.integers(1, 64),
)  # fmt: skip
def test_no_step_is_faster_for_doing_more(
    model: str, layout: Layout, shape: StepShape, v: StepParams, what: str, more: int
):
    larger = shape._replace(**{what: getattr(shape, what) + more})
    f = facts(model, layout=layout)
    assert step_seconds(f, v, larger) >= step_seconds(f, v, shape) * (1 - 1e-12)


def test_switches_reach_the_step():
    """P8: they change time, and by how much."""
    shape = StepShape(
        prefill_tokens=4000,
        prefill_sequences=1,
        attended_pairs=4000 * 4001 / 2,
        decode_sequences=32,
        decode_context_tokens=32 * 8000,
        sampled_sequences=33,
    )
    plain = step_seconds(facts(), PRIOR, shape)
    h2o = step_seconds(facts(switches=Switches(h2o_keep_share=0.2)), PRIOR, shape)
    scores = step_seconds(facts(switches=Switches(flash_attention=False)), PRIOR, shape)
    kv8 = step_seconds(facts(kv_cache_dtype="fp8"), PRIOR, shape)
    kv_s = facts().kv_token_s / PRIOR.share_kv * 32 * 8000
    assert plain - h2o == pytest.approx(0.8 * kv_s, rel=1e-6)
    assert plain - kv8 == pytest.approx(0.5 * kv_s, rel=1e-6)
    traffic_s = 32 * 32 * 3 * 2 / CATALOG.gpus["H100-SXM"].hbm_bytes_per_s / PRIOR.share_w
    assert scores - plain == pytest.approx(traffic_s * 4000 * 4001 / 2, rel=1e-6)


def test_paged_kernels_read_a_shared_head_more_often():
    shape = StepShape(decode_sequences=8, decode_context_tokens=8 * 4000, sampled_sequences=8)
    flash = step_seconds(facts(), PRIOR, shape)
    paged = step_seconds(facts(traits=Traits(paged_attention=True)), PRIOR, shape)
    kv_s = facts().kv_token_s / PRIOR.share_kv * 8 * 4000
    assert paged - flash == pytest.approx(kv_s * ((32 / 8) ** PRIOR.gqa - 1), rel=1e-6)


# --- never below a roofline ---


@given(
    st.sampled_from(MODELS),
    st.sampled_from(["A100-80GB", "H100-SXM", "B200", "MI300X", "RTX4090"]),
    LAYOUTS,
    shapes(),
    params(),
)
def test_a_step_takes_at_least_the_time_of_each_roof(
    model: str, name: str, layout: Layout, shape: StepShape, v: StepParams
):
    """All operators together at the full peak, at the full bandwidth, and on the bare link.

    Norm weights and position tables are left out: they are held, and hardly read.
    """
    arch, gpu = CATALOG.models[model], CATALOG.gpus[name]
    found = roofs(arch, gpu, PRECISIONS[arch.precision], layout, shape)
    read = [r for r in found if r.name not in ("norms and element-wise", "embedding")]
    if not shape.sampled_sequences:
        read = [r for r in read if r.name != "lm_head"]
    seconds = step_seconds(facts(model, gpu, layout), v, shape)
    for roof in ("compute_s", "memory_s", "network_s"):
        assert seconds >= sum(getattr(r, roof) for r in read) * (1 - 1e-9), roof


@pytest.mark.parametrize("gpu", ["A100-80GB", "H100-SXM", "H200", "B200"])
@pytest.mark.parametrize("kv_cache_dtype", ["auto", "fp8"])
def test_decoding_on_a_latent_is_bound_by_compute_on_one_gpu(gpu: str, kv_cache_dtype: str):
    """128 heads share one MLA latent: 242 FLOPs a byte at 16 bit, past the ridge of some GPUs."""
    arch, chip = CATALOG.models["deepseek-ai/DeepSeek-V3"], CATALOG.gpus[gpu]
    shape = StepShape(decode_sequences=256, decode_context_tokens=256 * 60_000)
    found = roofs(arch, chip, PRECISIONS["fp8"], Layout(attention_ranks=8), shape, kv_cache_dtype)
    attention = next(r for r in found if r.name == "attention")
    full = PRIOR._replace(share_kv=1 - 1e-9)
    f = facts(arch.name, chip, Layout(attention_ranks=8), kv_cache_dtype=kv_cache_dtype)
    bare = step_seconds(f, full, shape._replace(decode_context_tokens=0))
    assert step_seconds(f, full, shape) - bare >= attention.seconds * (1 - 1e-6)


# --- fits: bounds of the links, and what is known of a GPU nobody measured ---


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
    points = {("gpu-engine", "H100-SXM/vLLM-V1"): ENOUGH_POINTS}
    residuals = {("serving/Calibrated", "ttft"): 0.11, ("serving/Extrapolated", "ttft"): 0.33}
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
