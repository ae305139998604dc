"""The step-time formula: its two uses agree, it is monotone, and it stays above each roofline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import Gpu, Link, StepShape, Switches
from guide.models.precision import PRECISIONS
from guide.perf import over_arrays
from guide.perf.fits import (
    PARAMETERS,
    constants,
    latent_centre,
)
from guide.perf.formula import pnorm, step_seconds
from guide.perf.ops import Layout
from guide.perf.roofline import roofs
from guide.perf.step import fold
from guide.perf.terms import StepFacts, StepParams, Traits
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
    latent["k_step"] = 0.0  # of steps that measured kernels price
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

    together = over_arrays.step_seconds(
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
