"""The paper's four findings (2.4) as plots from the simulator, each with its data beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from guide.measured.protocols import protocols
from guide.search.batches import knee as best_size
from hack.paper.cells import GPUS, MODELS, OUTPUT_TOKENS, Cell, cell, sweep, write
from hack.paper.errors import BATCHES, PROMPTS, Error, by_size

LLAMA = "meta-llama/Llama-2-7b-hf"
LINKED = ("A100-80GB", "A6000", "RTX4090")  # those that run both frameworks
COLOURS = {"vLLM": "#1f77b4", "FastGen": "#d95f02"}
BY_MODEL = dict(zip(MODELS, ("#7570b3", "#1b9e77", "#e7298a", "#222222"), strict=True))
DPI = 110
DARK = 0.13  # an error from which on its cell is too dark for black letters


@dataclass(frozen=True, slots=True)
class Line:
    """Points, and how they are drawn."""

    points: Sequence[tuple[float, float]]
    label: str
    colour: str
    dashed: bool = False


def draw_all(folder: Path) -> dict[str, Sequence[Cell]]:
    """Draw every figure of the simulator; returns the cells behind each."""
    latency = _latency(folder)
    ttft = _parallel(folder)
    return {
        "memory-utilisation": _memory(folder),
        "latency-by-batch": latency,
        "latency-ratio": _latency_ratio(folder, latency),
        "ttft-by-tp": ttft,
        "ttft-ratio": _ttft_ratio(folder, ttft),
        "best-batch": _best_batch(folder),
    }


def first_call_s() -> float:
    """What the first call of a fresh FastGen pipeline takes more, as fitted."""
    return next(p.cold_start_s for p in protocols() if p.match.get("framework") == "fastgen")


def _figure(titles: Sequence[str], x: str, y: str, rows: int = 1) -> tuple[Any, list[Any]]:
    columns = len(titles) // rows
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.2 * columns, 0.4 + 3.2 * rows),
        layout="constrained",
        squeeze=False,
    )
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel(x)
    for axis in axes[:, 0]:
        axis.set_ylabel(y)
    return figure, list(axes.flat)


def _lines(axis: Any, lines: Sequence[Line]) -> None:
    for line in lines:
        if line.points:
            axis.plot(
                *zip(*line.points, strict=True),
                color=line.colour,
                linestyle="--" if line.dashed else "-",
                marker="o",
                markersize=2.5,
                linewidth=1.2,
                label=line.label,
            )
    if any(line.points for line in lines):
        axis.legend(fontsize=8)
    else:
        axis.text(0.5, 0.5, "cannot run", ha="center", transform=axis.transAxes, color="0.4")


def _doubling(axis: Any, most: int) -> None:
    """Batches on a logarithmic axis, as plain numbers."""
    axis.set_xscale("log", base=2)
    sizes = [2**k for k in range(most.bit_length())]
    axis.set_xticks(sizes, list(map(str, sizes)))


def _points(cells: Sequence[Cell], x: str, y: str) -> list[tuple[float, float]]:
    return [(getattr(c, x), getattr(c, y)) for c in cells if getattr(c, y) is not None]


def _save(figure: Any, folder: Path, name: str, cells: Sequence[Cell]) -> Sequence[Cell]:
    figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    if cells:
        write(folder / f"{name}.csv", cells)
    return cells


def _short(model: str) -> str:
    return model.split("/")[1]


def _memory(folder: Path) -> Sequence[Cell]:
    """P17: the share of GPU memory that holds weights or live tokens, over the batch."""
    panels = [(framework, gpu) for framework in COLOURS for gpu in GPUS]
    figure, axes = _figure(
        [f"{framework}, {gpu}" for framework, gpu in panels],
        "batch (prompts of 1,024 tokens, 256 out)",
        "GPU memory in use, mean",
        rows=len(COLOURS),
    )
    everything: list[Cell] = []
    for axis, (framework, gpu) in zip(axes, panels, strict=True):
        lines: list[Line] = []
        for model, colour in BY_MODEL.items():
            cells = sweep(
                range(2, 129, 2),
                lambda n, m=model, g=gpu, f=framework: cell(g, m, f, 1, n, 1024, OUTPUT_TOKENS),
            )
            everything += cells
            lines.append(Line(_points(cells, "batch", "memory_share"), _short(model), colour))
        axis.axvspan(4, 32, color="0.93", zorder=0)
        _lines(axis, lines)
        axis.set_ylim(0, 1)
        axis.set_xlim(0, 130)
    return _save(figure, folder, "memory-utilisation", everything)


SIZES = (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)


def _latency(folder: Path) -> Sequence[Cell]:
    """P18: batch latency of the two frameworks over the batch."""
    figure, axes = _figure(
        [f"{gpu}, Llama-2-7b" for gpu in LINKED],
        "batch (256 tokens out)",
        "batch latency, seconds",
    )
    everything: list[Cell] = []
    for axis, gpu in zip(axes, LINKED, strict=True):
        lines: list[Line] = []
        for model in MODELS:
            for framework, colour in COLOURS.items():
                for prompt in (128, 1024):
                    cells = sweep(
                        SIZES,
                        lambda n, g=gpu, m=model, f=framework, p=prompt: cell(
                            g, m, f, 1, n, p, OUTPUT_TOKENS
                        ),
                    )
                    everything += cells
                    if model == LLAMA:
                        label = f"{framework}, prompt {prompt}"
                        points = _points(cells, "batch", "batch_latency_s")
                        lines.append(Line(points, label, colour, prompt == 128))
        _lines(axis, lines)
        axis.set_ylim(bottom=0)
    return _save(figure, folder, "latency-by-batch", everything)


def _latency_ratio(folder: Path, cells: Sequence[Cell]) -> Sequence[Cell]:
    """P18: FastGen over vLLM, where their lines overlap; warm, and with the first call of a fresh
    pipeline.
    """
    prompts = (128, 1024)
    figure, axes = _figure(
        [f"{gpu}, prompts of {prompt:,}" for prompt in prompts for gpu in LINKED],
        "batch (256 tokens out)",
        "FastGen / vLLM, batch latency",
        rows=len(prompts),
    )
    for axis, (prompt, gpu) in zip(axes, [(p, g) for p in prompts for g in LINKED], strict=True):
        lines: list[Line] = []
        for model, colour in BY_MODEL.items():
            times = {
                (c.framework, c.batch): c.batch_latency_s
                for c in cells
                if (c.gpu, c.model, c.prompt_tokens) == (gpu, model, prompt)
            }
            for start_s in (0.0, first_call_s()):
                label = f"{_short(model)}, {'first call' if start_s else 'warm'}"
                points = [
                    (n, (fastgen + start_s) / vllm)
                    for n in SIZES
                    if (fastgen := times["FastGen", n]) and (vllm := times["vLLM", n])
                ]
                lines.append(Line(points, label, colour, start_s > 0))
        axis.axhline(1, color="0.3", linewidth=0.8)
        _lines(axis, lines)
        _doubling(axis, SIZES[-1])
        axis.set_ylim(0.6, 1.5)
        axis.axvspan(4, 32, color="0.93", zorder=0)
    _save(figure, folder, "latency-ratio", ())
    return cells


def _parallel(folder: Path) -> Sequence[Cell]:
    """P19: TTFT with one and with two GPUs over the prompt length."""
    figure, axes = _figure(
        [f"{gpu}, Llama-2-7b, batch 8" for gpu in LINKED], "prompt tokens", "TTFT, seconds"
    )
    everything: list[Cell] = []
    for axis, gpu in zip(axes, LINKED, strict=True):
        lines: list[Line] = []
        for model in MODELS:
            for framework, colour in COLOURS.items():
                for tp in (1, 2):
                    cells = sweep(
                        range(128, 1025, 128),
                        lambda p, g=gpu, m=model, f=framework, tp=tp: cell(
                            g, m, f, tp, 8, p, OUTPUT_TOKENS
                        ),
                    )
                    everything += cells
                    if model == LLAMA:
                        points = _points(cells, "prompt_tokens", "ttft_s")
                        lines.append(Line(points, f"{framework}, TP {tp}", colour, tp == 2))
        _lines(axis, lines)
        axis.set_ylim(bottom=0)
    return _save(figure, folder, "ttft-by-tp", everything)


def _ttft_ratio(folder: Path, cells: Sequence[Cell]) -> Sequence[Cell]:
    """P19: two GPUs over one, all models."""
    figure, axes = _figure(
        [f"{gpu}, batch 8" for gpu in LINKED], "prompt tokens", "TTFT, TP 2 / TP 1"
    )
    for axis, gpu in zip(axes, LINKED, strict=True):
        lines: list[Line] = []
        for model, colour in BY_MODEL.items():
            for framework in COLOURS:
                times = {
                    (c.tp, c.prompt_tokens): c.ttft_s
                    for c in cells
                    if (c.gpu, c.model, c.framework) == (gpu, model, framework)
                }
                points = [
                    (prompt, pair / alone)
                    for prompt in range(128, 1025, 128)
                    if (alone := times[1, prompt]) and (pair := times[2, prompt])
                ]
                label = f"{_short(model)}, {framework}"
                lines.append(Line(points, label, colour, framework == "FastGen"))
        axis.axhline(1, color="0.3", linewidth=0.8)
        _lines(axis, lines)
        axis.set_ylim(0, 2.4)
    _save(figure, folder, "ttft-ratio", ())
    return cells


TASKS = ((128, 256), (512, 256), (1024, 256), (1024, 32))


def knee(cells: Sequence[Cell]) -> Cell | None:
    """The best batch by the rule of `guide plan`."""
    rates = [c.output_tokens_per_s or 0.0 for c in cells]
    best = best_size([c.batch for c in cells], rates)
    return next((c for c in cells if c.batch == best), None)


def _best_batch(folder: Path) -> Sequence[Cell]:
    """P20: throughput over the batch by task, with the batch beyond which it hardly grows."""
    figure, axes = _figure([f"{gpu}, vLLM, Llama-2-7b" for gpu in GPUS], "batch", "output tokens/s")
    everything: list[Cell] = []
    sizes = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    for axis, gpu in zip(axes, GPUS, strict=True):
        lines: list[Line] = []
        for model in MODELS:
            for number, (prompt, output) in enumerate(TASKS):
                cells = sweep(
                    sizes,
                    lambda n, g=gpu, m=model, p=prompt, o=output: cell(g, m, "vLLM", 1, n, p, o),
                )
                everything += cells
                if model == LLAMA:
                    points = _points(cells, "batch", "output_tokens_per_s")
                    lines.append(Line(points, f"{prompt} in, {output} out", f"C{number}"))
                    best = knee([c for c in cells if c.output_tokens_per_s is not None])
                    if best is not None:
                        star = (best.batch, best.output_tokens_per_s)
                        axis.plot(*star, "*", color=f"C{number}", markersize=11)
        _lines(axis, lines)
        _doubling(axis, sizes[-1])
        axis.set_ylim(bottom=0)
    return _save(figure, folder, "best-batch", everything)


def draw_errors(folder: Path, found: Sequence[Error]) -> None:
    """The paper's figure 13: batch-latency errors by prompt length and batch, row left out."""
    panels = (("vLLM", "single"), ("vLLM", "multi"), ("FastGen", "multi"))
    words = {"single": "one GPU", "multi": "several GPUs"}
    figure, axes = _figure(
        [f"{framework}, {words[scope]}" for framework, scope in panels], "batch", "prompt tokens"
    )
    for axis, (framework, scope) in zip(axes, panels, strict=True):
        groups = by_size(e for e in found if (e.row.framework, e.scope) == (framework, scope))
        means = [
            [
                100 * mean(left) if (left := _unseen(groups.get((p, b), []))) else float("nan")
                for b in BATCHES
            ]
            for p in PROMPTS
        ]
        axis.imshow(means, cmap="YlOrRd", vmin=0, vmax=20, aspect="auto")
        axis.grid(visible=False)
        axis.set_xticks(range(len(BATCHES)), list(BATCHES), fontsize=8)
        axis.set_yticks(range(len(PROMPTS)), list(PROMPTS), fontsize=8)
        for y, p in enumerate(PROMPTS):
            for x, b in enumerate(BATCHES):
                runs = _unseen(groups.get((p, b), []))
                text = f"{100 * mean(runs):.1f} %\n{len(runs)} runs" if runs else "none"
                dark = bool(runs) and mean(runs) > DARK
                axis.text(x, y, text, ha="center", va="center", color="w" if dark else "k")
    _save(figure, folder, "errors-by-size", ())


def _unseen(errors: Sequence[Error]) -> list[float]:
    return [e.left_out["row"] for e in errors if "row" in e.left_out]
