"""Speculative decoding in a table and JSON (pure)."""

from __future__ import annotations

from guide.domain import Recommendation, SpeculationAdvice, SpeculationPoint
from guide.report.table import Table
from guide.spec.speculation import SpeculationDocument, SpeculationPointDocument
from guide.units import GIB, format_rate, format_seconds, significant


def curve(found: Recommendation) -> Table:
    """With speculation and without over the load; no rows where the answer does not speculate."""
    advice = found.speculation
    unit = "" if advice is None else advice.asked.unit
    return Table(
        title="Speculative decoding over the load, unmeasured here",
        heads=(unit, "", "mean TPOT", "without", "output tokens/s", "without", "it"),
        rows=() if advice is None else tuple(_row(advice, point) for point in advice.curve),
        numeric=(0, 2, 3, 4, 5),
    )


def _row(advice: SpeculationAdvice, point: SpeculationPoint) -> tuple[str, ...]:
    return (
        format_rate(point.load),
        "asked" if point == advice.asked else "",
        format_seconds(point.tpot_s),
        format_seconds(point.plain_tpot_s),
        format_rate(point.output_tokens_per_s),
        format_rate(point.plain_output_tokens_per_s),
        "pays" if point.pays else "hurts",
    )


def document(advice: SpeculationAdvice) -> SpeculationDocument:
    """The same as JSON."""
    speculation = advice.speculation
    return {
        "method": speculation.method.value,
        "tokens": speculation.tokens,
        "tokensPerStep": significant(speculation.tokens_per_step),
        "pays": advice.asked.pays,
        "breakEvenAcceptance": (
            None if advice.break_even is None else significant(advice.break_even)
        ),
        "draftGiB": significant(advice.draft_bytes / GIB),
        "draftKVBytesPerToken": significant(advice.draft_kv_bytes_per_token),
        "asked": _point(advice.asked),
        "curve": [_point(point) for point in advice.curve],
        "measured": False,
    }


def _point(point: SpeculationPoint) -> SpeculationPointDocument:
    return {
        "load": significant(point.load),
        "tpotSeconds": significant(point.tpot_s),
        "tpotSecondsWithout": significant(point.plain_tpot_s),
        "outputTokensPerSecond": significant(point.output_tokens_per_s),
        "outputTokensPerSecondWithout": significant(point.plain_output_tokens_per_s),
    }
