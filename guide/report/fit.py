"""Whether a layout fits, as a document for programs and as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guide.domain import Gpu
from guide.perf.kv_cache import LayerCache
from guide.report.document import API_VERSION
from guide.report.tables import Table
from guide.search.fit import FitAnswer
from guide.units import GIB, format_bytes

KIND = "Fit"
FitRow = tuple[Gpu, list[FitAnswer]]  # a GPU with every TP


def to_document(answer: FitAnswer, table: Sequence[FitRow] = ()) -> dict[str, Any]:
    """The answer with its settings, and the layouts of the table where one was made."""
    layout, limits, question = answer.layout, answer.limits, answer.question
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "model": question.model.name,
        "checkpoint": answer.served.name,
        "precision": answer.precision.name,
        "gpu": answer.gpu.name,
        "framework": question.release.framework,
        "frameworkVersion": question.version,
        "tp": layout.tp,
        "pp": layout.pp,
        "dp": question.dp,
        "ep": question.ep,
        "limits": {
            "maxModelLen": limits.max_model_len,
            "maxNumSeqs": limits.max_num_seqs,
            "maxNumBatchedTokens": limits.max_num_batched_tokens,
            "gpuMemoryUtilization": f"{limits.gpu_memory_utilization:g}",
            "kvCacheDtype": limits.kv_cache_dtype,
        },
        **_figures(answer),
        "gpuGiB": _gib(answer.memory.hbm_bytes),
        "reservedFor": {reason: _gib(count) for reason, count in answer.reserved.items()},
        "kvBytesPerTokenPerGPU": round(answer.memory.kv_bytes_per_token, 1),
        "layers": [_layers(cache) for cache in answer.caches],
        "notes": list(answer.notes),
    }
    if table:
        document["layouts"] = [
            {"gpu": gpu.name, "tp": one.layout.tp, **_figures(one)}
            for gpu, row in table
            for one in row
        ]
    return document


def _gib(count: float) -> float:
    return round(count / GIB, 3)


def _figures(answer: FitAnswer) -> dict[str, Any]:
    memory = answer.memory
    figures: dict[str, Any] = {
        "fits": answer.fits,
        "weightGiBPerGPU": _gib(memory.weight_bytes),
        "activationGiBPerGPU": _gib(memory.activation_bytes),
        "reservedGiBPerGPU": _gib(memory.reserved_bytes),
        "kvCacheGiBPerGPU": _gib(memory.spare_bytes),
        "kvCacheTokens": answer.kv_cache_tokens,
        "maxConcurrency": round(answer.max_concurrency, 2),
        "longestContextTokens": answer.longest_context_tokens,
    }
    if answer.broken is not None:
        figures |= {"reason": answer.broken.reason.value, "detail": answer.broken.detail}
    return figures


def _layers(cache: LayerCache) -> dict[str, Any]:
    """What the layers of a kind keep on one GPU, all of them together."""
    shown: dict[str, Any] = {"kind": cache.kind, "layers": len(cache.layers)}
    if cache.state_bytes:
        return {**shown, "bytesPerRequest": round(cache.state_bytes * len(cache.layers))}
    shown["bytesPerToken"] = round(cache.token_bytes * len(cache.layers), 1)
    if cache.window_tokens is not None:
        shown["windowTokens"] = cache.window_tokens
    return shown


def outcome(answer: FitAnswer) -> str:
    """The answer in one sentence."""
    layout, question = answer.layout, answer.question
    parts = [f"{answer.served.name} in {answer.precision.name}"]
    spread = [f"TP {layout.tp}"] + [f"PP {layout.pp}"] * (layout.pp > 1)
    parts.append(f"on {layout.tp * layout.pp} x {answer.gpu.name} ({', '.join(spread)})")
    parts.append(f"under {question.release.framework} {question.version}")
    where = " ".join(parts)
    if answer.broken is not None:
        return f"Does not start: {where}: {answer.broken.detail}."
    return (
        f"Fits: {where}: a KV cache of {answer.kv_cache_tokens:,} tokens, "
        f"{answer.max_concurrency:.2f} requests of {answer.limits.max_model_len:,} tokens at once."
    )


def tables(answer: FitAnswer) -> list[Table]:
    """Where the memory of one GPU goes, and what layers keep."""
    memory = answer.memory
    lines = [
        ("weights", memory.weight_bytes),
        ("peak of the profile run", memory.activation_bytes),
        *((reason, count) for reason, count in answer.reserved.items() if count),
        ("KV cache", memory.spare_bytes),
        ("all that the process sees", memory.hbm_bytes),
    ]
    context = f"{answer.longest_context_tokens:,} tokens"
    return [
        Table(
            title="Memory of one GPU",
            heads=("for", "GiB"),
            rows=(
                *((name, f"{count / GIB:.2f}") for name, count in lines),
                ("longest context that fits", context),
            ),
            numeric=(1,),
        ),
        Table(
            title="What the layers keep on one GPU",
            heads=("kind", "layers", "a token", "a request", "window"),
            rows=tuple(_layer_row(cache) for cache in answer.caches),
            numeric=(1, 2, 3, 4),
        ),
    ]


def _layer_row(cache: LayerCache) -> tuple[str, ...]:
    count = len(cache.layers)
    if cache.state_bytes:
        return (cache.kind, str(count), "", format_bytes(count * cache.state_bytes), "")
    window = f"{cache.window_tokens:,} tokens" if cache.window_tokens else ""
    return (cache.kind, str(count), f"{count * cache.token_bytes:,.0f} bytes", "", window)


def layouts(table: Sequence[FitRow]) -> Table:
    """GPU by TP: the KV cache in tokens where a server starts, else the reason."""
    sizes = sorted({one.layout.tp for _, row in table for one in row})
    return Table(
        title="KV cache in tokens by GPU and TP",
        heads=("GPU", *(f"TP {tp}" for tp in sizes)),
        rows=tuple(
            (
                gpu.name,
                *(
                    f"{one.kv_cache_tokens:,}" if one.broken is None else one.broken.reason.value
                    for one in row
                ),
            )
            for gpu, row in table
        ),
        numeric=tuple(range(1, len(sizes) + 1)),
    )
