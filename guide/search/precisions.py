"""Which precision is taken among those that a tolerance allows: a published checkpoint before one
that the server quantises, and a sentence where a tolerance changed nothing."""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import Candidate, Evaluation, Plan, Reason, Rejection, Tolerance
from guide.search.evaluate import Study
from guide.search.explore import Ledger
from guide.search.knobs import settled
from guide.search.rank import adds_nothing, merits, worst_loss
from guide.search.sizing import Prospect, Trial
from guide.search.space import caches_fp8, is_online, precision_loss

NEAR = 0.05  # of any merit: what a tested checkpoint is worth
EIGHT, FOUR = 1, 2  # as `precision_loss` counts
BITS = {EIGHT: "8-bit weights or cache", FOUR: "4-bit weights"}


def published_first(
    top: Sequence[Evaluation], prospects: Sequence[Prospect], study: Study, ledger: Ledger
) -> list[Evaluation]:
    """The same with published checkpoints where these serve about as well as the server's own
    quantisation: somebody has measured what such a checkpoint answers."""
    found: list[Evaluation] = []
    for one in top:
        better = _published(one, prospects, study, ledger) or one
        if not any(adds_nothing(better, listed) for listed in found):
            found.append(better)
    return found


def _published(
    one: Evaluation, prospects: Sequence[Prospect], study: Study, ledger: Ledger
) -> Evaluation | None:
    group = one.groups[0].group
    if len(one.groups) > 1 or not is_online(group.model, group.precision):
        return None
    for twin in prospects:
        shape = twin.replica.shape
        same = shape.key._replace(checkpoint=group.model.name) == group.key
        if not same or shape.variant.model == group.model or group.replicas > twin.most:
            continue
        other, broken = settled(twin.replica, group.replicas, study)
        if broken is None and all(
            theirs <= mine * (1 + NEAR)
            for theirs, mine in zip(merits(other), merits(one), strict=True)
        ):
            ledger.add(Trial(kept=[other]))
            return other
    return None


def about_tolerance(
    plan: Plan, top: Sequence[Evaluation], rejections: Sequence[Rejection]
) -> list[str]:
    """Why a tolerance changed nothing, and why a KV cache stays in 16 bit."""
    if plan.tolerance is Tolerance.LOSSLESS or not top:
        return []
    best, said = top[0], list[str]()
    given, name = worst_loss(best), f"spec.precisionTolerance {plan.tolerance.value}"
    if given < EIGHT:
        said.append(f"{name} changed nothing: {_in_vain(plan, EIGHT, top, rejections)}")
    if plan.tolerance is Tolerance.INT4 and given < FOUR:
        said.append(f"{name} took no 4-bit weights: {_in_vain(plan, FOUR, top, rejections)}")
    kept = {g.gpu.name: g.gpu.vendor for g in best.candidate.groups if not caches_fp8(g.gpu)}
    said.extend(
        f"the KV cache stays in 16 bit on {name}, which multiplies no FP8"
        + (": FlashAttention 2 reads no FP8 cache" if vendor == "nvidia" else "")
        for name, vendor in sorted(kept.items())
    )
    return said


def _in_vain(
    plan: Plan, loss: int, top: Sequence[Evaluation], rejections: Sequence[Rejection]
) -> str:
    """Why nothing that gives up so many bits is the best."""
    groups = top[0].candidate.groups
    pools, gpus = {g.pool.name for g in groups}, " and ".join(sorted({g.gpu.name for g in groups}))
    smaller = [
        r
        for r in rejections
        if r.candidate is not None and r.pool in pools and _loss(r.candidate) == loss
    ]
    if any(r.reason is Reason.DOMINATED for r in smaller) or loss in map(worst_loss, top):
        return f"{BITS[loss]} keep every limit too, but nothing that is preferred gets better"
    if not smaller:
        return f"no checkpoint of {plan.model.name} with {BITS[loss]} is known that {gpus} runs"
    nearest = min(smaller, key=lambda r: r.margin)
    assert nearest.candidate is not None  # those without were left out
    group = nearest.candidate.groups[0]
    return f"the nearest with {BITS[loss]} ({group.precision.name}) is refused: {nearest.detail}"


def _loss(candidate: Candidate) -> int:
    return max(
        precision_loss(g.model, g.precision, g.limits.kv_cache_dtype) for g in candidate.groups
    )
