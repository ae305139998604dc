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
    OptionalPlanFile,
    PodsFile,
    PricesFile,
    Rent,
    SlicesFile,
    Timeout,
)

if TYPE_CHECKING:
    from guide.question import Question

WATCH_S = 2.0  # how often files and the cluster are read again


def plan(
    filename: OptionalPlanFile = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Without a file: Hugging Face id of the model.")
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            help="Without a file: GPUs such as 2xRTX4090, or 3x8xH100-SXM for three nodes of"
            " eight; may be repeated.",
        ),
    ] = None,
    rps: Annotated[
        float | None, typer.Option("--rps", help="Without a file: requests per second.")
    ] = None,
    users: Annotated[
        int | None, typer.Option("--users", help="Without a file: requests at a time.")
    ] = None,
    prompt: Annotated[
        int | None, typer.Option("--in", help="Without a file: mean prompt tokens. [1024]")
    ] = None,
    generated: Annotated[
        int | None, typer.Option("--out", help="Without a file: mean output tokens. [256]")
    ] = None,
    ttft: Annotated[
        int | None, typer.Option("--ttft", help="Without a file: limit on p95 of TTFT, in ms.")
    ] = None,
    tpot: Annotated[
        int | None, typer.Option("--tpot", help="Without a file: limit on p95 of TPOT, in ms.")
    ] = None,
    rent: Rent = False,
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
    from guide.cli.in_words import InWords
    from guide.cli.question import Extra, ask, ask_in_words
    from guide.errors import SpecError

    words = InWords(
        model=model,
        gpu=tuple(gpu or ()),
        rps=rps,
        users=users,
        prompt=prompt,
        output=generated,
        ttft_ms=ttft,
        tpot_ms=tpot,
    )
    if filename is not None and words.said:
        raise SpecError("-f FILE is the whole question: leave --model, --gpu and the load away")
    named = {"--gpu": bool(gpu), "--nodes": nodes is not None, "--rent": rent}
    several = [flag for flag, given in named.items() if given]
    if len(several) > 1:
        raise SpecError(f"{' and '.join(several)} both name the GPUs: give one of them")
    if rent and (pods or slices or node_pools):
        raise SpecError(
            "--rent asks about no cluster: leave --pods, --slices and --node-pools away"
        )

    if watch and "-" in map(str, (filename, nodes, pods)):
        raise SpecError("--watch cannot read stdin again: give files")

    extra = Extra(slices=slices, node_pools=node_pools, gpus=gpus, prices=prices, rent=rent)

    def read() -> Question:
        if filename is None:
            return ask_in_words(words, nodes, pods, model_config, calibration, extra)
        return ask(filename, nodes, pods, model_config, calibration, extra)

    question = read()
    code = _print(question, output, timeout, rent=rent)
    while watch:
        question = _changed(question, read)
        code = _print(question, output, timeout, rent=rent)
    raise typer.Exit(code)


def _print(question: Question, output: Listing, timeout_s: float | None, *, rent: bool) -> int:
    from guide.cli import INFEASIBLE, OK, show
    from guide.cli.question import answer

    found = answer(question, timeout_s)
    if output is Listing.NAME and found.best is not None:
        from guide.manifests.render import build_objects

        show.names(value for _, value in build_objects(question.written, found.best))
    else:
        form = Listing.TABLE if output is Listing.NAME else output
        show.recommendation(found, form, rented=question.catalog if rent else None)
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
