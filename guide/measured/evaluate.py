"""Vectorised predictions of many recorded cases at once, and their derivatives in the latent
constants."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress

import numpy as np
import numpy.typing as npt

from guide.measured.case import Case
from guide.measured.record import METRICS, Recording
from guide.perf.fits import NAMES, ServingParams, constants
from guide.perf.over_arrays import (
    FixedTerms,
    context_seconds,
    fixed_seconds,
    pair_seconds,
    window_seconds,
)
from guide.perf.terms import NO_WORK, KernelWork, StepFacts, StepParams
from guide.record import Record

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
STEP = 1e-4  # finite difference in latent space


class CountedSteps(Record, frozen=True):
    """Recorded cases flattened: one line per (case, step shape), and per (case, metric) that was
    measured."""

    cases: tuple[Case, ...]
    owner: npt.NDArray[np.int_]  # shape line -> case
    shapes: Floats
    facts: StepFacts  # arrays over shape lines
    work: KernelWork  # the same, by measured kernels
    sums: dict[str, Floats]  # metric -> (lines, 5)
    case_of: npt.NDArray[np.int_]  # observation -> case
    metric_of: npt.NDArray[np.int_]  # observation -> index into METRICS
    measured: Floats  # observation, seconds
    extras: dict[str, Floats]  # per case: coefficients of the serving constants

    def only(self, cases: Bools) -> tuple[CountedSteps, npt.NDArray[np.int_]]:
        """The same of some cases, and which observations these are."""
        lines = cases[self.owner]
        observed = np.flatnonzero(cases[self.case_of])
        place = np.cumsum(cases) - 1
        part = CountedSteps(
            cases=tuple(compress(self.cases, cases)),
            owner=place[self.owner[lines]],
            shapes=self.shapes[lines],
            facts=StepFacts(*(v[lines] for v in self.facts)),
            work=KernelWork(*(v[lines] for v in self.work)),
            sums={metric: s[lines] for metric, s in self.sums.items()},
            case_of=place[self.case_of[observed]],
            metric_of=self.metric_of[observed],
            measured=self.measured[observed],
            extras={name: s[cases] for name, s in self.extras.items()},
        )
        return part, observed


def batch_of(cases: list[Case], recordings: list[Recording]) -> CountedSteps:
    """Flatten recorded cases."""
    counts = [len(r.shapes) for r in recordings]
    owner = np.repeat(np.arange(len(cases)), counts)
    table = np.array([tuple(c.facts) for c in cases])
    facts = StepFacts(*(table[owner, i] for i in range(table.shape[1])))
    empty = {m: [r.sums.get(m, np.zeros((len(r.shapes), 5))) for r in recordings] for m in METRICS}
    case_of: list[int] = []
    metric_of: list[int] = []
    measured: list[float] = []
    for i, case in enumerate(cases):
        row = case.row
        values = (row.ttft_s, row.tpot_s, total_seconds(case))
        for m, value in enumerate(values):
            if value is not None and value > 0 and METRICS[m] in recordings[i].sums:
                case_of.append(i)
                metric_of.append(m)
                measured.append(value)
    return CountedSteps(
        cases=tuple(cases),
        owner=owner,
        shapes=np.concatenate([r.shapes for r in recordings]),
        facts=facts,
        work=_work(cases, recordings),
        sums={m: np.concatenate(parts) for m, parts in empty.items()},
        case_of=np.array(case_of),
        metric_of=np.array(metric_of),
        measured=np.array(measured),
        extras=_extras(cases, recordings),
    )


def _work(cases: list[Case], recordings: list[Recording]) -> KernelWork:
    """What measured kernels say of every shape line, once: no fitted constant is in it."""
    lines = [
        NO_WORK if case.priced is None else case.priced.work(tokens, prompts, decodes, sampled)
        for case, recording in zip(cases, recordings, strict=True)
        for tokens, prompts, decodes, sampled in recording.shapes.tolist()
    ]
    return KernelWork(*np.array(lines, dtype=float).reshape(-1, len(KernelWork._fields)).T)


def total_seconds(case: Case) -> float | None:
    """The measured end-to-end time where the source's figure means what the replay computes."""
    row = case.row
    if row.kind == "concurrency" or row.kind == "rate":
        return None  # follows from ttft and tpot
    if row.e2e_s is None and row.kind == "burst" and row.output_tokens_per_s:
        return (case.protocol.prompts or row.load) * row.output_tokens / row.output_tokens_per_s
    return row.e2e_s


def _extras(cases: list[Case], recordings: list[Recording]) -> dict[str, Floats]:
    """Coefficients of r0, rt, rw, u and constant seconds, per case and metric: (cases, 3)."""
    online = np.array([c.row.kind != "static_batch" for c in cases], dtype=float)
    closed = np.array([c.row.kind == "concurrency" for c in cases], dtype=float)
    prompt = np.array([float(np.mean(c.load.prompts)) for c in cases])
    output = np.array([float(np.mean(c.load.outputs)) for c in cases])
    wave = np.array([r.wave_wait for r in recordings])
    rate = np.array([c.row.kind in ("burst",) for c in cases], dtype=float)
    cold = np.array(
        [
            c.protocol.cold_start_s
            + c.protocol.cold_start_token_s * c.row.load * c.row.prompt_tokens
            for c in cases
        ]
    )
    run = online * rate  # the whole run of a burst: every request passes the API server
    return {
        "r0": np.stack([online, 0 * online, online], 1),
        "rt": np.stack([online * prompt, 0 * online, online * prompt], 1),
        "rw": np.stack([online * wave, 0 * online, closed * wave], 1),
        "u": np.stack([0 * online, online, run * output + closed * output], 1),
        "fixed": np.stack([cold, 0 * cold, cold], 1),
    }


def predict(batch: CountedSteps, latent: Floats) -> Floats:
    """Predicted seconds (cases, metrics) for latent constants (cases, parameters)."""
    return predict_at(batch, *_constants(latent))


def predict_at(batch: CountedSteps, step: StepParams, serving: ServingParams) -> Floats:
    """The same for the constants themselves: of every case, or one for all."""
    return np.maximum(_in_steps(batch, step) + _around_steps(batch, serving), 1e-9)


def _in_steps(batch: CountedSteps, step: StepParams) -> Floats:
    """Seconds inside forward steps: (cases, metrics)."""
    lines = StepParams(*(np.broadcast_to(v, len(batch.cases))[batch.owner] for v in step))
    facts = batch.facts
    tokens, prompts, decodes, sampled = batch.shapes.T
    routed = (tokens + decodes) * facts.expert_tokens
    terms = FixedTerms(facts, lines)
    fixed = fixed_seconds(terms, tokens, prompts, decodes, sampled, routed, batch.work)
    full, window = pair_seconds(facts, lines)
    context = context_seconds(facts, lines, decodes)
    inside = window_seconds(facts, lines, decodes)
    out = np.empty((len(batch.cases), len(METRICS)))
    for m, metric in enumerate(METRICS):
        s = batch.sums[metric]
        seconds = (
            s[:, 0] * fixed
            + s[:, 1] * full
            + s[:, 2] * window
            + s[:, 3] * context
            + s[:, 4] * inside
        )
        out[:, m] = np.bincount(batch.owner, weights=seconds, minlength=len(batch.cases))
    return out


def _around_steps(batch: CountedSteps, serving: ServingParams) -> Floats:
    """Seconds outside them: (cases, metrics)."""
    out = batch.extras["fixed"].copy()
    for name, value in serving._asdict().items():
        out += batch.extras[name] * np.reshape(value, (-1, 1))
    return out


def log_errors(batch: CountedSteps, latent: Floats) -> Floats:
    """Log(predicted / measured) of every observation."""
    return _log_errors(batch, predict(batch, latent))


def log_errors_at(batch: CountedSteps, step: StepParams, serving: ServingParams) -> Floats:
    """The same for the constants themselves: of every case, or one for all."""
    return _log_errors(batch, predict_at(batch, step, serving))


def _log_errors(batch: CountedSteps, seconds: Floats) -> Floats:
    return np.log(seconds[batch.case_of, batch.metric_of] / batch.measured)


def sensitivities(
    batch: CountedSteps, latent: Floats, seen: Mapping[int, Bools]
) -> dict[int, tuple[Floats, npt.NDArray[np.int_]]]:
    """Derivatives of the log errors in latent constants of their case, with the observations that
    they are of: by constant, of the cases (`seen`) that depend on it.

    What is outside the steps is linear, so that no step is priced again for it.
    """
    found: dict[int, tuple[Floats, npt.NDArray[np.int_]]] = {}
    parts: dict[bytes, tuple[CountedSteps, npt.NDArray[np.int_], Floats, Floats]] = {}
    for i, cases in seen.items():
        mark = cases.tobytes()
        if mark not in parts:
            part, observed = batch.only(cases)
            inside = _in_steps(part, _constants(latent[cases])[0])
            parts[mark] = part, observed, latent[cases], inside
        part, observed, at, inside = parts[mark]
        moved = at.copy()
        moved[:, i] += STEP
        before, after = _constants(at), _constants(moved)
        within = inside if NAMES[i] in ServingParams._fields else _in_steps(part, after[0])
        outside = (_around_steps(part, serving) for _, serving in (before, after))
        base, other = (
            _log_errors(part, np.maximum(a + b, 1e-9))
            for a, b in zip((inside, within), outside, strict=True)
        )
        found[i] = (other - base) / STEP, observed
    return found


def _constants(latent: Floats) -> tuple[StepParams, ServingParams]:
    return constants({name: latent[:, i] for i, name in enumerate(NAMES)})
