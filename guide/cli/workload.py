"""`guide workload`: a recorded trace as the workload of a plan."""

from __future__ import annotations

from typing import Annotated

import typer

from guide.cli.options import Output, OutputFormat, TraceFile


def workload(
    trace: TraceFile,
    parts: Annotated[
        int,
        typer.Option("--parts", min=2, max=288, help="Parts of the day: 96 are 15 minutes each."),
    ] = 96,
    output: OutputFormat = Output.YAML,
) -> None:
    """Write a recorded trace as spec.workload of a plan: lengths, and the load over the day.

    Of a trace of several days, the day with the most requests, counted from the first one. Put what
    is printed below spec of a plan: `guide plan` then gives the bounds between which to scale.
    Exit code 0: written. 2: bad input, such as a trace without requests or shorter than 12 hours.
    """
    from guide.cli import show
    from guide.cli.question import read_lines
    from guide.simulate.day import DAY_S
    from guide.simulate.recorded import summed_up
    from guide.simulate.trace import read_trace
    from guide.spec.day import workload_document
    from guide.units import format_duration

    name = "stdin" if str(trace) == "-" else str(trace)
    found = summed_up(read_trace(read_lines(trace), name), name, parts)
    if found.seconds > DAY_S:
        typer.echo(
            f"guide: {name} covers {format_duration(found.seconds)}: this is day {found.busiest}, "
            "its busiest.",
            err=True,
        )
    elif found.seconds < DAY_S * (1 - 1 / parts):
        typer.echo(
            f"guide: {name} ends after {format_duration(found.seconds)}: the rest of the day "
            "counts as one without requests.",
            err=True,
        )
    form = Output.YAML if output is Output.TABLE else output
    show.document(workload_document(found.prompt, found.output, found.day), form)
