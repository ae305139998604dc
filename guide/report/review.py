"""REVIEW.md: why this deployment, what else there was, what it costs, what would change the
decision.

Sorted, without time or chance: the same answer gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import guide
from guide.domain import Evaluation, Recommendation
from guide.frameworks import FRAMEWORKS
from guide.report import (
    batches,
    disaggregation,
    frameworks,
    prefill,
    prefixes,
    rivals,
    scaling,
    speculation,
)
from guide.report import tables as rows
from guide.report.bill import bill, bill_changers, price_dates
from guide.report.extremes import three_answers
from guide.report.misses import each_gpu, reasons
from guide.report.sentences import addition, decision_changers, outcome, precision_reason
from guide.spec import InferencePlan
from guide.units import format_rate, format_seconds, format_usd

_WEIGHTS = "them anew unless spec.deployment.modelCache names a volume that stays"
_TOLD = {
    *("serviceAccountName", "priorityClassName", "imagePullSecrets", "env"),
    *("modelCache.ephemeral", "modelCache.hostPath"),
}


def review_markdown(plan: InferencePlan, recommendation: Recommendation) -> str:
    """The review of `recommendation` for `plan` as Markdown."""
    r = recommendation
    parts = [
        f"# {plan.metadata.name}: what GUIDE recommends and why",
        outcome(r),
        _asked(plan),
        *_notes(r),
    ]
    if r.best is not None:
        parts += _feasible(plan, r, r.best)
    else:
        otherwise = "" if r.combined else "No change of a single field makes it feasible."
        parts += [_section(rows.relaxations(r), otherwise), _section(rows.combined(r)), _add(r)]
    parts += [
        *([_section(disaggregation.side_by_side(r))] if r.disaggregation else []),
        _section(rows.context_tiers(r)),
        _section(each_gpu(r)),
        _section(reasons(r), "Nothing was rejected."),
        _section(rows.pools(r), "The cluster has no GPU pool."),
        _made_with(plan, r),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _feasible(plan: InferencePlan, r: Recommendation, best: Evaluation) -> list[str]:
    workload = plan.spec.workload.to_domain()
    changers = decision_changers(workload, plan.spec.slo_to_domain(), r)
    return [
        _section(bill(best)),
        price_dates(best),
        _bullets(bill_changers(workload, best)),
        _section(rows.top(r)),
        _section(three_answers(r)),
        *_frameworks(r),
        _section(rows.predictions(best)),
        _section(rows.costs(best)),
        _section(rows.memory(best)),
        _section(rows.operating_point(best)),
        _section(batches.curve(r)),
        *_day(r),
        *([_section(speculation.curve(r))] if r.speculation else []),
        *([_section(prefixes.routers(r))] if r.prefixes else []),
        "## Precision",
        _bullets([precision_reason(item) for item in best.groups]),
        *_tolerated(best),
        *_pods(plan),
        *_router(plan, best),
        _section(prefill.peaks(best)),
        "## What would change the decision",
        _bullets(changers),
        _section(rows.pareto(r)),
    ]


def _day(r: Recommendation) -> list[str]:
    """Between which bounds to scale, where the plan states its day."""
    return [_section(scaling.bounds(r)), scaling.NO_START] if r.scaling else []


def _frameworks(r: Recommendation) -> list[str]:
    """Why this framework, where others were compared."""
    said = list(rivals.reasons(r))
    return [_section(frameworks.side_by_side(r)), _bullets(said)] if said else []


def _add(r: Recommendation) -> str:
    """What to add, the cheapest first."""
    said = [f"{addition(item)}." for item in r.additions]
    return f"## What to add\n\n{_bullets(said)}" if said else ""


def _router(plan: InferencePlan, best: Evaluation) -> list[str]:
    """A Service deals requests out at random, and prefix hits with them."""
    counts = {item.group.framework: item.group.replicas for item in best.groups}
    routers = [FRAMEWORKS[name].router for name, count in counts.items() if count > 1]
    said = next((router for router in routers if router), None)
    if said is None or best.job is not None:
        return []
    workload = plan.spec.workload
    hits = workload.prefix_cache_hit_percent
    counted = (
        f"this answer counts on {workload.prefixes.router}, and the table of hits compares"
        if workload.prefixes
        else f"the {hits:g} % of prompt tokens that the plan counts as seen before need that"
        if hits
        else "this plan counts on no such hits, so its Service is enough"
    )
    return ["## Router", f"Replicas do not share their prefix caches. {said}; {counted}."]


def _tolerated(best: Evaluation) -> list[str]:
    """Taints keep pods off for somebody's reason: whoever reviews has to know of each."""
    found = [dict(each) for item in best.groups for each in item.group.pool.tolerations]
    said = sorted(
        {
            f"{one.get('key', 'every key')}{'=' + one['value'] if 'value' in one else ''}"
            f" ({one.get('effect', 'every effect')})"
            for one in found
        }
    )
    return [f"Its pods tolerate these taints of nodes: {', '.join(said)}."] if said else []


def _pods(plan: InferencePlan) -> list[str]:
    """What the plan asks of its pods, and that weights without a volume are fetched by each."""
    asked, cache = plan.spec.deployment, plan.spec.deployment.model_cache
    said = [f"Their cache of weights ends with them: each new pod loads {_WEIGHTS}."]
    if cache is not None:
        where = {
            "claim": cache.claim_name,
            "a volume of its own for each pod, of": cache.ephemeral and cache.ephemeral.size,
            "the folder of the node": cache.host_path,
        }
        said = [f"Their weights lie on {kind} {name}." for kind, name in where.items() if name]
    for what, names in (
        ("run under the account", [asked.service_account_name]),
        ("have the priority", [asked.priority_class_name]),
        ("pull with the Secrets", asked.image_pull_secrets),
        ("get the variables", [each.name for each in asked.env]),
    ):
        if found := [name for name in names if name]:
            said.append(f"They {what} {', '.join(found)}.")
    rest = sorted({*asked.wishes()} - _TOLD)
    if rest:
        said.append(f"Also as the plan asks: {', '.join(rest)}.")
    return ["## Its pods", _bullets(said)]


def _asked(plan: InferencePlan) -> str:
    spec = plan.spec
    offline = spec.workload.offline
    if offline is not None:
        within = f" within {offline.complete_within}" if offline.complete_within else ""
        load = f"a batch of {offline.requests:,} requests{within}"
    elif spec.workload.day_profile is not None:
        day = spec.workload.day_profile.to_domain()
        low, mean, peak = map(format_rate, (day.low_per_s, day.mean_per_s, day.peak_per_s))
        load = f"{low} to {peak} requests/s over the day, {mean} on average"
    elif spec.workload.requests_per_second is not None:
        load = f"{spec.workload.requests_per_second} requests/s"
    else:
        load = f"{spec.workload.concurrency} requests at a time"
    sizes = f"{spec.workload.input_tokens.mean} tokens in, {spec.workload.output_tokens.mean} out"
    return (
        f"Asked: {spec.model.name}, {load}, {sizes} (means); preference {spec.preference}, "
        f"precision tolerance {spec.precision_tolerance}. {_limits(plan)}"
    )


def _limits(plan: InferencePlan) -> str:
    slo, budget = plan.spec.slo.to_domain(), plan.spec.budget.to_domain()
    latencies = (("TTFT", slo.ttft_p95_s), ("TPOT", slo.tpot_p95_s), ("E2E", slo.e2e_p95_s))
    said = [f"p95 {name} {format_seconds(limit)}" for name, limit in latencies if limit is not None]
    if slo.min_output_tokens_per_s is not None:
        said.append(f"at least {slo.min_output_tokens_per_s:,.0f} output tokens/s")
    if budget.max_usd_per_h is not None:
        said.append(f"{format_usd(budget.max_usd_per_h)} per hour")
    if budget.max_gpus is not None:
        said.append(f"{budget.max_gpus} GPUs")
    return f"Limits: {', '.join(said)}." if said else "No limits."


def _notes(r: Recommendation) -> list[str]:
    return [_bullets(r.notes)] if r.notes else []


def _made_with(plan: InferencePlan, r: Recommendation) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in r.framework_versions)
    return "## Made with\n\n" + _bullets(
        [
            f"GUIDE {guide.__version__}, seed {r.seed}",
            f"Catalogue (facts, fits and prices): `{r.catalog_digest}`",
            f"Prices of the pools: `{_prices_digest(r)}`",
            f"Framework versions modelled: {versions}",
            *_other_version(plan, r),
        ]
    )


def _prices_digest(r: Recommendation) -> str:
    """Of the prices that were compared, so that a review tells whether one moved."""
    prices = [
        f"{pool.name} {price.usd_per_gpu_h:.6g} {price.billed_gpus} {price.source} {price.as_of}"
        for pool in r.inventory.pools
        if (price := pool.price) is not None
    ]
    return "sha256:" + hashlib.sha256("\n".join(sorted(prices)).encode()).hexdigest()


def _other_version(plan: InferencePlan, r: Recommendation) -> list[str]:
    """A pinned image of another version than the one whose behaviour was predicted."""
    found: list[str] = []
    for name, modelled in r.framework_versions:
        framework, image = FRAMEWORKS[name], plan.spec.deployment.images.get(name)
        known = framework.image_version(f":{modelled}")
        if image is None or known is None:  # a framework whose images tell no version
            continue
        pinned = framework.image_version(image)
        numbers = f"the numbers are those of {modelled}"
        if pinned is None:
            found.append(f"{image} does not tell its {name} version; {numbers}")
        elif pinned != known:
            shown = ".".join(map(str, pinned))
            found.append(f"{image} is {name} {shown}; {numbers} and may differ")
    return found


def _section(table: rows.Table, otherwise: str = "") -> str:
    body = markdown_table(table) if table.rows else otherwise
    return f"## {table.title}\n\n{body}" if body else ""


def markdown_table(table: rows.Table) -> str:
    """The heads and cells of a table in Markdown, without its title."""
    rules = ["---:" if n in table.numeric else "---" for n in range(len(table.heads))]
    lines = [table.heads, tuple(rules), *table.rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
