"""`guide diff`: what a new plan, cluster or catalogue would change in a rendered folder."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import typer

from guide.cli.options import (
    CalibrationFile,
    Folder,
    GpusFile,
    ModelConfig,
    NodePoolsFile,
    NodesFile,
    Output,
    PlanFile,
    PodsFile,
    PricesFile,
    SlicesFile,
)

_LOCK = "guide.lock.yaml"  # its changes are told as reasons, not as lines
REVIEW = "REVIEW.md"


def diff(
    folder: Folder,
    filename: PlanFile,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    model_config: ModelConfig = None,
    calibration: CalibrationFile = None,
    slices: SlicesFile = None,
    node_pools: NodePoolsFile = None,
    gpus: GpusFile = None,
    prices: PricesFile = None,
) -> None:
    """Show what rendering the plan again would change in DIR, and why.

    Without --nodes the current kube context is read, as by `guide plan`. Exit code 0: the manifests
    stay the same, even if numbers in REVIEW.md move. 1: they change. 3: the plan is infeasible now.
    2: bad input.
    """
    from guide.cli import DIFFERS, INFEASIBLE, OK, show
    from guide.cli.folder import read_folder
    from guide.cli.question import Extra, answer, ask
    from guide.gitops import verify as standing
    from guide.gitops.folder import folder_files

    lying = read_folder(folder)
    extra = Extra(slices=slices, node_pools=node_pools, gpus=gpus, prices=prices)
    asked = ask(filename, nodes, pods, model_config, calibration, extra)
    question = asked.rendered_as(lying.lock.format)
    found = answer(question)
    if not found.feasible:
        show.recommendation(found, Output.TABLE)
        raise typer.Exit(INFEASIBLE)
    wanted = folder_files(
        question.written,
        found,
        question.catalog,
        question.inventory,
        form=lying.lock.format,
        model_config=question.config,
        benchmark=lying.lock.benchmark,
        autoscaling=lying.lock.autoscaling,
    )
    differs = [n for n in _names(lying.texts, wanted) if lying.texts.get(n) != wanted.get(n)]
    if set(differs) <= {REVIEW}:
        only = "; only numbers in REVIEW.md would change" if differs else ""
        typer.echo(f"{folder} is what the plan asks for{only}.")
        raise typer.Exit(OK)
    reasons = [
        *standing.moved_plan(lying, question.written),
        *standing.changed_engine(lying, question.catalog),
        *standing.changed_inventory(lying, question.inventory),
        *standing.edited_files(lying, None),
    ]
    assert found.best is not None  # feasible
    for line in standing.choice_change(lying.lock, found.best):
        typer.echo(line)
    for reason in reasons:
        typer.echo(f"Why: {reason.message}.")
    for name in differs:
        for line in _lines(name, lying.texts, wanted):
            colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
            typer.echo(typer.style(line, fg=colour) if colour else line)
    raise typer.Exit(DIFFERS)


def _names(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted((before.keys() | after.keys()) - {_LOCK})


def _lines(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """A unified diff of one file."""
    old, new = before.get(name), after.get(name)
    return difflib.unified_diff(
        [] if old is None else old.splitlines(),
        [] if new is None else new.splitlines(),
        "/dev/null" if old is None else f"a/{name}",
        "/dev/null" if new is None else f"b/{name}",
        lineterm="",
    )
