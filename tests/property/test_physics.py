"""What no fit may contradict, over GPUs, models, layouts and steps of the shipped fits.

Over all constants that a fit could find: `tests/unit/perf/test_step.py`.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import StepShape
from guide.models.precision import PRECISIONS
from guide.perf.fits import PARAMETERS, engine_for, kernels_price, resolve
from guide.perf.formula import step_seconds
from guide.perf.kernels.curves import Curves
from guide.perf.ops import Layout
from guide.perf.roofline import roofs
from guide.perf.step import fold, priced_by_kernels
from guide.perf.terms import NO_WORK, StepFacts, StepParams, Traits, ramp_tokens
from tests.datasheets import nowhere_below

CATALOG = load()
ROUNDING = 1 + 1e-9
MODELS = (
    *(("Qwen/Qwen2.5-0.5B", "bf16"), ("meta-llama/Llama-3.1-8B", "bf16")),
    *(("meta-llama/Llama-3.1-8B", "fp8"), ("meta-llama/Llama-3.1-70B", "bf16")),
    *(("meta-llama/Llama-3.1-70B", "fp8"), ("mistralai/Mixtral-8x7B-v0.1", "bf16")),
    *(("Qwen/Qwen3-30B-A3B", "bf16"), ("deepseek-ai/DeepSeek-V3", "fp8")),
    ("openai/gpt-oss-120b", "mxfp4"),
)
VERSIONS = ("0.6.3", "0.10.0", "0.33.0")


class Known(NamedTuple):
    """What prices the steps of a layout."""

    facts: StepFacts
    params: StepParams
    priced: Curves | None  # by measured kernels

    def seconds(self, shape: StepShape) -> float:
        work = NO_WORK if self.priced is None else self.priced.step_work(shape)
        return float(step_seconds(self.facts, self.params, shape, work))


@cache
def known(gpu: str, model: str, precision: str, version: str, tp: int) -> Known:
    """The facts, shipped constants and kernels of a layout."""
    chip, arch, layout = CATALOG.gpus[gpu], CATALOG.models[model], Layout(tp=tp)
    dtypes = PRECISIONS[precision]
    fit = resolve(CATALOG, chip, "vLLM", version, dtypes, arch)
    params = StepParams(**{name: fit.values[name] for name in StepParams._fields})
    engine = engine_for(CATALOG, "vLLM", version)
    traits = Traits(kernels=kernels_price(CATALOG.fits, chip, engine))
    priced = priced_by_kernels(arch, chip, dtypes, layout, "auto") if traits.kernels else None
    return Known(fold(arch, chip, dtypes, layout, traits=traits), params, priced)


def chunk(tokens: int, before: int = 0, last: bool = True, prompts: int = 1) -> StepShape:
    """A step of `tokens` of a prompt after `before` others, which may be its last."""
    return StepShape(
        prefill_tokens=tokens * prompts,
        prefill_sequences=prompts,
        attended_pairs=prompts * tokens * (before + (tokens + 1) / 2),
        sampled_sequences=prompts if last else 0,
    )


def decode(sequences: int, context: int) -> StepShape:
    """A step of so many sequences, each with so much context."""
    return StepShape(
        decode_sequences=sequences,
        decode_context_tokens=sequences * context,
        sampled_sequences=sequences,
    )


def together(prompt: StepShape, decodes: StepShape) -> StepShape:
    """A step of both."""
    return StepShape(*(a + b for a, b in zip(prompt, decodes, strict=True)))


LAYOUTS = st.tuples(st.sampled_from(MODELS), st.sampled_from(VERSIONS), st.sampled_from((1, 2, 8)))
PROMPTS = st.integers(1, 32_768)
SEQUENCES, CONTEXTS = st.integers(1, 1024), st.integers(1, 131_072)
GPUS = st.sampled_from(sorted(CATALOG.gpus))
Asked = tuple[tuple[str, str], str, int]


def seconds(gpu: str, asked: Asked, shape: StepShape) -> float:
    (model, precision), version, tp = asked
    return known(gpu, model, precision, version, tp).seconds(shape)


@given(GPUS, LAYOUTS, PROMPTS, st.integers(1, 32_768), SEQUENCES, CONTEXTS)
def test_two_chunks_are_never_cheaper_than_one(
    gpu: str, asked: Asked, tokens: int, first: int, sequences: int, context: int
):
    assume(first < tokens)
    beside = decode(sequences, context)
    one = seconds(gpu, asked, together(chunk(tokens), beside))
    two = seconds(gpu, asked, together(chunk(first, last=False), beside))
    two += seconds(gpu, asked, together(chunk(tokens - first, first), beside))
    assert one <= two * ROUNDING


@given(GPUS, LAYOUTS, PROMPTS, SEQUENCES, CONTEXTS, st.integers(1, 4096), st.integers(1, 512))
def test_longer_prompts_larger_batches_and_contexts_take_no_less_time(
    gpu: str, asked: Asked, tokens: int, sequences: int, context: int, more: int, others: int
):
    shape = together(chunk(tokens), decode(sequences, context))
    larger = (
        together(chunk(tokens + more), decode(sequences, context)),
        together(chunk(tokens), decode(sequences + others, context)),
        together(chunk(tokens), decode(sequences, context + more)),
        together(chunk(tokens, prompts=2), decode(sequences, context)),
    )
    before = seconds(gpu, asked, shape)
    assert all(before <= seconds(gpu, asked, one) * ROUNDING for one in larger)
    assert seconds(gpu, asked, chunk(tokens)) <= before * ROUNDING
    assert seconds(gpu, asked, decode(sequences, context)) <= before * ROUNDING


@given(GPUS, LAYOUTS, SEQUENCES, CONTEXTS, st.integers(1, 512))
def test_two_batches_are_never_cheaper_than_one(
    gpu: str, asked: Asked, sequences: int, context: int, others: int
):
    one = seconds(gpu, asked, decode(sequences + others, context))
    two = seconds(gpu, asked, decode(sequences, context))
    two += seconds(gpu, asked, decode(others, context))
    assert one <= two * ROUNDING


@given(GPUS, LAYOUTS, PROMPTS, SEQUENCES, CONTEXTS)
def test_no_step_is_faster_than_its_datasheet_allows(
    gpu: str, asked: Asked, tokens: int, sequences: int, context: int
):
    """Norm weights and position tables are left out: they are held, and hardly read. So is a
    part in 10,000: the roofline writes the cache of a new token, which tables of kernels leave out.
    """
    (model, precision), _, tp = asked
    for shape in (decode(sequences, context), together(chunk(tokens), decode(sequences, context))):
        found = roofs(
            *(CATALOG.models[model], CATALOG.gpus[gpu], PRECISIONS[precision], Layout(tp=tp), shape)
        )
        read = [r for r in found if r.name not in ("norms and element-wise", "embedding")]
        for roof in ("compute_s", "memory_s", "network_s"):
            floor = sum(getattr(r, roof) for r in read)
            assert seconds(gpu, asked, shape) * 1.0001 >= floor, roof


@pytest.mark.parametrize(("model", "precision"), MODELS)
def test_a_gemm_of_one_token_is_bound_by_its_weights(model: str, precision: str):
    for gpu in sorted(CATALOG.gpus):
        f, v, priced = known(gpu, model, precision, VERSIONS[-1], 1)
        if priced is not None:
            continue  # its kernels are held to the same floor: `test_kernels.py`
        weights_s, token_s = f.dense_s / v.share_w, f.dense_token_s / v.share_c
        assert token_s * (1 + ramp_tokens(f, v)) <= weights_s * ROUNDING, gpu


@given(GPUS, LAYOUTS)
def test_no_share_of_a_roof_is_above_all_of_it(gpu: str, asked: Asked):
    (model, precision), version, tp = asked
    facts, v, _ = known(gpu, model, precision, version, tp)
    shares = [getattr(v, q.name) for q in PARAMETERS if q.link == "share" and q.name in v._fields]
    decoding = v.share_c * v.decode_c * facts.width**v.decode_h
    assert all(0 < share <= ROUNDING for share in (*shares, decoding))


LOADS = [
    *(decode(n, context) for n, context in product((1, 32, 512), (128, 32_768))),
    *(chunk(tokens) for tokens in (16, 512, 8192)),
    *(together(chunk(tokens), decode(128, 2048)) for tokens in (128, 2048)),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("model", "precision"), MODELS)
def test_no_gpu_is_slower_than_a_lesser_one_of_its_generation(
    model: str, precision: str, version: str
):
    """Also where nobody measured either: by fits alone, H200 was three times slower than H100."""
    for tp in (1, 8):
        took = {
            name: np.array([known(name, model, precision, version, tp).seconds(s) for s in LOADS])
            for name in CATALOG.gpus
        }
        compared = 0
        for better, lesser in permutations(CATALOG.gpus.values(), 2):
            if nowhere_below(better, lesser, precision):
                compared += 1
                faster = took[better.name] <= took[lesser.name] * ROUNDING
                assert faster.all(), f"{better.name} against {lesser.name}, tp {tp}"
        assert compared > 90
