"""REVIEW.md: why this deployment, what else there was, what it costs, what would change the
decision.

Sorted, without time or chance: the same answer gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

import guide
from guide.answer import Evaluation, Recommendation
from guide.report import rows
from guide.report.sentences import decision_changers, outcome
from guide.spec import InferencePlan


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
        parts += [_section(rows.relaxations(r), otherwise), _section(rows.combined(r))]
    parts += [
        _section(rows.context_tiers(r)),
        _section(rows.rejections(r), "Nothing was rejected."),
        _section(rows.pools(r), "The cluster has no GPU pool."),
        _made_with(r),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _feasible(plan: InferencePlan, r: Recommendation, best: Evaluation) -> list[str]:
    changers = decision_changers(plan.spec.workload.to_domain(), plan.spec.slo.to_domain(), r)
    return [
        _section(rows.top(r)),
        _section(rows.predictions(best)),
        _section(rows.costs(best)),
        _section(rows.memory(best)),
        _section(rows.operating_point(best)),
        "## What would change the decision",
        _bullets(changers),
        _section(rows.pareto(r)),
    ]


def _asked(plan: InferencePlan) -> str:
    spec = plan.spec
    load = (
        f"{spec.workload.requests_per_second} requests/s"
        if spec.workload.requests_per_second is not None
        else f"{spec.workload.concurrency} requests at a time"
    )
    sizes = f"{spec.workload.input_tokens.mean} tokens in, {spec.workload.output_tokens.mean} out"
    return (
        f"Asked: {spec.model.name}, {load}, {sizes} (means); preference {spec.preference}, "
        f"precision tolerance {spec.precision_tolerance}."
    )


def _notes(r: Recommendation) -> list[str]:
    return [_bullets(r.notes)] if r.notes else []


def _made_with(r: Recommendation) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in r.framework_versions)
    return "## Made with\n\n" + _bullets(
        [
            f"GUIDE {guide.__version__}, seed {r.seed}",
            f"Catalogue (facts, fits and prices): `{r.catalog_digest}`",
            f"Framework versions modelled: {versions}",
        ]
    )


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
