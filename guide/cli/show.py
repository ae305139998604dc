"""What a command prints: tables on a terminal (colour only there), JSON or YAML for programs."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import typer

from guide.cli.options import Listing, Output
from guide.domain import Catalog, Recommendation
from guide.report import tables as rows


def document(value: Mapping[str, Any], form: Output | Listing) -> None:
    """Print a document as JSON or YAML."""
    if form in (Output.YAML, Listing.YAML):
        from guide.spec import write_document

        typer.echo(write_document(value), nl=False)
    else:
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def recommendation(
    found: Recommendation, form: Output | Listing, *, rented: Catalog | None = None
) -> None:
    """Print an answer; one about what can be rented by the prices of a catalogue says where."""
    if form in (Output.TABLE, Listing.TABLE, Listing.WIDE):
        _tables(found, wide=form is Listing.WIDE, rented=rented)
        return
    from guide.report.document import to_json

    document(to_json(found), form)


def names(objects: Iterable[Mapping[str, Any]]) -> None:
    """Print objects as kubectl names them: kind, group and name."""
    for value in objects:
        group = value["apiVersion"].rpartition("/")[0]
        kind = value["kind"].lower() + (f".{group}" if group else "")
        typer.echo(f"{kind}/{value['metadata']['name']}")


def _tables(found: Recommendation, *, wide: bool, rented: Catalog | None) -> None:
    from guide.report import (
        batches,
        disaggregation,
        frameworks,
        prefixes,
        rivals,
        scaling,
        speculation,
    )
    from guide.report.extremes import three_answers
    from guide.report.renting import left_out, where_to_rent
    from guide.report.sentences import addition, outcome

    say(outcome(found), bold=True)
    for reason in rivals.reasons(found):
        say(reason)
    for note in found.notes:
        say(f"Note: {note}.")
    if found.best is not None:
        shown = [
            rows.top(found),
            *([where_to_rent(found.best, rented)] if rented else []),
            three_answers(found),
            frameworks.side_by_side(found),
            scaling.bounds(found),
            speculation.curve(found),
            prefixes.routers(found),
            rows.predictions(found.best),
            rows.memory(found.best),
            rows.operating_point(found.best),
            *([batches.curve(found)] if wide or found.best.job else []),
            *(
                [rows.costs(found.best), rows.pareto(found), rows.context_tiers(found)]
                if wide
                else []
            ),
        ]
    else:
        shown = [rows.relaxations(found), rows.combined(found), rows.context_tiers(found)]
        if found.candidates and not found.relaxations and not found.combined:
            say("No change of a single field of the plan makes it feasible.")
        for item in found.additions:
            say(f"What to add: {addition(item)}.")
    ends = [
        disaggregation.side_by_side(found),
        rows.rejections(found),
        *([] if rented and not wide else [rows.pools(found)]),
    ]
    for table in (*shown, *ends):
        print_table(table)
    if rented:
        say(left_out(rented))
    for node in found.inventory.skipped:
        say(f"Skipped node {node.node}: {node.reason}")


def say(text: str, *, bold: bool = False) -> None:
    """Print a sentence; on a terminal its lines end between words."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    typer.echo(typer.style(text, bold=bold))


def print_table(table: rows.Table) -> None:
    """Print a table; nothing for an empty one."""
    from guide.cli.tabular import print_table as printed

    printed(table)


def listing(table: Callable[[], rows.Table], items: list[dict[str, Any]], form: Listing) -> None:
    """Print a list of known things: as a table, by name, or as a document."""
    if form in (Listing.TABLE, Listing.WIDE):
        print_table(table())
    elif form is Listing.NAME:
        for item in items:
            typer.echo(item["name"])
    else:
        document({"items": items}, form)
