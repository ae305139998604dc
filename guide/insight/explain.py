"""What stands behind the numbers of one evaluation: roofs, step parts, constants, queue, interval.

Nothing here is estimated anew: every number is one that the prediction itself used, taken apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guide.domain import (
    Catalog,
    Evaluation,
    Fit,
    GroupEvaluation,
    Plan,
    Release,
    StepShape,
)
from guide.insight.adjusted import Adjusted, adjusted
from guide.insight.breakdown import breakdown, elasticities
from guide.insight.layers import LayerKind, layers_by_kind
from guide.perf.belonging import WIDEST, Key, known_keys, levels, version_family
from guide.perf.fits import PARAMETERS, centre_of, fit_of, kernels_price, spreads_of
from guide.perf.memory import element_bytes, reserved_bytes
from guide.perf.ops import layout_of
from guide.perf.pairs import attended
from guide.perf.roofline import Roof, roofs_of, typical_decode
from guide.perf.terms import NO_WORK
from guide.perf.trust import at_a_bound
from guide.record import Record
from guide.simulate.capacity import layout_cost, request_tokens
from guide.simulate.policy import policy_of

if TYPE_CHECKING:
    from guide.perf.kernels.curves import PricedOperator

LEAST_DEVIATION = 0.02  # latent; smaller contributions of a level are not worth naming


class StepView(Record, frozen=True, kw_only=True):
    """One forward step: its shape, datasheet roofs by operator, predicted seconds by part, and by
    how many percent one percent more of a constant lengthens it.
    """

    shape: StepShape
    roofs: tuple[Roof, ...]
    parts: dict[str, float]
    elasticity: dict[str, float]
    kernels: tuple[PricedOperator, ...]  # none where datasheet roofs price the step

    @property
    def seconds(self) -> float:
        """Predicted time of the step."""
        return sum(self.parts.values())


class Constant(Record, frozen=True, kw_only=True):
    """A fitted constant: its value, the prior, and the levels that moved it (latent deviation,
    measured rows behind it).
    """

    name: str
    value: float
    prior: float
    moved_by: tuple[tuple[Key, float, int], ...]
    at_bound: bool

    @property
    def provenance(self) -> str:
        """Fitted, or the prior where no measurement has moved it."""
        if self.at_bound:
            return "at a bound"
        return "fitted" if self.moved_by else "prior"


class GroupExplanation(Record, frozen=True, kw_only=True):
    """All of it for one group of replicas."""

    evaluated: GroupEvaluation
    release: Release
    fit: Fit
    arrivals_per_s: float  # requests/s at one replica: offered, or in a closed loop as served
    assumed_intervals: bool  # no left-out error stands behind them
    note: str  # what is doubtful about the fits of this GPU under this engine
    decode: StepView
    prompt: StepView
    constants: tuple[Constant, ...]
    reserved: dict[str, float]  # bytes of one GPU by reason
    adjusted: Adjusted
    layers: tuple[LayerKind, ...]  # and what stands around them, over all GPUs

    @property
    def utilisation(self) -> float:
        """Requests/s of a replica over those at saturation."""
        return self.arrivals_per_s / self.evaluated.max_requests_per_s

    @property
    def in_system(self) -> float:
        """Mean requests in a replica by Little's law."""
        return self.arrivals_per_s * self.evaluated.report.e2e.mean_s


class Explanation(Record, frozen=True, kw_only=True):
    """A deployment taken apart."""

    evaluation: Evaluation
    groups: tuple[GroupExplanation, ...]


def explain(evaluation: Evaluation, plan: Plan, catalog: Catalog) -> Explanation:
    """Take the prediction of a deployment apart."""
    groups = tuple(_group(item, plan, catalog) for item in evaluation.groups)
    return Explanation(evaluation=evaluation, groups=groups)


def _group(item: GroupEvaluation, plan: Plan, catalog: Catalog) -> GroupExplanation:
    group, offered = item.group, plan.workload.requests_per_s
    release = next(
        r for r in catalog.releases if r.framework == group.framework and r.version == group.version
    )
    fit = fit_of(group, catalog)
    keys = _keys(item, release, catalog)
    decode = _view(item, typical_decode(group, item.report, plan.workload), catalog)
    prompt = _view(item, _typical_prompt(item, plan, catalog), catalog)
    own = next(key for key in keys if key[0] == "gpu-engine")
    return GroupExplanation(
        evaluated=item,
        release=release,
        fit=fit,
        arrivals_per_s=(
            item.report.requests_per_s
            if offered is None
            else offered * group.load_share / group.replicas
        ),
        assumed_intervals=("serving/free/row", "ttft") not in catalog.fits.residuals,
        note=catalog.fits.notes.get(own, ""),
        decode=decode,
        prompt=prompt,
        constants=tuple(_constants(fit, keys, catalog)),
        reserved=reserved_bytes(group.model, group.gpu, layout_of(group), group.limits, release),
        adjusted=adjusted(item, plan, catalog),
        layers=layers_by_kind(
            group.model,
            group.precision,
            element_bytes(group.model, group.limits.kv_cache_dtype, group.switches),
        ),
    )


def _keys(item: GroupEvaluation, release: Release, catalog: Catalog) -> list[Key]:
    """The levels that `resolve` adds up for this group."""
    group = item.group
    version = tuple(int(part) for part in group.version.split("."))
    keys = levels(
        group.gpu,
        release.engine,
        group.precision,
        group.model,
        version=version_family(group.framework, version),
        kernels=kernels_price(catalog.fits, group.gpu, release.engine),
    )
    return known_keys(catalog.fits, keys, group.gpu)


def _view(item: GroupEvaluation, shape: StepShape, catalog: Catalog) -> StepView:
    group = item.group
    cost, _ = layout_cost(group, catalog)
    work = NO_WORK if cost.priced is None else cost.priced.step_work(shape)
    return StepView(
        shape=shape,
        roofs=roofs_of(group, shape),
        parts=breakdown(cost.facts, cost.params, shape, work),
        elasticity=elasticities(cost.facts, cost.params, shape, work),
        kernels=() if cost.priced is None else cost.priced.kernels(shape),
    )


def _typical_prompt(item: GroupEvaluation, plan: Plan, catalog: Catalog) -> StepShape:
    """The first step of a mean prompt; under a token budget the mean batch decodes beside it."""
    group, workload = item.group, plan.workload.as_found(item.report.hit_share)
    policy = policy_of(group, item.memory, catalog, request_tokens(workload))
    beside = typical_decode(group, item.report, workload) if policy.mixes else StepShape()
    hit = int(workload.prompt.mean_tokens * workload.prefix_hit_share)
    left = max(1, policy.token_budget // group.attention_dp - int(beside.decode_sequences))
    new = max(1, min(round(workload.prompt.mean_tokens) - hit, left))
    full, inside = attended(hit, new, group.model.window_tokens or 0)
    whole = hit + new >= round(workload.prompt.mean_tokens)
    return beside._replace(
        prefill_tokens=new,
        prefill_sequences=1,
        attended_pairs=full,
        window_pairs=inside,
        sampled_sequences=beside.decode_sequences + (1 if whole else 0),
    )


def _constants(fit: Fit, keys: list[Key], catalog: Catalog) -> list[Constant]:
    kernels = WIDEST in keys
    bound = set(at_a_bound(fit.values, kernels))
    rows, points = catalog.fits.rows, catalog.fits.points
    return [
        Constant(
            name=q.name,
            value=fit.values[q.name],
            prior=centre_of(q, kernels) + (q.name == "p"),  # fitted as its excess over 1
            moved_by=tuple(
                (key, deviation, points.get(key, 0))
                for key in keys
                if abs(deviation := rows.get(key, {}).get(q.name, 0.0)) >= LEAST_DEVIATION
            ),
            at_bound=q.name in bound,
        )
        for q in PARAMETERS
        if spreads_of(q, kernels)
    ]


def half_widths(evaluation: Evaluation, catalog: Catalog) -> dict[str, float]:
    """Log half-width of the 90 % interval by metric: the widest of the groups."""
    found: dict[str, float] = {}
    for item in evaluation.groups:
        for metric, width in fit_of(item.group, catalog).residual.items():
            found[metric] = max(width, found.get(metric, 0.0))
    return found
