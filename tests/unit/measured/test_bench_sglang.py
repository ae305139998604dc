"""Results of `sglang.bench_serving` as measurements: kinds of load, what the server tells of
itself, one sentence for bad files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guide.catalog import load
from guide.errors import SpecError
from guide.measured.bench_file import Setup
from guide.measured.case import Case, build
from guide.measured.measurements import Measurement
from guide.measured.protocols import Protocol
from guide.measured.sources import runs_of

SERVER: dict[str, Any] = {
    "model_path": "meta-llama/Llama-3.1-8B-Instruct",
    "tp_size": 2,
    "pp_size": 1,
    "dp_size": 1,
    "ep_size": 1,
    "quantization": None,
    "kv_cache_dtype": "auto",
    "mem_fraction_static": 0.829,
    "chunked_prefill_size": 4096,
    "max_running_requests": 96,
    "max_total_num_tokens": 400_000,
    "speculative_algorithm": None,
    "enable_mixed_chunk": False,
    "version": "0.5.19",
}
RESULT: dict[str, Any] = {
    "tag": None,
    "backend": "sglang",
    "dataset_name": "random-ids",
    "request_rate": float("inf"),
    "max_concurrency": 32,
    "random_input_len": 1024,
    "random_output_len": 256,
    "random_range_ratio": 1.0,
    "server_info": SERVER,
    "duration": 98.0,
    "completed": 320,
    "total_input_tokens": 327680,
    "total_input_vision_tokens": 0,
    "total_output_tokens": 81920,
    "total_output_tokens_retokenized": 81900,
    "output_throughput": 835.9,
    "mean_ttft_ms": 180.0,
    "mean_tpot_ms": 13.0,
    "accept_length": None,
}
SETUP = Setup(gpu="H100-SXM")


def write(tmp_path: Path, *runs: dict[str, Any], name: str = "run.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps({**RESULT, **changes}) + "\n" for changes in runs))
    return path


def told(**changes: Any) -> dict[str, Any]:
    return {"server_info": {**SERVER, **changes}}


def read(
    tmp_path: Path, changes: dict[str, Any] | None = None, setup: Setup = SETUP
) -> tuple[Measurement, Protocol]:
    ((row, protocol),) = runs_of(write(tmp_path, changes or {}), setup)
    assert protocol is not None
    return row, protocol


def test_a_run_is_a_row_and_the_server_tells_the_rest(tmp_path: Path):
    row, protocol = read(tmp_path)
    assert (row.framework, row.version, row.model) == (
        "SGLang", "0.5.19", "meta-llama/Llama-3.1-8B-Instruct",
    )  # fmt: skip
    assert (row.id, row.kind, row.load, row.e2e_s) == ("run", "concurrency", 32, None)
    assert (row.gpu, row.gpus, row.tp, row.pp) == ("H100-SXM", 2, 2, 1)
    assert (row.prompt_tokens, row.output_tokens) == (1024, 256)
    assert (row.ttft_s, row.tpot_s, row.output_tokens_per_s) == (0.18, 0.013, 835.9)
    assert (protocol.requests, protocol.lengths.shape) == (320, "fixed")


def test_the_replay_runs_at_the_operating_point_of_the_server(tmp_path: Path):
    catalog = load()
    row, protocol = read(tmp_path, told(enable_mixed_chunk=True))
    case = build(row, catalog, protocol)
    assert isinstance(case, Case)
    policy = case.policy
    assert (policy.token_budget, policy.max_num_seqs) == (4096, 96)
    assert policy.kv_blocks * policy.block_tokens == 400_000
    assert policy.mixed_chunk
    plain = build(*(read(tmp_path)[0], catalog, protocol))
    assert isinstance(plain, Case)
    assert not plain.policy.mixed_chunk


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"request_rate": 4.0, "max_concurrency": None}, ("rate", 4.0, None)),
        ({"max_concurrency": None}, ("burst", 320, 98.0)),
        ({"max_concurrency": 320}, ("burst", 320, 98.0)),
    ],
)
def test_kinds_of_load(tmp_path: Path, changes: dict[str, Any], kind: tuple[str, float, Any]):
    row, _ = read(tmp_path, changes)
    assert (row.kind, row.load, row.e2e_s) == kind


def test_every_line_is_a_run_and_a_log_may_stand_around(tmp_path: Path):
    path = write(tmp_path, {}, {"max_concurrency": 64})
    path.write_text("Starting warmup\n" + path.read_text() + "#Input tokens: 3\n")
    runs = [row for row, _ in runs_of(path, SETUP)]
    assert [(row.id, row.load) for row in runs] == [("run-2", 32), ("run-3", 64)]


def test_one_line_may_end_in_json(tmp_path: Path):
    ((row, _),) = runs_of(write(tmp_path, {}, name="run.json"), SETUP)
    assert row.framework == "SGLang"


def test_precision_and_cache_are_those_of_the_server(tmp_path: Path):
    row, _ = read(tmp_path, told(quantization="fp8", kv_cache_dtype="fp8_e4m3"))
    assert (row.precision, row.kv_dtype) == ("fp8", "fp8")


def test_without_the_servers_words_those_of_the_user_count(tmp_path: Path):
    setup = Setup(gpu="H100-SXM", tp=4, version="0.5.14", model="a/b")
    row, _ = read(tmp_path, {"server_info": None}, setup)
    assert (row.tp, row.version, row.model, row.note) == (4, "0.5.14", "a/b", "")


def test_random_lengths_are_uniform_up_to_the_longest(tmp_path: Path):
    rule = read(tmp_path, {"random_range_ratio": 0.5})[1].lengths
    assert rule.shape == "uniform"
    assert (rule.low + rule.high) / 2 == pytest.approx(1)  # of the mean that was measured
    assert rule.high == pytest.approx(2 * rule.low)
    listed = {"random_range_ratio": 0.5, "input_lens": [100, 400], "output_lens": [10, 40]}
    assert read(tmp_path, listed)[1].lengths.shape == "lognormal"


def test_a_common_prefix_needs_its_hits(tmp_path: Path):
    shared = {"dataset_name": "generated-shared-prefix"}
    assert read(tmp_path, shared | {"cache_report": {"cache_hit_rate_pct": 25.0}})[
        1
    ].prefix_hit_share == pytest.approx(0.25)
    with pytest.raises(SpecError, match="--cache-report"):
        read(tmp_path, shared)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"backend": "vllm"}, "backend: 'vllm' is no SGLang server"),
        ({"request_rate": "trace"}, "only Poisson arrivals"),
        ({"request_rate": 4.0}, "neither an open nor a closed loop"),
        ({"total_input_vision_tokens": 12}, "holds images"),
        ({"accept_length": 2.3}, "speculative decoding"),
        (told(speculative_algorithm="EAGLE"), "speculative decoding"),
        (told(dp_size=2), "server_info, dp_size: is 2; measure one replica"),
        (told(model_path=""), "give --model"),
        (told(tp_size="two"), "server_info, tp_size: 'two' is no finite number"),
        ({"server_info": "none"}, "give --model"),
        ({"errors": ["timed out"] * 20 + [""] * 300}, "20 of 340 requests failed"),
        ({"completed": "many"}, "completed: 'many' is no finite number"),
        ({"completed": 0}, "completed: must be a number above zero"),
        ({"mean_ttft_ms": None, "mean_tpot_ms": None}, "neither mean_ttft_ms nor mean_tpot_ms"),
        ({"cache_report": {"cache_hit_rate_pct": 120}}, "120 is no percentage"),
        ({"input_lens": ["x"], "output_lens": [1]}, "input_lens"),
    ],
)
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str):
    with pytest.raises(SpecError, match=sentence) as refusal:
        read(tmp_path, changes)
    assert str(refusal.value).startswith(f"{tmp_path / 'run.jsonl'} line 1")


def test_a_degree_that_contradicts_the_server_is_refused(tmp_path: Path):
    with pytest.raises(SpecError, match="tp_size: is 2, but --tp is 4"):
        read(tmp_path, setup=Setup(gpu="H100-SXM", tp=4))


def test_a_missing_gpu_is_named(tmp_path: Path):
    with pytest.raises(SpecError, match="give --gpu"):
        read(tmp_path, setup=Setup())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no line is a JSON object"),
        ("Traceback (most recent call last):\n", "no line is a JSON object"),
        ("{\n", "line 1 is not valid JSON"),
        ('{"a": 1}\n', "no result of"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, sentence: str):
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(SpecError, match=sentence):
        runs_of(path, SETUP)
