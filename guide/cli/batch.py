"""`guide batch`: a batch of work in flags: how soon it can be done, on what, for how much."""

from __future__ import annotations

from typing import Annotated

import typer

from guide.cli.options import Listing, ListingFormat, NodesFile, PodsFile, PricesFile, Timeout


def batch(
    model: Annotated[str, typer.Option("--model", help="Model to run.")],
    requests: Annotated[int, typer.Option("--requests", help="Requests of the batch.")],
    gpus: Annotated[
        list[str] | None,
        typer.Option(
            "--gpus",
            help="GPUs such as 4xA100-80GB, or 3x8xH100-SXM for three nodes of eight; may be"
            " repeated. Absent: those of the cluster.",
        ),
    ] = None,
    prompt: Annotated[int, typer.Option("--in", help="Prompt tokens of each request.")] = 1024,
    generated: Annotated[int, typer.Option("--out", help="Output tokens of each request.")] = 256,
    within: Annotated[
        str | None, typer.Option("--within", help="Time limit for all of it, such as 6h.")
    ] = None,
    prefer: Annotated[
        str, typer.Option("--prefer", help="Cost, Latency (soonest) or Throughput.")
    ] = "Cost",
    framework: Annotated[
        list[str] | None, typer.Option("--framework", help="Only these; may be repeated.")
    ] = None,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    prices: PricesFile = None,
    output: ListingFormat = Listing.TABLE,
    timeout: Timeout = None,
) -> None:
    """Find the layout and the batch size that finish a batch of equal requests cheapest, or
    soonest, and what every other batch size would do.

    The short form of a plan with workload.offline. Exit code 0: feasible. 3: infeasible, every
    reason is printed. 2: bad input.
    """
    from guide.cli import INFEASIBLE, OK, show
    from guide.cli.in_words import InWords
    from guide.cli.question import Extra, answer, ask_in_words
    from guide.errors import SpecError

    if gpus and nodes is not None:
        raise SpecError("--gpus and --nodes both name the GPUs: give one of them")
    words = InWords(
        model=model,
        gpu=tuple(gpus or ()),
        requests=requests,
        within=within,
        prompt=prompt,
        output=generated,
        prefer=prefer,
        frameworks=tuple(framework or ()),
    )
    found = answer(ask_in_words(words, nodes, pods, None, extra=Extra(prices=prices)), timeout)
    show.recommendation(found, output)
    raise typer.Exit(OK if found.feasible else INFEASIBLE)
