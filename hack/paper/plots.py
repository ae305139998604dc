"""The paper's four findings (2.4) as plots from the simulator, each with its data beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from guide.search.batches import knee as best_size
from hack.paper.cells import OUTPUT_TOKENS, Cell, cell, sweep, write

LLAMA = "meta-llama/Llama-2-7b-hf"
COLOURS = {"vLLM": "#1f77b4", "FastGen": "#d95f02"}
DPI = 110


@dataclass(frozen=True, slots=True)
class Line:
    """Cells along one axis, and how they are drawn."""

    cells: list[Cell]
    label: str
    framework: str
    dashed: bool = False


def draw_all(folder: Path) -> dict[str, Sequence[Cell]]:
    """Draw every figure; returns the cells behind each."""
    return {
        "memory-utilisation": _memory(folder),
        "latency-by-batch": _latency(folder),
        "ttft-by-tp": _parallel(folder),
        "best-batch": _best_batch(folder),
    }


def _figure(titles: Sequence[str], x: str, y: str) -> tuple[Any, list[Any]]:
    figure, axes = plt.subplots(
        1, len(titles), figsize=(4.2 * len(titles), 3.6), layout="constrained", squeeze=False
    )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(x)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(y)
    return figure, list(axes[0])


def _lines(axis: Any, lines: Sequence[Line], x: str, y: str) -> None:
    for line in lines:
        points = [(getattr(c, x), getattr(c, y)) for c in line.cells if getattr(c, y) is not None]
        if points:
            axis.plot(
                *zip(*points, strict=True),
                color=COLOURS[line.framework],
                linestyle="--" if line.dashed else "-",
                marker="o",
                markersize=2.5,
                linewidth=1.2,
                label=line.label,
            )
    axis.legend(fontsize=8)


def _save(figure: Any, folder: Path, name: str, cells: Sequence[Cell]) -> Sequence[Cell]:
    figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    write(folder / f"{name}.csv", cells)
    return cells


def _memory(folder: Path) -> Sequence[Cell]:
    """P17: the share of GPU memory that holds weights or live tokens, over the batch."""
    panels = (
        ("RTX4090", LLAMA),
        ("V100-32GB", LLAMA),
        ("A6000", "facebook/opt-6.7b"),
        ("A100-80GB", "facebook/opt-6.7b"),
    )
    figure, axes = _figure(
        [f"{gpu}, {model.split('/')[1]}" for gpu, model in panels],
        "batch (prompts of 1,024 tokens, 256 out)",
        "GPU memory in use, mean over the batch",
    )
    everything: list[Cell] = []
    for axis, (gpu, model) in zip(axes, panels, strict=True):
        lines = [
            Line(
                sweep(
                    range(2, 129, 2),
                    lambda n, g=gpu, m=model, f=f: cell(g, m, f, 1, n, 1024, OUTPUT_TOKENS),
                ),
                f,
                f,
            )
            for f in COLOURS
        ]
        _lines(axis, lines, "batch", "memory_share")
        axis.set_ylim(0, 1)
        everything += [c for line in lines for c in line.cells]
    return _save(figure, folder, "memory-utilisation", everything)


def _latency(folder: Path) -> Sequence[Cell]:
    """P18: batch latency of the two frameworks over the batch."""
    gpus = ("A100-80GB", "A6000", "RTX4090")
    figure, axes = _figure(
        [f"{gpu}, Llama-2-7b" for gpu in gpus],
        "batch (256 tokens out)",
        "batch latency, seconds",
    )
    everything: list[Cell] = []
    for axis, gpu in zip(axes, gpus, strict=True):
        lines = [
            Line(
                sweep(
                    (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64),
                    lambda n, g=gpu, f=f, p=p: cell(g, LLAMA, f, 1, n, p, OUTPUT_TOKENS),
                ),
                f"{f}, prompt {p}",
                f,
                p == 128,
            )
            for f in COLOURS
            for p in (128, 1024)
        ]
        _lines(axis, lines, "batch", "batch_latency_s")
        axis.set_ylim(bottom=0)
        everything += [c for line in lines for c in line.cells]
    return _save(figure, folder, "latency-by-batch", everything)


def _parallel(folder: Path) -> Sequence[Cell]:
    """P19: TTFT with one and with two GPUs over the prompt length."""
    gpus = ("A100-80GB", "A6000", "RTX4090")
    figure, axes = _figure(
        [f"{gpu}, Llama-2-7b, batch 8" for gpu in gpus],
        "prompt tokens",
        "TTFT, seconds",
    )
    everything: list[Cell] = []
    for axis, gpu in zip(axes, gpus, strict=True):
        lines = [
            Line(
                sweep(
                    (128, 256, 384, 512, 640, 768, 896, 1024),
                    lambda p, g=gpu, f=f, tp=tp: cell(g, LLAMA, f, tp, 8, p, OUTPUT_TOKENS),
                ),
                f"{f}, TP {tp}",
                f,
                tp == 2,
            )
            for f in COLOURS
            for tp in (1, 2)
        ]
        _lines(axis, lines, "prompt_tokens", "ttft_s")
        axis.set_ylim(bottom=0)
        everything += [c for line in lines for c in line.cells]
    return _save(figure, folder, "ttft-by-tp", everything)


TASKS = ((128, 256), (512, 256), (1024, 256), (1024, 32))


def knee(cells: Sequence[Cell]) -> Cell | None:
    """The best batch by the rule of `guide plan`."""
    rates = [c.output_tokens_per_s or 0.0 for c in cells]
    best = best_size([c.batch for c in cells], rates)
    return next((c for c in cells if c.batch == best), None)


def _best_batch(folder: Path) -> Sequence[Cell]:
    """P20: throughput over the batch by task, with the batch beyond which it hardly grows."""
    gpus = ("A100-80GB", "A6000", "RTX4090")
    figure, axes = _figure(
        [f"{gpu}, vLLM, Llama-2-7b" for gpu in gpus],
        "batch",
        "output tokens/s",
    )
    everything: list[Cell] = []
    sizes = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    for axis, gpu in zip(axes, gpus, strict=True):
        for (prompt, output), colour in zip(TASKS, ("C0", "C1", "C2", "C3"), strict=True):
            cells = sweep(
                sizes,
                lambda n, g=gpu, p=prompt, o=output: cell(g, LLAMA, "vLLM", 1, n, p, o),
            )
            everything += cells
            shown = [c for c in cells if c.output_tokens_per_s is not None]
            axis.plot(
                [c.batch for c in shown],
                [c.output_tokens_per_s for c in shown],
                color=colour,
                marker="o",
                markersize=2.5,
                linewidth=1.2,
                label=f"{prompt} in, {output} out",
            )
            best = knee(shown)
            if best is not None:
                axis.plot(best.batch, best.output_tokens_per_s, "*", color=colour, markersize=11)
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8)
    return _save(figure, folder, "best-batch", everything)
