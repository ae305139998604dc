"""What the templates show of an answer; all numbers and sentences come from `guide.report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any

from msgspec.structs import replace

from guide.domain import (
    Addition,
    Catalog,
    Evaluation,
    Job,
    Recommendation,
    Relaxation,
    Slo,
)
from guide.insight.explain import Explanation
from guide.insight.minute import Timeline
from guide.record import Record
from guide.report import disaggregation, frameworks, prefixes, rivals, speculation
from guide.report import tables as rows
from guide.report.adjusted import adjusted_table
from guide.report.bill import bill, bill_changers, price_dates
from guide.report.extremes import three_answers
from guide.report.misses import each_gpu, margin, reasons
from guide.report.reasons import IN_WORDS, split_unready
from guide.report.renting import left_out, where_to_rent
from guide.report.scaling import bounds
from guide.report.sentences import addition, choice, decision_changers, outcome, parallel
from guide.report.status import nearest_misses
from guide.report.table import Table
from guide.report.verdict import trust_in, verdict
from guide.search.notes import headroom_note
from guide.search.rank import capacity_per_s
from guide.spec.scalars import DURATIONS, duration_of
from guide.units import (
    format_count,
    format_duration,
    format_range,
    format_rate,
    format_seconds,
    format_usd,
    whole,
)
from guide.web import charts
from guide.web.asking import PageQuestion, drawn, explained
from guide.web.batch_chart import batch_curves
from guide.web.comparison import cost_of
from guide.web.downloads import manifests_yaml, plan_yaml
from guide.web.fields import BY_PATH, ENTRIES, Field
from guide.web.minute import minute
from guide.web.pareto_chart import pareto
from guide.web.permalink import since, stamp
from guide.web.roofline import roofline
from guide.web.state import MOST_POOLS, PoolRow, State, from_query

REJECTIONS_SHOWN = 60


class Figure(Record, frozen=True, kw_only=True):
    """One predicted number with its band."""

    name: str
    value: str
    band: str
    limit: str = ""


class Card(Record, frozen=True, kw_only=True):
    """One of the top three."""

    place: str
    sentence: str
    cost: str
    per_million: str
    gpus: str
    figures: tuple[Figure, ...]
    trust: str


class Relax(Record, frozen=True, kw_only=True):
    """A change that makes the plan feasible, as a link that asks again."""

    words: str
    query: str


class Inside(Record, frozen=True, kw_only=True):
    """What goes on in a replica of one group."""

    title: str
    roofline: charts.Chart
    cut: rows.Table
    minute: tuple[charts.Chart, ...]


class FormError(Record, frozen=True, kw_only=True):
    """A field that is wrong, as a link to it; `place` is empty for what belongs to no field."""

    place: str
    label: str
    text: str


_PLACES = {
    "model": ("f-model", "Model"),
    "config": ("f-config", "config.json"),
    "nodes": ("f-nodes", "Node list"),
    "source": ("source-pools", "GPUs"),
    "people": ("f-people", "People"),
    "every": ("f-every", "A message every"),
}


def problems(errors: Mapping[str, str]) -> list[FormError]:
    """What is wrong with a form, for the top of the page; each field says the same."""
    return [_problem(name, text) for name, text in errors.items()]


def _problem(name: str, text: str) -> FormError:
    if name.startswith("pool-"):
        _, row, column = name.split("-")
        return FormError(place=f"p{row}-{column}", label=f"Pool {int(row) + 1}", text=text)
    entry = ENTRIES.get(name)
    place, label = (f"f-{name}", entry.label) if entry else _PLACES.get(name, ("", ""))
    return FormError(place=place, label=label, text=text)


def answer_view(state: State, asked: PageQuestion, found: Recommendation) -> dict[str, Any]:
    """Everything that `answer.html` shows."""
    with ThreadPoolExecutor(1) as beside:  # the engine draws while all else is put into words
        drawing = beside.submit(drawn, asked)
        words, taken_apart = _words(state, asked, found), explained(asked)
        loads, minutes = drawing.result()
    return words | {
        "loads": charts.loads(loads, asked.plan),
        "insides": _insides(asked, taken_apart, minutes),
    }


def _words(state: State, asked: PageQuestion, found: Recommendation) -> dict[str, Any]:
    best = found.best
    said = headroom_note(asked.plan, best) if best else []  # the verdict says it better
    return {
        "query": state.alone.query,
        "permalink": replace(state.alone, asof=stamp(found)).query,
        "since": since(state.asof, found),
        "sentence": outcome(found),
        "verdict": verdict(asked.plan, best, rented=asked.rented) if best else None,
        "notes": [note for note in found.notes if note not in said],
        "feasible": found.feasible,
        "bill": bill(best) if best else None,
        "price_dates": price_dates(best) if best else "",
        "bill_changers": bill_changers(asked.plan.workload, best) if best else [],
        "yaml": _yaml(asked, found),
        "cards": _cards(asked, found),
        "predictions": rows.predictions(best) if best else None,
        "bills": charts.memory_bills(best) if best else (),
        "pareto": pareto(found),
        "batches": batch_curves(found),
        "offline": asked.plan.workload.offline is not None,
        "three": three_answers(found),
        "scaling": bounds(found),
        "speculation": speculation.curve(found),
        "routers": prefixes.routers(found),
        "apart": disaggregation.side_by_side(found),
        "frameworks": frameworks.side_by_side(found),
        "why_framework": list(rivals.reasons(found)),
        "tables": [rows.operating_point(best), rows.costs(best)] if best else [],
        "changers": decision_changers(asked.plan.workload, asked.plan.slo, found),
        "relaxations": _relaxations(state, found),
        "combined": _combined(state, found),
        "additions": [_addition(state, item) for item in found.additions],
        "tiers": rows.context_tiers(found),
        "each_gpu": each_gpu(found),
        "reasons": reasons(found),
        "rejections": _rejections(found),
        "candidates": found.candidates,
        "rejected": len(found.rejections),
        "pools": None if asked.rented else rows.pools(found),
        "rented": _rented(best, asked.catalog) if asked.rented else None,
        "skipped": found.inventory.skipped,
        "digest": found.catalog_digest,
        "versions": found.framework_versions,
        "has_nodes": bool(asked.nodes),
        "has_config": asked.config is not None,
        "plan_name": asked.written.metadata.name,
    }


def _rented(best: Evaluation | None, catalog: Catalog) -> tuple[Table | None, str]:
    """Where what is recommended can be rented, and which GPUs were not asked about."""
    return (where_to_rent(best, catalog) if best else None), left_out(catalog)


def _yaml(asked: PageQuestion, found: Recommendation) -> dict[str, str]:
    """Files to read and copy on the page; only the plan where no manifest can be written."""
    files = {"plan.yaml": plan_yaml}
    if found.best and not {g.group.framework for g in found.best.groups} & set(found.unready):
        files["manifests.yaml"] = manifests_yaml
    return {name: make(asked, found).decode() for name, make in files.items()}


def _insides(
    asked: PageQuestion, taken_apart: Explanation | None, minutes: tuple[Timeline, ...]
) -> list[Inside]:
    """Roofline and timeline of each group."""
    if taken_apart is None:
        return []
    pairs = zip_longest(taken_apart.groups, minutes)
    return [
        Inside(
            title=f"{item.evaluated.group.gpu.name}, {parallel(item.evaluated)}",
            roofline=roofline(item, number),
            cut=adjusted_table(item.adjusted),
            minute=minute(timeline, asked.plan.slo.ttft_p95_s, number) if timeline else (),
        )
        for number, (item, timeline) in enumerate(pairs, 1)
    ]


def _cards(asked: PageQuestion, found: Recommendation) -> list[Card]:
    items = [found.best, *found.alternatives] if found.best else []
    places = ("Recommended", "Second choice", "Third choice")
    return [_card(place, item, asked) for place, item in zip(places, items, strict=False) if item]


def _card(place: str, item: Evaluation, asked: PageQuestion) -> Card:
    return Card(
        place=place,
        sentence=choice(item),
        cost=cost_of(item),
        per_million=_per_million(item),
        gpus="1 GPU" if item.gpus == 1 else f"{item.gpus} GPUs",
        figures=_figures(item, asked),
        trust=trust_in(item),
    )


def _per_million(item: Evaluation) -> str:
    output, both = item.usd_per_million_output_tokens, item.usd_per_million_tokens
    if output is None or both is None:
        return ""
    return f"{format_usd(output)} per million output tokens, {format_usd(both)} over all"


def _figures(item: Evaluation, asked: PageQuestion) -> tuple[Figure, ...]:
    p, slo = item.predicted, asked.plan.slo
    if item.job is not None:
        return _of_a_job(item, item.job, slo)
    latencies = (
        ("First token (TTFT)", p.ttft, p.ttft_interval, slo.ttft_p95_s),
        ("Further tokens (TPOT)", p.tpot, p.tpot_interval, slo.tpot_p95_s),
        ("Whole answer", p.e2e, p.e2e_interval, slo.e2e_p95_s),
    )
    need = slo.min_output_tokens_per_s
    rate, interval = p.output_tokens_per_s, p.output_tokens_interval
    return (
        *(
            Figure(
                name=name,
                value=format_seconds(value.p95_s),
                band=format_range(band.lower, band.upper, format_seconds),
                limit="" if limit is None else format_seconds(limit),
            )
            for name, value, band, limit in latencies
        ),
        Figure(
            name="Output",
            value=f"{format_count(rate)} tokens/s",
            band=format_range(interval.lower, interval.upper, format_count),
            limit="" if need is None else format_count(need),
        ),
        Figure(name="Saturates at", value=f"{format_rate(capacity_per_s(item))} req/s", band=""),
    )


def _of_a_job(item: Evaluation, job: Job, slo: Slo) -> tuple[Figure, ...]:
    rate, band = item.predicted.output_tokens_per_s, item.predicted.output_tokens_interval
    return (
        Figure(
            name="Done after",
            value=format_duration(job.seconds),
            band=format_range(job.interval.lower, job.interval.upper, format_duration),
            limit="" if slo.job_s is None else format_duration(slo.job_s),
        ),
        Figure(
            name="Output",
            value=f"{format_count(rate)} tokens/s",
            band=format_range(band.lower, band.upper, format_count),
        ),
    )


def _relaxations(state: State, found: Recommendation) -> list[Relax]:
    return [one for item in found.relaxations if (one := relax(state, [item]))]


def _combined(state: State, found: Recommendation) -> Relax | None:
    """All of several changes as one link."""
    return relax(state, found.combined) if found.combined else None


def _addition(state: State, item: Addition) -> Relax:
    """Nodes to add; as a link where the GPUs are typed, else in words alone."""
    changed = relax(state, item.changes) if item.changes else Relax(words="", query=state.query)
    row = PoolRow(gpu=item.gpu, nodes=str(item.nodes), per=str(item.gpus_per_node))
    query = ""
    typed = state.source == "pools" and len(state.pools) < MOST_POOLS
    if typed and changed is not None and not item.over_nodes:
        kept = from_query(changed.query)
        query = replace(kept, pools=(*(p for p in kept.pools if not p.blank), row)).query
    return Relax(words=addition(item), query=query)


def relax(state: State, items: Sequence[Relaxation]) -> Relax | None:
    """Changes as one link; None where the form has no field for one of them."""
    words: list[str] = []
    values: dict[str, str] = {}
    for item in items:
        name = BY_PATH.get(item.field, "")
        entry = ENTRIES.get(name)
        if not isinstance(entry, Field) or entry.many:
            return None
        now, then = whole(item.current), whole(item.needed)
        if item.field in DURATIONS:
            values[name] = duration_of(then)
            words.append(f"{entry.label}: {values[name]} instead of {duration_of(now)}")
            continue
        words.append(f"{entry.label}: {then:,} {entry.unit} instead of {now:,}")
        values[name] = str(then)
    return Relax(words="; ".join(words), query=state.changed(**values).query)


def _rejections(found: Recommendation) -> Table:
    """Candidates one by one, the nearest misses first."""
    items = nearest_misses(split_unready(found)[0])[:REJECTIONS_SHOWN]
    return Table(
        title="Rejected candidates",
        heads=("reason", "candidate", "why", "margin"),
        rows=tuple(
            (IN_WORDS[one.reason], rows.candidate_name(one), one.detail, margin(one))
            for one in items
        ),
        numeric=(3,),
    )
