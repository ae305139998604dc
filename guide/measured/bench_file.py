"""Files that benchmarks of servers write, and what their readers have in common.

``.json`` is one run, ``.jsonl`` one a line; other lines of a log, which do not begin as JSON does,
are passed over.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np

from guide.errors import SpecError
from guide.measured.measurements import Measurement
from guide.measured.protocols import LengthRule
from guide.record import Record

MOST_FAILED = 0.01  # share of requests; beyond it a run measures its failures


class Setup(Record, frozen=True, kw_only=True):
    """What a result file does not say."""

    gpu: str | None = None
    tp: int = 1
    version: str = ""
    precision: str = ""  # empty: the checkpoint's own
    model: str | None = None  # where the file names a path or an alias


class BenchRun(Record, frozen=True):
    """One run as its file tells it; `SpecError` names the place and the field that is wrong."""

    name: str  # of the row
    where: str
    fields: dict[str, Any]

    def text(self, name: str) -> str:
        """A word; empty where there is none."""
        return str(self.fields.get(name) or "")

    def number(self, name: str, default: float | None = None) -> float | None:
        """A finite number, or the default where the field is absent."""
        value = self.fields.get(name)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise SpecError(f"{self.where}, {name}: {value!r} is no finite number")
        return number

    def positive(self, name: str) -> float:
        """A number above zero."""
        value = self.number(name)
        if value is None or value <= 0:
            raise SpecError(f"{self.where}, {name}: must be a number above zero")
        return value

    def counts(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Token counts of every request; empty where they are not listed."""
        try:
            return np.array(self.fields.get(name) or [], dtype=np.float64)
        except (TypeError, ValueError):
            raise SpecError(f"{self.where}, {name}: must be a list of token counts") from None


def runs_in(path: Path) -> list[BenchRun]:
    """The runs of a file, in its order. Raises `SpecError` in one sentence where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not a UTF-8 text file") from None
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    if path.suffix == ".json":
        return [BenchRun(path.stem, str(path), _document(text, str(path), "give one file a run"))]
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.startswith("{")]
    if not lines:
        raise SpecError(f"{path} holds no result of a benchmark: no line is a JSON object")
    return [
        BenchRun(
            f"{path.stem}-{n}" if len(lines) > 1 else path.stem,
            f"{path} line {n}",
            _document(line, f"{path} line {n}", "give one line a run"),
        )
        for n, line in lines
    ]


def _document(text: str, where: str, hint: str) -> dict[str, Any]:
    try:
        document: object = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SpecError(f"{where} is not valid JSON: {error}; {hint}") from None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def row_of(run: BenchRun, setup: Setup, framework: str, kind: str, load: float) -> Measurement:
    """What every benchmark tells alike, on one GPU group as the user states it."""
    completed = run.positive("completed")
    return Measurement(
        id=run.name,
        source="",
        licence="",
        framework=framework,
        version=setup.version,
        date="",
        model=setup.model or "",
        precision=setup.precision,
        kv_dtype="",
        gpu=setup.gpu or "",
        gpus=setup.tp,
        tp=setup.tp,
        pp=1,
        dp=1,
        ep=1,
        kind=kind,
        load=load,
        prompt_tokens=run.positive("total_input_tokens") / completed,
        output_tokens=run.positive("total_output_tokens") / completed,
        semantics="mean over requests",
        note="",
        ttft_s=milliseconds(run.number("mean_ttft_ms")),
        tpot_s=milliseconds(run.number("mean_tpot_ms")),
        e2e_s=run.number("duration") if kind == "burst" else None,
        output_tokens_per_s=run.number("output_throughput"),
    )


def kind_of(run: BenchRun, prompts: float) -> tuple[str, float]:
    """Closed loop, open loop or burst of so many prompts, and its load."""
    rate_field = run.fields.get("request_rate", "inf")
    unlimited = str(rate_field) == "inf"  # a word, or what JSON writes as Infinity
    users = run.number("max_concurrency")
    if users is not None and users >= prompts:
        users = None  # never binds
    if unlimited:
        return ("burst", prompts) if users is None else ("concurrency", users)
    if users is not None:
        raise SpecError(
            f"{run.where}: request_rate and max_concurrency are both set, which is neither an open "
            "nor a closed loop; run with one of them"
        )
    return "rate", run.positive("request_rate")


def lengths_of(run: BenchRun) -> LengthRule:
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


def milliseconds(value: float | None) -> float | None:
    """In seconds; None where nothing was measured."""
    return None if value is None or value <= 0 else value / 1e3
