"""What no fit may contradict, over GPUs, models, layouts and steps of the shipped fits.

A step stays above each roof of its datasheet: `tests/unit/perf/test_step.py`, over all constants.
"""

from __future__ import annotations

from functools import cache

from hypothesis import assume, given
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import StepShape
from guide.models.precision import PRECISIONS
from guide.perf.fits import resolve
from guide.perf.ops import Layout
from guide.perf.step import StepFacts, StepParams, fold, step_seconds

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


@cache
def known(
    gpu: str, model: str, precision: str, version: str, tp: int
) -> tuple[StepFacts, StepParams]:
    """The facts and shipped constants of a layout."""
    chip, arch = CATALOG.gpus[gpu], CATALOG.models[model]
    fit = resolve(CATALOG, chip, "vLLM", version, PRECISIONS[precision], arch)
    params = StepParams(**{name: fit.values[name] for name in StepParams._fields})
    return fold(arch, chip, PRECISIONS[precision], Layout(tp=tp)), params


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
    return float(step_seconds(*known(gpu, model, precision, version, tp), shape))


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
