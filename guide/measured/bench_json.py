"""Result files of ``vllm bench serve --save-result``: one JSON object, one run.

The file names the model and the load, but not what it ran on: that comes from the user
(`Setup`). Lengths are means over the run; ``--save-detailed`` adds those of every request, and with
them their spread.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from guide.errors import SpecError
from guide.measured.measurements import Measurement
from guide.measured.protocols import LengthRule, Protocol

MOST_FAILED = 0.01  # share of requests; beyond it a run measures its failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a result file does not say."""

    gpu: str | None = None
    tp: int = 1
    version: str = ""
    precision: str = ""  # empty: the checkpoint's own
    model: str | None = None  # where the file names a path or an alias


def read_bench(path: Path, setup: Setup) -> tuple[Measurement, Protocol]:
    """The run of a result file and the protocol that it was measured under.

    Raises `SpecError` naming the field that is missing or cannot be used.
    """
    if not setup.gpu:
        raise SpecError(
            f"{path}: a result of `vllm bench serve` does not name its GPU; give --gpu (and --tp, "
            "--framework-version, --precision where they differ from their defaults)"
        )
    run = _Run(path, _document(path))
    prompts, completed = run.positive("num_prompts"), run.positive("completed")
    if completed < (1 - MOST_FAILED) * prompts:
        raise SpecError(f"{path}: {prompts - completed:.0f} of {prompts:.0f} requests failed")
    if run.number("burstiness", 1.0) != 1.0:
        raise SpecError(f"{path}, burstiness: only Poisson arrivals (1) can be replayed")
    kind, load = _kind(run, prompts)
    inputs, outputs = run.positive("total_input_tokens"), run.positive("total_output_tokens")
    ttft_ms, tpot_ms = (run.number(f"mean_{metric}_ms") for metric in ("ttft", "tpot"))
    if ttft_ms is None and tpot_ms is None:
        raise SpecError(f"{path}: holds neither mean_ttft_ms nor mean_tpot_ms")
    row = Measurement(
        id=path.stem,
        source="",
        licence="",
        framework="vLLM",
        version=setup.version,
        date=_date(run.text("date")),
        model=setup.model or run.text("model_id"),
        precision=setup.precision,
        kv_dtype="",
        gpu=setup.gpu,
        gpus=setup.tp,
        tp=setup.tp,
        pp=1,
        dp=1,
        ep=1,
        kind=kind,
        load=load,
        prompt_tokens=inputs / completed,
        output_tokens=outputs / completed,
        semantics="mean over requests",
        note="",
        ttft_s=_milliseconds(ttft_ms),
        tpot_s=_milliseconds(tpot_ms),
        e2e_s=run.number("duration") if kind == "burst" else None,
        output_tokens_per_s=run.number("output_throughput"),
    )
    return row, _protocol(run, int(completed))


def _kind(run: _Run, prompts: float) -> tuple[str, float]:
    """Closed loop, open loop or burst, and its load."""
    rate_field = run.fields.get("request_rate", "inf")
    unlimited = str(rate_field) == "inf"
    users = run.number("max_concurrency")
    if users is not None and users >= prompts:
        users = None  # never binds
    if unlimited:
        return ("burst", prompts) if users is None else ("concurrency", users)
    if users is not None:
        raise SpecError(
            f"{run.path}: request_rate and max_concurrency are both set, which is neither an open "
            "nor a closed loop; run with one of them"
        )
    return "rate", run.positive("request_rate")


def _protocol(run: _Run, completed: int) -> Protocol:
    return Protocol(
        name="vllm bench serve",
        match={},
        requests=completed,
        prompts=completed,
        lengths=_lengths(run),
        evidence=f"its result file {run.path.name}",
    )


def _lengths(run: _Run) -> LengthRule:
    """Fixed lengths, unless the file lists those of every request."""
    sides = [run.counts("input_lens"), run.counts("output_lens")]
    if any(len(side) == 0 for side in sides):
        return LengthRule()
    logs = [np.log(np.maximum(1, side)) for side in sides]
    if max(float(log.std()) for log in logs) == 0:
        return LengthRule()
    return LengthRule(
        shape="lognormal",
        low=float(min(side.min() for side in sides)),
        high=float(max(side.max() for side in sides)),
        sigma_prompt=float(logs[0].std()),
        sigma_output=float(logs[1].std()),
    )


def _date(text: str) -> str:
    """``20250415-101500`` as 2025-04-15."""
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if text[:8].isdigit() else ""


def _milliseconds(value: float | None) -> float | None:
    return None if value is None or value <= 0 else value / 1e3


def _document(path: Path) -> dict[str, Any]:
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not a UTF-8 text file") from None
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise SpecError(f"{path} is not valid JSON: {error}; give one file a run") from None
    if not isinstance(document, dict) or "model_id" not in document:
        raise SpecError(f"{path} is no result of `vllm bench serve --save-result`: no model_id")
    return cast("dict[str, Any]", document)


@dataclass(frozen=True, slots=True)
class _Run:
    path: Path
    fields: dict[str, Any]

    def text(self, name: str) -> str:
        return str(self.fields.get(name) or "")

    def number(self, name: str, default: float | None = None) -> float | None:
        value = self.fields.get(name)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise SpecError(f"{self.path}, {name}: {value!r} is no finite number")
        return number

    def positive(self, name: str) -> float:
        value = self.number(name)
        if value is None or value <= 0:
            raise SpecError(f"{self.path}, {name}: must be a number above zero")
        return value

    def counts(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        try:
            return np.array(self.fields.get(name) or [], dtype=np.float64)
        except (TypeError, ValueError):
            raise SpecError(f"{self.path}, {name}: must be a list of token counts") from None
