"""How batch and prompts are cut (paper 3.3), as a table and as a document."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from guide.insight.adjusted import Adjusted
from guide.report.table import Table
from guide.units import significant


def adjusted_table(found: Adjusted, name: str = "") -> Table:
    """What the search took, in the paper's words."""
    segments = found.segments
    beside = f", {found.beside:.1f} decode beside it" if found.beside else ""
    return Table(
        title=f"Dynamic adjustment of batch and prompt{name} (paper 3.3)",
        heads=("quantity", "", "why"),
        rows=(
            ("batch", f"{found.batch.size:,}", _clamped(found)),
            (
                "split size",
                f"{found.batch.split_size:,}",
                "whole prompts that one step takes, or the batch",
            ),
            ("sub-batches", sub_batches(found), "the remainder forms one more"),
            (
                "segment",
                f"{found.base_tokens * found.tuning:,.0f} tokens",
                f"base value {found.base_tokens:,} x tuning factor {found.tuning:g}{beside}",
            ),
            (
                "segments of a prompt",
                f"{segments.count:,}",
                f"{found.prompt_tokens:,.0f} tokens, {segments.tokens:,.0f} in each",
            ),
            (
                "longest sequence",
                f"{found.longest_tokens:,} tokens",
                "that the plan asks for, or that model and memory hold",
            ),
        ),
        numeric=(1,),
    )


def _clamped(found: Adjusted) -> str:
    if found.requested > found.most:
        return f"{found.requested:,} at once are clamped to what limit and memory hold"
    return f"no more at once; limit and memory hold {found.most:,}"


def sub_batches(found: Adjusted) -> str:
    """Sizes with how often each: 3 x 16 + 1 x 5."""
    runs = [(size, len(list(run))) for size, run in groupby(found.batch.sub_batches)]
    return " + ".join(f"{count:,} x {size:,}" for size, count in runs)


def adjusted_document(found: Adjusted) -> dict[str, Any]:
    """The same for programs."""
    return {
        "requestedBatch": found.requested,
        "maxBatch": found.most,
        "batch": found.batch.size,
        "splitSize": found.batch.split_size,
        "subBatches": list(found.batch.sub_batches),
        "segmentBaseTokens": found.base_tokens,
        "tuningFactor": significant(found.tuning),
        "promptTokens": significant(found.prompt_tokens),
        "decodeSequencesBeside": significant(found.beside),
        "segments": found.segments.count,
        "segmentTokens": significant(found.segments.tokens),
        "longestSequenceTokens": found.longest_tokens,
    }
