"""Rows that no GPU can have given are refused, and say why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load
from guide.measured.contradictions import contradictions
from guide.measured.measurements import Measurement, parse

CATALOG = load()
SOUND = parse(
    {
        "id": "sound", "source": "a lab", "framework": "vllm", "framework_version": "0.10.0",
        "model": "meta-llama/Llama-3.1-8B", "precision": "bf16", "gpu": "H100-SXM", "tp": "1",
        "kind": "concurrency", "batch_or_concurrency": "16", "isl": "1024", "osl": "256",
        "ttft_ms": "120", "tpot_ms": "9", "output_tput_tok_s": "1700",
    },
    "row",
)  # fmt: skip


def why(*rows: Measurement) -> dict[int, str]:
    return contradictions(rows, CATALOG)


def test_a_sound_row_stands() -> None:
    assert why(SOUND) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "meta-llama/Llama-3.1-405B"}, "memory of its 1 GPUs"),
        ({"ttft_s": 0.1, "tpot_s": 1e-4}, "of the peak"),
        ({"ttft_s": 0.005}, "its first token"),
        ({"kind": "static_batch", "ttft_s": 0.12, "tpot_s": None, "e2e_s": 0.13}, "of the peak"),
    ],
)
def test_a_row_beyond_the_datasheet_is_refused(changes: dict[str, object], said: str) -> None:
    found = why(replace(SOUND, **changes))  # pyright: ignore[reportArgumentType]
    assert said in found[0]


def test_equal_figures_on_two_gpus_are_a_copy() -> None:
    found = why(SOUND, replace(SOUND, gpu="H200"), replace(SOUND, gpu="H200", ttft_s=0.13))
    assert sorted(found) == [0, 1]
    assert "H200" in found[0]


def test_experts_may_span_the_ranks_that_their_row_counts() -> None:
    spread = replace(SOUND, model="Qwen/Qwen3-235B-A22B", precision="fp8", gpu="H200")
    assert why(replace(spread, gpus=1)) != {}
    assert why(replace(spread, gpus=4, dp=4, ttft_s=0.5)) == {}
