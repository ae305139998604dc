"""`guide sweep`: many what-ifs by the one engine, in processes or on a Dask cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guide.cli.options import (
    CalibrationFile,
    GpusFile,
    NodePoolsFile,
    NodesFile,
    PodsFile,
    PricesFile,
    SlicesFile,
)

if TYPE_CHECKING:
    from guide.cli.question import Cluster, Extra
    from guide.domain import Catalog, Inventory
    from guide.studies.results import Asked, Results
    from guide.studies.study import Point, StudyFile

SHOWN = 40  # rows; more are for the Parquet file alone


def sweep(
    filename: Annotated[
        Path,
        typer.Option("-f", "--filename", help="The study, YAML or JSON: plan, vary, clusters."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="The Parquet file of results; an earlier one is gone on with."),
    ],
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Also draw a picture: .png, .svg or .pdf.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes. Absent: one a core.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            help="Address of a Dask scheduler, such as tcp://HOST:8786, instead of processes.",
        ),
    ] = None,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    slices: SlicesFile = None,
    node_pools: NodePoolsFile = None,
    calibration: CalibrationFile = None,
    gpus: GpusFile = None,
    prices: PricesFile = None,
) -> None:
    """Answer every combination of a study: plans that differ in the fields under vary, on each of
    the clusters.

    Results are kept as they come: the same command goes on where it was stopped, asks again what
    failed, and what a new plan, cluster, catalogue or version changes. A question without an answer
    is a row with its reason. Exit code 0: every question has its row. 1: some failed. 2: bad input.
    """
    from guide.cli import DIFFERS, OK
    from guide.cli.progress import counted
    from guide.cli.question import Extra, read_text
    from guide.errors import SpecError
    from guide.studies.study import read_study

    if scheduler is not None and workers is not None:
        raise SpecError("--workers is for processes: with --scheduler the Dask cluster decides")
    study = read_study(read_text(filename), str(filename))
    from guide.catalog import load
    from guide.studies.results import Results
    from guide.studies.run import dask_cluster, processes

    hire = dask_cluster(scheduler) if scheduler else processes(workers or os.cpu_count() or 1)
    if plot is not None:
        from guide.studies.plot import draw

    catalog = load(calibration=calibration, extra_gpus=gpus, prices=prices)
    extra = Extra(slices=slices, node_pools=node_pools)
    asked = _asked(study, filename.parent, (nodes, pods, extra), catalog)
    results = Results(out, asked, catalog)
    with counted(len(asked), results.answered) as advance:
        for rows in results.run(hire):
            advance(rows)
    if plot is not None:
        draw(results.rows(), list(study.vary), plot)  # pyright: ignore[reportPossiblyUnboundVariable]
    raise typer.Exit(DIFFERS if _told(results, study, out) else OK)


def _asked(
    study: StudyFile,
    folder: Path,
    given: tuple[Path | None, Path | None, Extra],
    catalog: Catalog,
) -> list[Asked]:
    """Every point of the study with its question; `SpecError` where none of them makes a plan."""
    from guide.cli.checkpoint import read_checkpoint
    from guide.cli.question import read_text
    from guide.errors import SpecError
    from guide.spec import read_document
    from guide.studies.study import points

    base = read_document(read_text(folder / study.plan), study.plan)
    configs = {name: read_checkpoint(folder / file) for name, file in study.model_configs.items()}
    clusters = _clusters(study, folder, given)
    inventories: dict[Any, Inventory] = {}
    asked = [
        _question(point, base, configs, clusters[point.cluster], catalog, inventories)
        for point in points(study)
    ]
    if all(one.question is None for one in asked):
        raise SpecError(asked[0].invalid)
    return asked


def _clusters(
    study: StudyFile, folder: Path, given: tuple[Path | None, Path | None, Extra]
) -> dict[str | None, Cluster]:
    from guide.cli.question import Extra, cluster
    from guide.errors import SpecError

    nodes, pods, extra = given
    if not study.clusters:
        return {None: cluster(nodes, pods, extra)}
    if any((nodes, pods, extra.slices, extra.node_pools)):
        raise SpecError("the study names its clusters: leave --nodes and the like away")

    def at(file: str | None) -> Path | None:
        return None if file is None else folder / file

    return {
        name: cluster(
            at(files.nodes),
            at(files.pods),
            Extra(slices=at(files.slices), node_pools=at(files.node_pools)),
        )
        for name, files in study.clusters.items()
    }


def _question(
    point: Point,
    base: dict[str, Any],
    configs: dict[str, str],
    found: Cluster,
    catalog: Catalog,
    inventories: dict[Any, Inventory],
) -> Asked:
    """The question of a point; `inventories` are those that were read before."""
    from guide.errors import SpecError
    from guide.question import ask, inventory_of
    from guide.spec import parse_plan
    from guide.studies.results import Asked
    from guide.studies.run import StudyTask
    from guide.studies.study import varied

    try:
        written = parse_plan(varied(base, point.values))
        key = (point.cluster, tuple(written.spec.placement.node_selector.items()))
        if key not in inventories:
            inventories[key] = inventory_of(written, found, catalog)
        config = configs.get(written.spec.model.name)
        question = ask(written, inventories[key], catalog, config)
    except SpecError as error:
        return Asked(point=point, question=None, invalid=str(error))
    task = StudyTask(digest=question.digest, plan=question.plan, inventory=question.inventory)
    return Asked(point=point, question=task)


def _told(results: Results, study: StudyFile, out: Path) -> int:
    """Print the rows, where they are few, and what became of all; returns how many failed."""
    from collections import Counter

    from guide.cli import show
    from guide.studies.columns import Outcome
    from guide.studies.table import table

    rows = results.rows()
    if len(rows) <= SHOWN:
        show.print_table(table(rows, [*(["cluster"] if study.clusters else []), *study.vary]))
    counts = Counter(row["outcome"] for row in rows)
    told = ", ".join(f"{counts[o]} {o.value.lower()}" for o in Outcome if counts[o])
    before = f"; {results.taken_over} known from before" if results.taken_over else ""
    typer.echo(f"{len(rows)} questions: {told}{before}. Wrote {out}.")
    return counts[Outcome.FAILED]
