"""Observations of a fit, cut into the slices that errors are stated for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from guide.measured.case import Case
from guide.measured.conformal import pools_of
from guide.measured.dataset import Dataset, exclusions
from guide.measured.fitting import Fitted
from guide.measured.folds import Bools, member_of, model_of
from guide.measured.record import METRICS
from guide.perf import novelty
from guide.record import Record

LEFT_OUT = ("row", *novelty.LEFT_OUT)  # besides "fitted"
OWN_SLICE = ("ml-energy-leaderboard",)  # gaps between tokens, where others measured requests
METRIC_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "batch or end-to-end time"}


class LeftOut(Record, frozen=True, kw_only=True):
    """One measured metric of one row; `errors` are log(predicted / measured) by what was left
    out.
    """

    case: Case
    metric: str
    measured: float  # seconds
    errors: dict[str, float]
    pools: dict[str, list[tuple[str, str]]]  # by what was left out: its residual pools; none where
    # the error tells of more than that
    exclusion: str = ""  # why it is kept out of the fit

    @property
    def vendor(self) -> str:
        """The vendor of the GPU."""
        return self.case.gpu.vendor

    @property
    def model(self) -> str:
        """The 16-bit original of the model."""
        return model_of(self.case)

    def member(self, left_out: str) -> str:
        """What is left out together with this observation."""
        return member_of(self.case, left_out)


class Slice(Record, frozen=True, kw_only=True):
    """Rows of one kind and one metric, and the errors asked of them: (mean, median) in %."""

    name: str
    metric: str
    framework: str
    kind: str
    vendors: tuple[str, ...] = ("nvidia", "amd", "intel")
    source: str = ""  # rows of this source alone; such a source is in no other slice
    rows: tuple[float, float]  # single rows left out
    groups: tuple[float, float]  # whole models or GPUs left out

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return "-".join(self.name.lower().replace(",", "").split())

    def holds(self, item: LeftOut) -> bool:
        """Whether an observation belongs to the slice."""
        row = item.case.row
        return (
            item.metric == self.metric
            and row.framework == self.framework
            and row.kind == self.kind
            and item.vendor in self.vendors
            and self.source == (row.source if row.source in OWN_SLICE else "")
        )

    def asked(self, left_out: str) -> tuple[float, float]:
        """Mean and median error allowed, in %."""
        return self.rows if left_out in ("row", "fitted") else self.groups


def _slice(
    name: str,
    metric: str,
    kind: str,
    *,
    groups: tuple[float, float],
    rows: tuple[float, float] | None = None,
    framework: str = "vLLM",
    vendors: tuple[str, ...] = ("nvidia", "amd", "intel"),
    source: str = "",
) -> Slice:
    return Slice(
        name=name,
        metric=metric,
        framework=framework,
        kind=kind,
        vendors=vendors,
        source=source,
        rows=rows or groups,
        groups=groups,
    )


SLICES = (
    _slice("vLLM static batch latency, NVIDIA", "e2e", "static_batch", groups=(5, 3.2),
           rows=(5, 3.5), vendors=("nvidia",)),
    _slice("vLLM static batch latency, AMD and Intel", "e2e", "static_batch", groups=(5.6, 3.8),
           vendors=("amd", "intel")),
    _slice("FastGen batch latency", "e2e", "static_batch", groups=(10, 7), framework="FastGen"),
    _slice("vLLM static TTFT", "ttft", "static_batch", groups=(12, 8)),
    _slice("vLLM closed loop TPOT", "tpot", "concurrency", groups=(10, 5), rows=(5, 3)),
    _slice("vLLM closed loop TTFT", "ttft", "concurrency", groups=(25, 12), rows=(11, 6.5)),
    _slice("vLLM decode step, steady batch", "tpot", "concurrency", groups=(10, 7),
           source="ml-energy-leaderboard"),
    _slice("vLLM open loop TPOT", "tpot", "rate", groups=(12, 8)),
    _slice("vLLM open loop TTFT", "ttft", "rate", groups=(30, 15)),
    _slice("vLLM burst e2e", "e2e", "burst", groups=(20, 12)),
    _slice("SGLang closed loop TPOT", "tpot", "concurrency", groups=(15, 9), rows=(8, 5),
           framework="SGLang"),
    _slice("SGLang closed loop TTFT", "ttft", "concurrency", groups=(30, 18), rows=(18, 10),
           framework="SGLang"),
    _slice("SGLang burst e2e", "e2e", "burst", groups=(30, 18), framework="SGLang"),
)  # fmt: skip


class Errors(Record, frozen=True):
    """Relative errors in %."""

    count: int
    mean: float
    median: float
    p90: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} / {self.median:.1f} / {self.p90:.1f}" if self.count else "–"


def percent(log_error: float) -> float:
    """A log error as a relative error in %."""
    return 100 * abs(float(np.expm1(log_error)))


def errors_of(logs: Iterable[float]) -> Errors:
    """Mean, median and 90th percentile of |predicted / measured - 1|."""
    values = np.array([percent(x) for x in logs])
    if not len(values):
        return Errors(0, np.nan, np.nan, np.nan)
    median, p90 = np.percentile(values, (50, 90))
    return Errors(len(values), float(values.mean()), float(median), float(p90))


def observations(
    dataset: Dataset, errors: dict[str, Sequence[float]], told: dict[str, Bools]
) -> list[LeftOut]:
    """Every observation of a dataset with its errors."""
    batch, why = dataset.batch, exclusions()
    found: list[LeftOut] = []
    for i in range(len(batch.measured)):
        case, metric = batch.cases[int(batch.case_of[i])], METRICS[int(batch.metric_of[i])]
        name = case.row.id
        found.append(
            LeftOut(
                case=case,
                metric=metric,
                measured=float(batch.measured[i]),
                errors={left_out: values[i] for left_out, values in errors.items()},
                pools={
                    left_out: pools_of(dataset, i, left_out) if tells[i] else []
                    for left_out, tells in told.items()
                },
                exclusion=why.get((name, "")) or why.get((name, metric), ""),
            )
        )
    return found


def observed(fitted: Fitted) -> list[LeftOut]:
    """Every observation of a fit with its errors: fitted, and by what was left out."""
    errors: dict[str, Sequence[float]] = {
        name: values.tolist() for name, values in fitted.errors.items()
    }
    return observations(fitted.dataset, errors, fitted.told)
