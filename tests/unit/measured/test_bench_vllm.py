"""Results of `vllm bench serve` as measurements: kinds of load, lengths, one sentence for bad
files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guide.errors import SpecError
from guide.measured.bench_file import Setup
from guide.measured.measurements import Measurement
from guide.measured.protocols import Protocol
from guide.measured.sources import runs_of

RESULT: dict[str, Any] = {
    "date": "20250801-101500",
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 320,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 32,
    "duration": 98.0,
    "completed": 320,
    "total_input_tokens": 327680,
    "total_output_tokens": 81920,
    "output_throughput": 835.9,
    "mean_ttft_ms": 180.0,
    "mean_tpot_ms": 13.0,
}
SETUP = Setup(gpu="H100-SXM", tp=2, version="0.10.0", precision="fp8")


def read_bench(path: Path, setup: Setup) -> tuple[Measurement, Protocol]:
    ((row, protocol),) = runs_of(path, setup)
    assert protocol is not None
    return row, protocol


def write(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "run-7.json"
    path.write_text(json.dumps({**RESULT, **changes}))
    return path


def test_a_concurrency_limit_is_a_closed_loop_of_the_runs_own_length(tmp_path: Path):
    row, protocol = read_bench(write(tmp_path), SETUP)
    assert (row.id, row.kind, row.load) == ("run-7", "concurrency", 32)
    assert (row.prompt_tokens, row.output_tokens) == (1024, 256)
    assert (row.ttft_s, row.tpot_s) == (0.18, 0.013)
    assert (row.gpu, row.tp, row.gpus, row.version, row.precision) == (
        "H100-SXM", 2, 2, "0.10.0", "fp8",
    )  # fmt: skip
    assert row.date == "2025-08-01"
    assert protocol.requests == 320
    assert protocol.lengths.shape == "fixed"


def test_a_finite_rate_is_an_open_loop(tmp_path: Path):
    row, _ = read_bench(write(tmp_path, request_rate=4.0, max_concurrency=None), SETUP)
    assert (row.kind, row.load, row.e2e_s) == ("rate", 4.0, None)


def test_no_limit_at_all_is_a_burst_whose_end_is_the_duration(tmp_path: Path):
    row, protocol = read_bench(write(tmp_path, max_concurrency=None), SETUP)
    assert (row.kind, row.load, row.e2e_s) == ("burst", 320, 98.0)
    assert protocol.prompts == 320


def test_a_limit_that_never_binds_is_none(tmp_path: Path):
    assert read_bench(write(tmp_path, max_concurrency=320), SETUP)[0].kind == "burst"


def test_lengths_of_every_request_give_their_spread(tmp_path: Path):
    detailed = write(tmp_path, input_lens=[100, 400, 1600], output_lens=[10, 20, 40])
    rule = read_bench(detailed, SETUP)[1].lengths
    assert (rule.shape, rule.low, rule.high) == ("lognormal", 10, 1600)
    assert rule.sigma_prompt == pytest.approx(2 * rule.sigma_output)


def test_another_name_of_the_model_can_be_given(tmp_path: Path):
    path = write(tmp_path, model_id="/models/llama")
    assert read_bench(path, Setup(gpu="H100-SXM", model="a/b"))[0].model == "a/b"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"completed": 300}, "20 of 320 requests failed"),
        ({"request_rate": 4.0}, "neither an open nor a closed loop"),
        ({"burstiness": 0.5}, "burstiness"),
        ({"num_prompts": "many"}, "num_prompts: 'many' is no finite number"),
        ({"total_input_tokens": 0}, "total_input_tokens: must be a number above zero"),
        ({"mean_ttft_ms": None, "mean_tpot_ms": None}, "neither mean_ttft_ms nor mean_tpot_ms"),
        ({"input_lens": ["x"], "output_lens": [1]}, "input_lens"),
    ],
)
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str):
    with pytest.raises(SpecError, match=sentence):
        read_bench(write(tmp_path, **changes), SETUP)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[]", "no result of"),
        ('{"a": 1}', "no model_id"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, sentence: str):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=sentence):
        read_bench(path, SETUP)


def test_a_missing_file_and_a_missing_gpu_are_named(tmp_path: Path):
    with pytest.raises(SpecError, match="cannot read"):
        read_bench(tmp_path / "none.json", SETUP)
    with pytest.raises(SpecError, match="--gpu"):
        read_bench(write(tmp_path), Setup())
