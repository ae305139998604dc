"""`guide fit` against start-up logs that others published, and its own rules."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

import pytest

from guide.catalog import find_gpu, load, release
from guide.domain import Reason
from guide.errors import SpecError
from guide.report.fit import layouts, outcome, to_document
from guide.search.fit import FitAnswer, FitQuestion, answer_fit, fit_table
from guide.units import GIB

CATALOG = load()
LOGS = Path(__file__).parents[1] / "perf/data/startup.csv"
PRECISION = {"none": None}


def ask(model: str, gpu: str, version: str = "0.33.0", **flags: object) -> FitAnswer:
    question = FitQuestion(
        model=CATALOG.models[model], release=release(CATALOG, "vLLM", version), version=version
    )
    found = find_gpu(CATALOG, gpu)
    assert found is not None
    return answer_fit(replace(question, **flags), found, CATALOG)  # pyright: ignore[reportArgumentType]


def logged() -> list[tuple[dict[str, str], FitAnswer]]:
    with LOGS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        (
            row,
            ask(
                row["model"],
                row["gpu"],
                row["vllm_version"],
                tp=int(row["tp"]),
                precision=PRECISION.get(row["quant"], row["quant"]),
                gpu_memory_utilization=float(row["util"]),
                max_model_len=int(row["max_model_len"]),
            ),
        )
        for row in rows
    ]


def test_weights_are_those_of_the_logs():
    errors = [
        abs(answer.memory.weight_bytes / GIB / float(row["stated_weights_gib"]) - 1)
        for row, answer in logged()
        if row["stated_weights_gib"]
    ]
    assert len(errors) >= 6
    assert median(errors) <= 0.005
    assert quantiles(errors, n=10, method="inclusive")[-1] <= 0.04


def test_the_cache_is_that_of_the_logs():
    """None above by more than 15 %, or 1 GiB where it is small."""
    errors: list[float] = []
    for row, answer in logged():
        stated, gib = float(row["stated_kv_gib"]), answer.memory.spare_bytes / GIB
        errors.append(abs(gib / stated - 1))
        assert gib - stated <= (1 if stated < 5 else 0.15 * stated), row["model"]
    assert median(errors) <= 0.03
    assert quantiles(errors, n=10, method="inclusive")[-1] <= 0.12


def test_without_tp_the_smallest_that_fits():
    found = ask("meta-llama/Llama-3.1-70B", "H100-SXM", max_model_len=8192)
    assert found.fits
    assert found.layout.tp == 2
    one = ask("meta-llama/Llama-3.1-70B", "H100-SXM", tp=1)
    assert one.broken is not None
    assert one.broken.reason is Reason.DOES_NOT_FIT
    assert outcome(one).startswith("Does not start: ")


def test_a_context_that_does_not_fit_says_what_does():
    found = ask("Qwen/Qwen3-32B", "H100-SXM", "0.11.0", tp=1, max_model_len=40_960)
    assert found.broken is not None
    assert f"{found.longest_context_tokens:,}" in found.broken.detail
    auto = ask("Qwen/Qwen3-32B", "H100-SXM", "0.11.0", tp=1, fit_model_len=True)
    assert auto.fits
    assert auto.limits.max_model_len == found.longest_context_tokens


def test_the_log_counts_tokens_by_release():
    """By blocks over the groups before 0.20.2, by requests of the longest length since."""
    old, new = (
        ask("google/gemma-3-27b-it", "H200", version, tp=1, max_model_len=65_536)
        for version in ("0.20.0", "0.20.2")
    )
    assert new.kv_cache_tokens == int(new.max_concurrency * 65_536)
    assert old.memory.pool is not None
    assert old.kv_cache_tokens == old.memory.pool.blocks // len(old.memory.pool.groups) * 16


def test_a_precision_means_its_checkpoint_or_a_hypothetical_one():
    catalogued = ask("meta-llama/Llama-3.1-70B", "H100-SXM", tp=4, precision="fp8")
    assert catalogued.served.precision == "fp8"
    made_up = ask("Qwen/Qwen3-0.6B", "H100-SXM", tp=1, precision="int4")
    assert any("no int4 checkpoint" in note for note in made_up.notes)
    with pytest.raises(SpecError, match="--precision int3 is none of"):
        ask("Qwen/Qwen3-0.6B", "H100-SXM", tp=1, precision="int3")


def test_data_parallel_attention_shares_experts_alone():
    alone = ask("deepseek-ai/DeepSeek-V3", "H200", tp=8)
    ranks = ask("deepseek-ai/DeepSeek-V3", "H200", tp=1, dp=8)
    assert ranks.memory.weight_bytes > alone.memory.weight_bytes
    assert ranks.memory.weight_bytes < 1.3 * alone.memory.weight_bytes
    assert ranks.memory.kv_bytes_per_token == alone.memory.kv_bytes_per_token, "a latent is copied"
    dense = ask("meta-llama/Llama-3.1-8B", "H200", tp=1, ep=2)
    assert dense.broken is not None
    assert "no experts" in dense.broken.detail


def test_the_document_has_the_names_that_were_promised():
    question = FitQuestion(
        model=CATALOG.models["openai/gpt-oss-120b"],
        release=release(CATALOG, "vLLM"),
        version="0.33.0",
    )
    gpu = CATALOG.gpus["H100-SXM"]
    table = fit_table(question, [gpu], CATALOG)
    document = to_document(answer_fit(question, gpu, CATALOG), table)
    assert {
        *("fits", "weightGiBPerGPU", "activationGiBPerGPU", "reservedGiBPerGPU"),
        *("kvCacheGiBPerGPU", "kvCacheTokens", "maxConcurrency", "longestContextTokens", "notes"),
    } <= document.keys()
    parts = (
        document[f"{part}GiBPerGPU"] for part in ("weight", "activation", "reserved", "kvCache")
    )
    assert sum(parts) == pytest.approx(document["gpuGiB"], abs=0.01)
    kinds = {kind["kind"]: kind for kind in document["layers"]}
    assert kinds["full"]["bytesPerToken"] == 18 * 2 * 64 * 2 * 8 / document["tp"]
    assert kinds["sliding window"]["windowTokens"] == 128
    assert [one["tp"] for one in document["layouts"]] == [1, 2, 4, 8, 16]
    assert layouts(table).rows[0][0] == "H100-SXM"
