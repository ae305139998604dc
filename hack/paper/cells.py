"""One cell of the paper's grid (5.1): a GPU, a model, a framework, TP, and a static batch.

Shapes, refusals, limits, memory and the event loop are those of the search; only the release of
vLLM is the paper's: the last one with its first scheduler, prompts before decodes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from guide.catalog import load, release
from guide.domain import Catalog, GpuPool, Lengths, MemoryFit, Plan, ReplicaGroup, Workload
from guide.perf.fits import fit_of
from guide.perf.memory import memory_fit
from guide.perf.novelty import within_reach
from guide.search.bounds import LAYOUT_RULES, context_does_not_fit, weights_do_not_fit
from guide.search.hybrid import simulate_hybrid_parallel
from guide.search.operating_point import default_limits
from guide.search.space import Shape, variants
from guide.simulate.batch import Batch

GPUS = ("A100-80GB", "V100-32GB", "A6000", "RTX4090")
MODELS = ("THUDM/chatglm3-6b", "Qwen/Qwen2-7B", "facebook/opt-6.7b", "meta-llama/Llama-2-7b-hf")
FRAMEWORKS = ("vLLM", "FastGen")
VERSIONS = {"vLLM": "0.7.3", "FastGen": None}
BATCHES = (4, 8, 16, 32)
PROMPTS = (128, 256, 512, 1024)
OUTPUT_TOKENS = 256
CONTEXT_TOKENS = 2048  # the shortest limit of the four models
OWN = "16 bit"
CHECKPOINTS = {  # published ones in fewer bits; chat models have the sizes of their bases
    ("Qwen/Qwen2-7B", "int8"): "Qwen/Qwen2-7B-Instruct-GPTQ-Int8",
    ("Qwen/Qwen2-7B", "int4"): "Qwen/Qwen2-7B-Instruct-AWQ",
    ("facebook/opt-6.7b", "int4"): "iproskurina/opt-6.7b-gptq-4bit",
    ("meta-llama/Llama-2-7b-hf", "int8"): "RedHatAI/Llama-2-7b-chat-quantized.w8a8",
    ("meta-llama/Llama-2-7b-hf", "int4"): "TheBloke/Llama-2-7B-AWQ",
}
QUANTISED = ("int8", "int4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is asked, and what came of it; `reason` says why there is no answer."""

    gpu: str
    model: str
    framework: str
    tp: int
    batch: int
    prompt_tokens: int
    output_tokens: int
    weights: str = OWN
    provenance: str = ""  # what was measured of such a cell
    ttft_s: float | None = None
    batch_latency_s: float | None = None
    decode_tokens_per_s: float | None = None
    output_tokens_per_s: float | None = None
    kv_mean_share: float | None = None
    kv_peak_share: float | None = None
    memory_share: float | None = None
    preemptions: int | None = None
    reason: str = ""


@cache
def catalog() -> Catalog:
    """The shipped catalogue."""
    return load()


def cell(
    gpu: str,
    model: str,
    framework: str,
    tp: int,
    batch: int,
    prompt: int,
    output: int,
    weights: str = OWN,
) -> Cell:
    """Simulate one cell, or say why it cannot run."""
    asked = Cell(
        gpu=gpu,
        model=model,
        framework=framework,
        tp=tp,
        batch=batch,
        prompt_tokens=prompt,
        output_tokens=output,
        weights=weights,
    )
    served = model if weights == OWN else CHECKPOINTS.get((model, weights))
    if served is None:
        return replace(asked, reason=f"no checkpoint in {weights} is known that a framework loads")
    found = replica(gpu, served, framework, tp, max(CONTEXT_TOKENS, prompt + output))
    if isinstance(found, str):
        return replace(asked, reason=found)
    group, memory = found
    load_ = Batch(requests=batch, prompt_tokens=prompt, output_tokens=output)
    report = simulate_hybrid_parallel([found], load_, catalog()).parts[0]
    fit = fit_of(group, catalog())
    return replace(
        asked,
        provenance=within_reach(fit.provenance, fit.reach, (batch, prompt, output)).value,
        ttft_s=report.ttft_s,
        batch_latency_s=report.batch_latency_s,
        decode_tokens_per_s=report.decode_tokens_per_s,
        output_tokens_per_s=report.output_tokens_per_s,
        kv_mean_share=report.kv_mean_share,
        kv_peak_share=report.kv_peak_share,
        memory_share=(memory.weight_bytes + memory.kv_bytes * report.kv_mean_share)
        / memory.hbm_bytes,
        preemptions=report.preemptions,
    )


@cache
def replica(
    gpu: str, model: str, framework: str, tp: int, context: int
) -> tuple[ReplicaGroup, MemoryFit] | str:
    """One replica at the framework's own limits, or why there is none."""
    facts, arch = catalog().gpus[gpu], catalog().models[model]
    pool = GpuPool(
        name=gpu,
        gpu=facts,
        product=gpu,
        source="paper",
        resource="nvidia.com/gpu",
        gpus_per_node=8,
        free_gpus_by_node=(8,),
    )
    plan = Plan(
        model=arch,
        workload=Workload(
            prompt=Lengths(mean_tokens=1), output=Lengths(mean_tokens=1), concurrency=1
        ),
    )
    shape = Shape(
        pool=pool,
        gpu=facts,
        release=release(catalog(), framework, VERSIONS[framework]),
        variant=next(variants(plan, catalog(), facts)),
        tp=tp,
        pp=1,
        switches=plan.switches,
    )
    for rule in LAYOUT_RULES:
        broken = rule(shape)
        if broken is not None:
            return broken.detail
    group = shape.group(default_limits(shape, context))
    memory = memory_fit(group, shape.release, plan.switches)
    broken = weights_do_not_fit(memory) or context_does_not_fit(memory, context)
    return broken.detail if broken else (group, memory)


def grid(tps: Sequence[int] = (1, 2), weights: str = OWN) -> Iterator[Cell]:
    """The paper's grid (P15), in the checkpoints' own precision or in fewer bits."""
    for gpu in GPUS:
        for model in MODELS:
            for framework in FRAMEWORKS:
                for tp in tps:
                    for batch in BATCHES:
                        for prompt in PROMPTS:
                            yield cell(
                                gpu, model, framework, tp, batch, prompt, OUTPUT_TOKENS, weights
                            )


def write(path: Path, cells: Iterable[Cell]) -> None:
    """One cell a row; four significant digits."""
    names = [field.name for field in fields(Cell)]
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(names)
        for one in cells:
            out.writerow([_text(getattr(one, name)) for name in names])


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sweep(over: Iterable[int], make: Callable[[int], Cell]) -> list[Cell]:
    """Cells along one axis."""
    return [make(value) for value in over]
