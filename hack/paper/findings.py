"""Where the simulator agrees with the paper's findings and where not: read off the drawn cells."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from hack.paper.cells import BATCHES, Cell
from hack.paper.plots import TASKS, first_call_s, knee


def _grouped(cells: Sequence[Cell], key: Callable[[Cell], Any]) -> dict[Any, list[Cell]]:
    groups: dict[Any, list[Cell]] = defaultdict(list)
    for one in cells:
        if not one.reason:
            groups[key(one)].append(one)
    return groups


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def transitions(cells: Sequence[Cell]) -> tuple[int, int]:
    """P17 at the paper's own batches: steps from one to the next, and how many of them fall."""
    groups = _grouped(
        cells, lambda c: (c.gpu, c.model, c.framework, c.tp, c.prompt_tokens, c.weights)
    )
    pairs = [
        (a.memory_share or 0.0, b.memory_share or 0.0)
        for line in groups.values()
        for a, b in pairwise(sorted(line, key=lambda c: c.batch))
    ]
    return len(pairs), sum(b < a - 1e-3 for a, b in pairs)


def provenances(cells: Sequence[Cell]) -> str:
    """P15: what was measured of the cells of each GPU."""
    groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in cells:
        groups[one.gpu, one.framework][one.provenance or "cannot run"] += 1
    kinds = ("Measured", "Calibrated", "Extrapolated", "cannot run")
    rows = [
        (gpu, framework, *(str(count[kind]) for kind in kinds))
        for (gpu, framework), count in groups.items()
    ]
    return _table(("GPU", "framework", *kinds), rows)


def drops(cells: Sequence[Cell]) -> str:
    """P17: where memory utilisation first falls, and how deep the deepest fall is."""
    rows: list[tuple[str, ...]] = []
    groups = _grouped(cells, lambda c: (c.gpu, c.model, c.framework))
    for (gpu, model, framework), line in groups.items():
        falls = [
            (a, b)
            for a, b in pairwise(line)
            if (b.memory_share or 0) < (a.memory_share or 0) - 1e-3
        ]
        first = f"{falls[0][0].batch}" if falls else "none up to 128"
        top = 0.0
        deepest = 0.0
        for one in line:
            share = one.memory_share or 0.0
            top = max(top, share)
            deepest = max(deepest, top - share)
        waits = next((str(c.batch) for c in line if c.preemptions), "never")
        rows.append((gpu, model.split("/")[1], framework, first, f"{100 * deepest:.0f}", waits))
    heads = ("GPU", "model", "framework", "falls after batch", "deepest fall (points)", "preempts")
    return _table(heads, rows)


def crossings(cells: Sequence[Cell]) -> str:
    """P18: the smallest batch from which on FastGen is at or ahead of vLLM, up to 32."""
    start_s = first_call_s()
    rows: list[tuple[str, ...]] = []
    for (gpu, model, prompt), both in _grouped(
        cells, lambda c: (c.gpu, c.model, c.prompt_tokens)
    ).items():
        times: dict[int, dict[str, float]] = defaultdict(dict)
        for one in both:
            times[one.batch][one.framework] = one.batch_latency_s or 0.0
        usual = [n for n in sorted(times) if n <= BATCHES[-1]]
        if "FastGen" not in times[usual[-1]]:
            continue
        rows.append(
            (
                gpu,
                model.split("/")[1],
                str(prompt),
                _ahead(times, usual, 0.0),
                _ahead(times, usual, start_s),
                f"{times[32]['FastGen'] / times[32]['vLLM']:.2f}",
            )
        )
    return _table(
        (
            "GPU",
            "model",
            "prompt",
            "FastGen ahead from batch",
            f"the same with a first call of {start_s:g} s",
            "FastGen / vLLM at 32",
        ),
        rows,
    )


def _ahead(times: dict[int, dict[str, float]], batches: Sequence[int], start_s: float) -> str:
    holds = [n for n in batches if times[n]["FastGen"] + start_s <= times[n]["vLLM"]]
    since = [n for n in holds if all(m in holds for m in batches if m >= n)]
    return str(since[0]) if since else "never up to 32"


def parallel(cells: Sequence[Cell]) -> str:
    """P19: TTFT of two GPUs over that of one, at the shortest and the longest prompt."""
    rows: list[tuple[str, ...]] = []
    for (gpu, model, framework), line in _grouped(
        cells, lambda c: (c.gpu, c.model, c.framework)
    ).items():
        ttft = {(c.tp, c.prompt_tokens): c.ttft_s or 0.0 for c in line}
        prompts = sorted({prompt for _, prompt in ttft})
        low, high = prompts[0], prompts[-1]
        change = [1e3 * (ttft[2, p] - ttft[1, p]) for p in (low, high)]
        rows.append(
            (
                gpu,
                model.split("/")[1],
                framework,
                f"{change[0]:+.0f} ms",
                f"{change[1]:+.0f} ms",
                f"{ttft[2, high] / ttft[1, high]:.2f}",
            )
        )
    return _table(
        (
            "GPU",
            "model",
            "framework",
            "TP 1 to 2 at 128",
            "at 1,024 tokens",
            "TP 2 / TP 1 at 1,024",
        ),
        rows,
    )


def knees(cells: Sequence[Cell]) -> str:
    """P20: the best batch by model, task and GPU."""
    groups = _grouped(cells, lambda c: (c.model, c.gpu, c.prompt_tokens, c.output_tokens))
    gpus = list(dict.fromkeys(gpu for _, gpu, _, _ in groups))
    rows = [
        (
            model.split("/")[1],
            f"{prompt} in, {output} out",
            *(
                str(best.batch)
                if (best := knee(groups.get((model, gpu, prompt, output), [])))
                else "does not fit"
                for gpu in gpus
            ),
        )
        for model in dict.fromkeys(model for model, _, _, _ in groups)
        for prompt, output in TASKS
    ]
    return _table(("model", "task", *gpus), rows)


def refused(cells: Sequence[Cell]) -> str:
    """P15: cells that cannot run, by reason."""
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for one in cells:
        if one.reason:
            groups[one.framework, one.reason].append(one)
    rows = [
        (
            framework,
            ", ".join(dict.fromkeys(c.gpu for c in some)),
            ", ".join(dict.fromkeys(c.model.split("/")[1] for c in some)),
            str(len(some)),
            reason,
        )
        for (framework, reason), some in sorted(groups.items())
    ]
    return _table(("framework", "GPUs", "models", "cells", "why"), rows)
