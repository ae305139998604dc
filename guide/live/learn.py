"""A correction of the fits from what pods did: robust, bounded, slow, and written down (pure).

A sample is one window of one plan beside its prediction under the corrections in force. An update
takes the median of the samples since the last one, goes part of the way, and never far at once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from statistics import median

from msgspec import field
from msgspec.structs import replace

from guide.domain import Catalog
from guide.live.expect import Expected
from guide.live.measured import Observation
from guide.perf.fits import OBSERVED
from guide.record import Record

GAIN = 0.7  # of the distance, per update
LONGEST_STEP = 0.25  # log factor per update
STEP_LIMIT = math.log(3)  # log factor in all: beyond it the layout is not what the plan says
SERVING_LIMIT = math.log(10)
DEAD_BAND = 0.02  # smaller errors are noise of the window
FEWEST_SAMPLES = 3
MOST_SPREAD = 0.15  # median absolute deviation beyond which samples do not agree
SHOWN_HISTORY = 20


class Correction(Record, frozen=True, kw_only=True):
    """Log factors on step times and on what requests pay around them, and what stands behind."""

    step: float = 0.0
    serving: float = 0.0
    requests: int = 0  # all that were learnt from
    updates: int = 0
    updated_at: str = ""  # RFC 3339


class Corrections(Record, frozen=True, kw_only=True):
    """All corrections of a cluster; `version` counts changes, `history` are the last of them."""

    version: int = 0
    corrections: Mapping[str, Correction] = field(default_factory=dict[str, Correction])
    history: tuple[str, ...] = ()


class Sample(Record, frozen=True, kw_only=True):
    """One window: log(observed / predicted) of TPOT, and the serving factor that TTFT asks for."""

    step: float
    serving: float | None
    requests: float


def sample(found: Observation, expected: Expected) -> Sample:
    """Compare one window, of which nothing is lacking, with its prediction."""
    assert found.tpot_mean_s is not None
    assert found.ttft_mean_s is not None
    step = math.log(found.tpot_mean_s / expected.tpot.mean_s)
    serving = None
    if abs(step) < 2 * DEAD_BAND and expected.overhead_s > 0:  # else TTFT moves with the steps
        wanted = 1 + (found.ttft_mean_s - expected.ttft.mean_s) / expected.overhead_s
        serving = math.log(max(wanted, math.exp(-LONGEST_STEP)))
    return Sample(step=step, serving=serving, requests=found.requests or 0.0)


def learnt(ledger: Corrections, key: str, samples: Sequence[Sample], now: str) -> Corrections:
    """The ledger after one update of `key`; the same ledger when the samples say nothing new."""
    if len(samples) < FEWEST_SAMPLES:
        return ledger
    before = ledger.corrections.get(key, Correction())
    after = replace(
        before,
        step=_moved(before.step, [s.step for s in samples], STEP_LIMIT),
        serving=_moved(
            before.serving, [s.serving for s in samples if s.serving is not None], SERVING_LIMIT
        ),
    )
    if after == before:
        return ledger
    after = replace(
        after,
        requests=before.requests + round(max(s.requests for s in samples)),
        updates=before.updates + 1,
        updated_at=now,
    )
    return _next(ledger, {**ledger.corrections, key: after}, f"{key}: {_told(after)}", now)


def reset(ledger: Corrections, now: str, keys: Sequence[str] = ()) -> Corrections:
    """Forget the corrections of `keys`, or all of them; the history stays."""
    kept = {key: value for key, value in ledger.corrections.items() if keys and key not in keys}
    gone = ", ".join(sorted(ledger.corrections.keys() - kept.keys())) or "nothing"
    return _next(ledger, kept, f"reset by hand: {gone}", now)


def of_namespace(key: str, namespace: str) -> str:
    """The name under which a correction is kept that holds for the plans of one namespace alone."""
    return f"{namespace}: {key}"


def scoped(ledger: Corrections, namespace: str) -> Corrections:
    """What was learnt from the plans of `namespace`, where every namespace learns for itself."""
    own = of_namespace("", namespace)
    kept = {k.removeprefix(own): v for k, v in ledger.corrections.items() if k.startswith(own)}
    return Corrections(corrections=kept)


def overlay(catalog: Catalog, ledger: Corrections) -> Catalog:
    """`catalog` with the corrections as a level of its fits; its digest tells them apart."""
    if not ledger.corrections:
        return catalog
    rows = {
        (OBSERVED, key): {"step": one.step, "serving": one.serving}
        for key, one in sorted(ledger.corrections.items())
    }
    points = {(OBSERVED, key): one.updates for key, one in ledger.corrections.items()}
    fits = replace(
        catalog.fits,
        rows={**catalog.fits.rows, **rows},
        points={**catalog.fits.points, **points},
    )
    digest = hashlib.sha256(f"{catalog.digest}\0{rows}".encode()).hexdigest()
    return replace(catalog, fits=fits, digest=f"sha256:{digest}")


def factors(ledger: Corrections) -> dict[tuple[str, str], float]:
    """Factors by key and part, for people."""
    return {
        (key, part): math.exp(value)
        for key, one in sorted(ledger.corrections.items())
        for part, value in (("step", one.step), ("serving", one.serving))
    }


def _moved(value: float, distances: Sequence[float], limit: float) -> float:
    if len(distances) < FEWEST_SAMPLES:
        return value
    middle = median(distances)
    spread = median(abs(x - middle) for x in distances)
    if abs(middle) < DEAD_BAND or spread > MOST_SPREAD:
        return value
    step = max(-LONGEST_STEP, min(LONGEST_STEP, GAIN * middle))
    return round(max(-limit, min(limit, value + step)), 4)


def _told(one: Correction) -> str:
    return (
        f"step times x {math.exp(one.step):.3f}, around them x {math.exp(one.serving):.3f},"
        f" from {one.requests} requests"
    )


def _next(
    ledger: Corrections, corrections: Mapping[str, Correction], what: str, now: str
) -> Corrections:
    version = ledger.version + 1
    history = (*ledger.history, f"{version} {now} {what}")[-SHOWN_HISTORY:]
    return Corrections(version=version, corrections=corrections, history=history)
