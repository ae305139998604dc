"""`guide plan`: recommend a deployment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from guide.cli.options import (
    CalibrationFile,
    GpusFile,
    Listing,
    ListingFormat,
    ModelConfig,
    NodePoolsFile,
    NodesFile,
    PlanFile,
    PodsFile,
    PricesFile,
    SlicesFile,
    Timeout,
)

if TYPE_CHECKING:
    from guide.question import Question

WATCH_S = 2.0  # how often files and the cluster are read again


def plan(
    filename: PlanFile,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    model_config: ModelConfig = None,
    calibration: CalibrationFile = None,
    slices: SlicesFile = None,
    node_pools: NodePoolsFile = None,
    gpus: GpusFile = None,
    prices: PricesFile = None,
    output: ListingFormat = Listing.TABLE,
    watch: Annotated[
        bool,
        typer.Option("-w", "--watch", help="Answer again whenever the plan or the nodes change."),
    ] = False,
    timeout: Timeout = None,
) -> None:
    """Recommend GPU type, count, parallelism, framework and settings for an InferencePlan.

    With -o name, the objects that `guide render` would write are named. Exit code 0: feasible. 3:
    infeasible, every reason is printed. 2: bad input.
    """
    from guide.cli.question import Extra, ask
    from guide.errors import SpecError

    if watch and "-" in map(str, (filename, nodes, pods)):
        raise SpecError("--watch cannot read stdin again: give files")

    extra = Extra(slices=slices, node_pools=node_pools, gpus=gpus, prices=prices)

    def read() -> Question:
        return ask(filename, nodes, pods, model_config, calibration, extra)

    question = read()
    code = _print(question, output, timeout)
    while watch:
        question = _changed(question, read)
        code = _print(question, output, timeout)
    raise typer.Exit(code)


def _print(question: Question, output: Listing, timeout_s: float | None) -> int:
    from guide.cli import INFEASIBLE, OK, show
    from guide.cli.question import answer

    found = answer(question, timeout_s)
    if output is Listing.NAME and found.best is not None:
        from guide.manifests.render import build_objects

        show.names(value for _, value in build_objects(question.written, found.best))
    else:
        show.recommendation(found, Listing.TABLE if output is Listing.NAME else output)
    return OK if found.feasible else INFEASIBLE


def _changed(before: Question, read: Callable[[], Question]) -> Question:
    """Wait for another question; input that is bad for now (a file half saved) is told once."""
    from guide.errors import GuideError

    told = ""
    while True:
        time.sleep(WATCH_S)
        try:
            now = read()
        except GuideError as error:
            if str(error) != told:
                told = str(error)
                typer.echo(f"guide: {error}", err=True)
            continue
        if now != before or told:
            return now
