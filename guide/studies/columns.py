"""The columns of the results: names with their units, and how each is read from an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

from guide.domain import Evaluation, Recommendation, ReplicaGroup
from guide.record import Record
from guide.report.document import rejection_counts, relaxation
from guide.report.sentences import choice, outcome
from guide.report.status import nearest_misses
from guide.search.rank import capacity_per_s

Row = dict[str, Any]

_DECIMAL = re.compile(r"\d+(\.\d+)?")


class Outcome(StrEnum):
    """What became of a question."""

    FEASIBLE = "Feasible"
    INFEASIBLE = "Infeasible"  # no deployment keeps every limit: an answer like any other
    INVALID = "Invalid"  # no plan: a value that no plan may have, a model that nobody knows
    FAILED = "Failed"  # no answer: a worker died of it, or GUIDE has a bug; asked again next time


class Column(Record, frozen=True, kw_only=True):
    """One column. `value` reads it from the best deployment; None where another stage fills it."""

    name: str
    kind: str  # string | int64 | double
    meaning: str
    unit: str = ""
    value: Callable[[Evaluation], Any] | None = None


def _joined(values: Iterable[str]) -> str:
    return " + ".join(dict.fromkeys(values))


def _text(name: str, meaning: str, read: Callable[[ReplicaGroup], str]) -> Column:
    """A text of each group; several groups are joined by a plus sign."""
    return Column(
        name=name,
        kind="string",
        meaning=meaning,
        value=lambda best: _joined(read(item.group) for item in best.groups),
    )


def _degree(name: str, meaning: str, read: Callable[[ReplicaGroup], int]) -> Column:
    """A number of each group; null where groups differ."""

    def value(best: Evaluation) -> int | None:
        found = {read(item.group) for item in best.groups}
        return found.pop() if len(found) == 1 else None

    return Column(name=name, kind="int64", meaning=meaning, value=value)


def _number(
    name: str, unit: str, meaning: str, value: Callable[[Evaluation], float | None]
) -> Column:
    return Column(name=name, kind="double", unit=unit, meaning=meaning, value=value)


def _latency(metric: str, what: str) -> tuple[Column, ...]:
    return (
        _number(f"{metric}_p50_s", "s", f"median {what}",
                lambda best: getattr(best.predicted, metric).p50_s),
        _number(f"{metric}_p95_s", "s", f"95th percentile of the {what}",
                lambda best: getattr(best.predicted, metric).p95_s),
        _number(f"{metric}_p95_upper_s", "s", "upper end of its 90 % interval, which limits are "
                "held against", lambda best: getattr(best.predicted, f"{metric}_interval").upper),
    )  # fmt: skip


COLUMNS: tuple[Column, ...] = (
    Column(name="digest", kind="string", meaning="names the question: plan, pools, catalogue and"
           " version of GUIDE; null when it is invalid"),
    Column(name="cluster", kind="string", meaning="cluster of the study; null when it names none"),
    Column(name="outcome", kind="string",
           meaning="Feasible, Infeasible, Invalid (no valid plan) or Failed (no answer)"),
    Column(name="message", kind="string",
           meaning="the answer in one sentence, or why there is none"),
    Column(name="reasons", kind="string",
           meaning="infeasible: how many candidates each reason took, as JSON"),
    Column(name="relaxations", kind="string", meaning="infeasible: each single change that would"
           " make it feasible, as JSON with field, from and to"),
    Column(name="candidates", kind="int64", meaning="candidates that were weighed"),
    _text("gpu", "GPU by catalogue name", lambda group: group.gpu.name),
    _text("pool", "pool of the cluster", lambda group: group.pool.name),
    _text("framework", "serving framework", lambda group: group.framework),
    _text("framework_version", "version that was modelled", lambda group: group.version),
    _text("checkpoint", "checkpoint that is served", lambda group: group.model.name),
    _text("precision", "precision of its weights", lambda group: group.precision.name),
    _degree("tp", "tensor parallelism; null where groups differ", lambda group: group.tp),
    _degree("pp", "pipeline parallelism; null where groups differ", lambda group: group.pp),
    Column(name="replicas", kind="int64", meaning="replicas of all groups",
           value=lambda best: sum(item.group.replicas for item in best.groups)),
    Column(name="gpus", kind="int64", meaning="GPUs of all replicas", value=lambda best: best.gpus),
    _number("usd_per_h", "USD/h", "price; null when none is known", lambda best: best.usd_per_h),
    _number("usd_per_million_output_tokens", "USD", "at the load that is served",
            lambda best: best.usd_per_million_output_tokens),
    *_latency("ttft", "time to first token"),
    *_latency("tpot", "time per output token after the first"),
    *_latency("e2e", "time to last token"),
    _number("requests_per_s", "1/s", "requests served", lambda best: best.predicted.requests_per_s),
    _number("output_tokens_per_s", "1/s", "output tokens served",
            lambda best: best.predicted.output_tokens_per_s),
    _number("capacity_requests_per_s", "1/s", "load at which the deployment saturates",
            capacity_per_s),
    Column(name="provenance", kind="string",
           meaning="Measured, Calibrated, or Extrapolated: what stands behind the numbers",
           value=lambda best: best.provenance.value),
    Column(name="took_s", kind="double", unit="s", meaning="time that answering took"),
    Column(name="guide_version", kind="string", meaning="version of GUIDE that answered"),
    Column(name="catalog_digest", kind="string", meaning="facts, fits and prices that it used"),
)  # fmt: skip


def answer_row(found: Recommendation) -> Row:
    """The cells that follow from an answer."""
    best = found.best
    if best is None:
        nearest = next(iter(nearest_misses(found.rejections)), None)
        near = (
            "" if nearest is None else f" Nearest miss: {nearest.reason.value}, {nearest.detail}."
        )
        return {
            "outcome": Outcome.INFEASIBLE.value,
            "message": outcome(found) + near,
            "reasons": json.dumps(rejection_counts(found)),
            "relaxations": json.dumps([relaxation(item) for item in found.relaxations]),
            "candidates": found.candidates,
        }
    cells = {c.name: c.value(best) for c in COLUMNS if c.value is not None}
    return {
        "outcome": Outcome.FEASIBLE.value,
        "message": choice(best),
        "candidates": found.candidates,
        **cells,
    }


def reason_row(outcome: Outcome, message: str) -> Row:
    """The cells of a question that has no answer."""
    return {"outcome": outcome.value, "message": message}


def cell(value: Any) -> str | float | None:
    """The value of a varied field as a cell: numbers as such, also in quotes as plans have their
    decimals; texts as they are, all else as JSON.
    """
    if isinstance(value, str):
        return float(value) if _DECIMAL.fullmatch(value) else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None if value is None else json.dumps(value)
