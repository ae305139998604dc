"""A replay recorded as counted step shapes, so that any set of constants can be evaluated without
simulating again.

Every published latency is a weighted sum of step times: a request's TTFT is the sum of the steps
between its arrival and its first token, and a mean over requests is a mean of such sums. For
bursts, static batches and closed loops the schedule does not depend on step times at all; for open
loops it holds near the constants it was recorded with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guide.measured.case import Case
from guide.perf.terms import StepParams
from guide.record import Record
from guide.simulate.cost import LayoutCost
from guide.simulate.replica import NEVER, ReplicaLoop

Floats = npt.NDArray[np.float64]
METRICS = ("ttft", "tpot", "e2e")
PROMPT_BIN = 1.19
TOKEN_BIN = 1.04  # prompt steps whose token counts differ by less share one shape


class Recording(Record, frozen=True):
    """Distinct step shapes of one case and how often each metric counts them.

    `shapes` is (k, 4): prompt tokens, prompt sequences, decode sequences, sampled sequences. `sums`
    maps a metric to (k, 5): count, attended pairs, window pairs, context tokens, window tokens.
    """

    shapes: Floats
    sums: dict[str, Floats]
    wave_wait: float  # mean requests ahead in the opening wave, over all requests
    starved: float  # preemptions per request
    replica: ReplicaLoop


class _Log(LayoutCost):
    """A cost that also writes down every entry of the schedule."""

    def __init__(self, case: Case, params: StepParams) -> None:
        super().__init__(case.facts, params, case.priced)
        self.entries: list[tuple[float, ...]] = []
        self.replica: ReplicaLoop | None = None

    def _now(self) -> float:
        return self.replica.clock if self.replica else 0.0

    def prompt_step(
        self,
        tokens: int,
        sequences: int,
        pairs: float,
        window_pairs: float,
        decodes: int,
        context: float,
        window_context: float,
        sampled: int,
    ) -> float:
        seconds = super().prompt_step(
            tokens, sequences, pairs, window_pairs, decodes, context, window_context, sampled
        )
        shape = (tokens, sequences, decodes, sampled, pairs, window_pairs, context, window_context)
        self.entries.append((1, seconds, *shape, self._now()))
        return seconds

    def decode_run(self, steps: int, decodes: int, context: float, window_context: float) -> float:
        seconds = super().decode_run(steps, decodes, context, window_context)
        self.entries.append(
            (steps, seconds, 0, 0, decodes, decodes, 0, 0, context, window_context, self._now())
        )
        return seconds


def record(case: Case, params: StepParams) -> Recording:
    """Replay a case with `params` and compile its schedule."""
    log = _Log(case, params)
    replica = ReplicaLoop(
        case.policy,
        log,
        case.load.prompts,
        case.load.outputs,
        case.load.arrivals,
        window=case.model.window_tokens,
        cached=case.load.cached,
        closed_users=case.load.closed_users,
    )
    log.replica = replica
    replica.run()
    entries = np.array(log.entries, dtype=float).reshape(-1, 11)
    weights = _weights(case, replica, entries)
    return _merge(case, replica, entries, weights)


def _weights(case: Case, replica: ReplicaLoop, entries: Floats) -> dict[str, Floats]:
    """How many of the times of each schedule entry a metric counts, in requests."""
    starts, ends = entries[:, 10], entries[:, 10] + entries[:, 1]
    arrival, first, finish = (
        np.array(x) for x in (replica.arrival_s, replica.first_token_s, replica.finish_s)
    )
    served = (first < NEVER) & (finish < NEVER)
    outputs = np.array(case.load.outputs)

    def spread(begin: Floats, end: Floats, weight: Floats) -> Floats:
        """Add weight x overlap of [begin, end] with each entry, in entries."""
        total = np.zeros(len(entries) + 1)
        inside = np.zeros(len(entries))
        for t, sign in ((begin, 1.0), (end, -1.0)):
            at = np.clip(np.searchsorted(ends, t * (1 + 1e-12) - 1e-12, side="right"), 0, len(ends))
            ok = at < len(ends)
            np.add.at(total, at, sign * weight)
            share = np.zeros(len(t))
            span = np.maximum(ends[at[ok]] - starts[at[ok]], 1e-12)
            share[ok] = np.clip((t[ok] - starts[at[ok]]) / span, 0, 1)
            np.add.at(inside, at[ok], -sign * weight[ok] * share[ok])
        return np.cumsum(total[:-1]) + inside

    count = int(served.sum())
    if count == 0:
        return {}
    if case.row.kind == "static_batch":
        last_first = np.max(first[served])
        whole = {
            "ttft": spread(np.zeros(1), np.array([last_first]), np.ones(1)),
            "e2e": spread(np.zeros(1), np.array([np.max(finish[served])]), np.ones(1)),
        }
        steps = max(1.0, case.row.output_tokens - 1)
        whole["tpot"] = (whole["e2e"] - whole["ttft"]) / steps
        return whole
    ttft_weight, tpot_weight = _statistic(
        case, served, arrival=arrival, first=first, finish=finish, outputs=outputs
    )
    result = {
        "ttft": spread(arrival[served], first[served], ttft_weight[served]),
        "tpot": spread(first[served], finish[served], tpot_weight[served]),
    }
    if case.row.kind in ("concurrency", "rate"):
        result["e2e"] = spread(arrival[served], finish[served], np.ones(count) / count)
    else:  # the whole run
        result["e2e"] = spread(np.zeros(1), np.array([np.max(finish[served])]), np.ones(1))
    return result


def _statistic(
    case: Case,
    served: npt.NDArray[np.bool_],
    *,
    arrival: Floats,
    first: Floats,
    finish: Floats,
    outputs: npt.NDArray[np.int_],
) -> tuple[Floats, Floats]:
    """Weights per request: equal for a mean, on the middle fifth of the requests for a median."""
    arrival, first, finish = (np.where(served, x, 0.0) for x in (arrival, first, finish))
    several = served & (outputs > 1)
    per_token = 1 / np.maximum(1, outputs - 1)

    def weights(values: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
        if case.protocol.statistic == "median" and chosen.sum() >= 10:
            low, high = np.quantile(values[chosen], (0.4, 0.6))
            chosen = chosen & (values >= low) & (values <= high)
        return chosen / max(1, chosen.sum())

    return (
        weights(first - arrival, served),
        weights((finish - first) * per_token, several) * per_token,
    )


def _binned(values: Floats, ratio: float, exact: float) -> Floats:
    """Values up to `exact` as they are, larger ones by their logarithm in steps of `ratio`."""
    logs: Floats = np.rint(np.log(np.maximum(values, 1.0)) / np.log(ratio))
    return np.asarray(np.where(values > exact, logs + 10_000.0, values), dtype=np.float64)


def _merge(
    case: Case, replica: ReplicaLoop, entries: Floats, weights: dict[str, Floats]
) -> Recording:
    """Group entries of nearly equal shape; contexts and pairs enter linearly: sums are exact."""
    binned = (
        _binned(entries[:, 2], TOKEN_BIN, 0),
        _binned(entries[:, 3], PROMPT_BIN, 4),
        _binned(entries[:, 4], TOKEN_BIN, 64),
    )
    keys = np.stack(binned, axis=1)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.ravel()
    k = int(group.max()) + 1 if len(group) else 0
    steps = entries[:, 0]

    def total(values: Floats) -> Floats:
        return np.bincount(group, weights=values, minlength=k).astype(np.float64)

    count = np.maximum(total(steps), 1e-300)
    shapes = np.stack([total(steps * entries[:, c]) / count for c in (2, 3, 4, 5)], axis=1)
    sums = {
        metric: np.stack(
            [total(w * steps), *(total(w * steps * entries[:, c]) for c in (6, 7, 8, 9))], axis=1
        )
        for metric, w in weights.items()
    }
    wave = case.load.wave if case.row.kind != "static_batch" else 0
    served = max(1, len(case.load.prompts))
    return Recording(
        shapes=shapes,
        sums=sums,
        wave_wait=max(0, wave - 1) / 2 * wave / served,
        starved=replica.preemptions / served,
        replica=replica,
    )
