"""The paper's grid and its four findings, as `make paper` draws them: shapes, not numbers."""

from __future__ import annotations

import csv
from functools import cache
from itertools import pairwise
from pathlib import Path

from hack.paper.cells import FRAMEWORKS, GPUS, MODELS, OUTPUT_TOKENS, Cell, cell, grid, write
from hack.paper.errors import Error, table
from hack.paper.plots import LLAMA, TASKS, knee

ROOT = Path(__file__).parents[3]
DRAWN = ROOT / "docs" / "paper"


@cache
def one(gpu: str, framework: str, tp: int, batch: int, prompt: int, output: int = 256) -> Cell:
    return cell(gpu, LLAMA, framework, tp, batch, prompt, output)


def test_p15_every_cell_has_an_answer_or_a_reason():
    cells = list(grid())
    assert len(cells) == len(GPUS) * len(MODELS) * len(FRAMEWORKS) * 2 * 4 * 4
    for c in cells:
        assert bool(c.reason) is (c.batch_latency_s is None)
    refused = {(c.framework, c.gpu, c.model) for c in cells if c.reason}
    assert {model for f, gpu, model in refused if f == "FastGen" and gpu == "V100-32GB"} == set(
        MODELS
    )
    assert ("FastGen", "A100-80GB", "THUDM/chatglm3-6b") in refused
    assert not any(framework == "vLLM" for framework, _, _ in refused)


def test_p15_a_model_that_does_not_fit_says_so():
    found = cell("RTX4090", "meta-llama/Llama-2-70b-hf", "vLLM", 2, 4, 128, OUTPUT_TOKENS)
    assert "of weights per GPU" in found.reason


def test_p16_the_table_has_the_papers_form():
    class Row:
        framework, tp, pp = "vLLM", 1, 1

    errors = [Error(Row(), "TTFT", e) for e in (0.1, 0.2, 0.6)]  # pyright: ignore
    lines = table(errors, "single").splitlines()
    assert lines[3].startswith("| TTFT | 30.00 (20.00) | 33.31 | 3 | no measurement | 41.43 | 0 |")
    assert "no measurement" in table(errors, "multi").splitlines()[2]


def test_p17_utilisation_drops_once_the_cache_is_full():
    for gpu, framework in (("RTX4090", "vLLM"), ("RTX4090", "FastGen"), ("V100-32GB", "vLLM")):
        line = [one(gpu, framework, 1, n, 1024).memory_share or 0 for n in range(4, 65, 4)]
        assert line[1] > line[0]
        assert any(later < earlier - 0.01 for earlier, later in pairwise(line))
    roomy = [one("A100-80GB", "vLLM", 1, n, 1024).memory_share or 0 for n in range(4, 33, 4)]
    assert all(later > earlier for earlier, later in pairwise(roomy))


def test_p18_fastgen_gains_on_vllm_as_the_batch_grows():
    for gpu in ("A100-80GB", "A6000"):
        ratio = [
            (one(gpu, "FastGen", 1, n, 128).batch_latency_s or 0)
            / (one(gpu, "vLLM", 1, n, 128).batch_latency_s or 1)
            for n in (1, 8, 32)
        ]
        assert ratio[0] > ratio[1] > ratio[2]
        assert ratio[2] <= 1


def test_p19_slow_links_make_tp_two_later_and_vllm_loses_more():
    def loss(gpu: str, framework: str, prompt: int) -> float:
        alone, pair = (one(gpu, framework, tp, 8, prompt).ttft_s or 0 for tp in (1, 2))
        return pair - alone

    for gpu in ("A6000", "RTX4090"):
        assert loss(gpu, "vLLM", 1024) > loss(gpu, "vLLM", 128) > 0
        assert loss(gpu, "vLLM", 1024) > loss(gpu, "FastGen", 1024)
    assert loss("A100-80GB", "vLLM", 1024) < loss("A6000", "vLLM", 1024)


def test_p20_the_best_batch_depends_on_task_and_hardware():
    def best(gpu: str, prompt: int, output: int) -> int:
        line = [
            one(gpu, "vLLM", 1, n, prompt, output) for n in (1, 4, 16, 32, 64, 96, 128, 192, 256)
        ]
        found = knee(line)
        assert found is not None
        return found.batch

    by_task = [best("A100-80GB", *task) for task in TASKS]
    assert by_task[0] > by_task[2]
    assert best("RTX4090", *TASKS[0]) < by_task[0]


def test_the_written_folder_is_complete(tmp_path: Path):
    for name in ("memory-utilisation", "latency-by-batch", "ttft-by-tp", "best-batch"):
        assert (DRAWN / f"{name}.png").stat().st_size > 10_000
        assert f"({name}.png)" in (DRAWN / "README.md").read_text(encoding="utf-8")
        text = (DRAWN / f"{name}.csv").read_text(encoding="utf-8")
        assert len(list(csv.DictReader(text.splitlines()))) > 30
    written = tmp_path / "cells.csv"
    write(written, [one("A100-80GB", "vLLM", 1, 4, 128)])
    header = (DRAWN / "grid.csv").read_text(encoding="utf-8").splitlines()[0]
    assert written.read_text(encoding="utf-8").splitlines()[0] == header
