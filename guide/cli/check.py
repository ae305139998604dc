"""`guide check`: does a rendered folder still meet its plan?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

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
    from guide.cli.question import Extra
    from guide.domain import Catalog, Inventory
    from guide.gitops import verify as standing
    from guide.gitops.findings import Finding
    from guide.spec import InferencePlan


class CheckOutput(StrEnum):
    """Forms of the findings."""

    TEXT = "text"
    GITHUB = "github"
    SARIF = "sarif"
    JUNIT = "junit"


def check(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Folders that `guide render --out` wrote. A file stands for its folder, and is"
            " passed over where that is none: so a pre-commit hook may name any file.",
        ),
    ],
    filename: Annotated[
        Path | None,
        typer.Option("-f", "--filename", help="The plan as it should be. Absent: DIR/plan.yaml."),
    ] = None,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    calibration: CalibrationFile = None,
    slices: SlicesFile = None,
    node_pools: NodePoolsFile = None,
    gpus: GpusFile = None,
    prices: PricesFile = None,
    output: Annotated[
        CheckOutput,
        typer.Option("-o", "--output", help="Form: text, or what a CI system reads."),
    ] = CheckOutput.TEXT,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on warnings too: a better plan exists.")
    ] = False,
) -> None:
    """Tell whether the manifests in each DIR still meet their plan, and if not, what to do.

    Refused are files edited by hand, a plan that moved, a review made with other facts or prices,
    and a deployment that breaks a limit of the plan. Without --nodes the cluster is taken from
    guide.lock.yaml; nothing is read from the network. Exit code 0: it holds. 1: it does not. 2: bad
    input.
    """
    from guide.catalog import load
    from guide.cli import DIFFERS, OK
    from guide.cli.folder import read_folder
    from guide.cli.progress import shown_when_slow
    from guide.cli.question import Extra, read_text
    from guide.errors import SpecError
    from guide.gitops import findings as report
    from guide.spec import load_plan

    paths = _rendered_folders(folders)
    if filename is not None and len(paths) > 1:
        raise SpecError("-f names the plan of one folder: check the folders one by one")
    catalog = load(calibration=calibration, extra_gpus=gpus, prices=prices)
    extra = Extra(slices=slices, node_pools=node_pools, gpus=gpus, prices=prices)
    found: list[Finding] = []
    for path in paths:
        lying = read_folder(path)
        asked = lying.plan if filename is None else load_plan(read_text(filename))
        with shown_when_slow(f"checking {path}"):
            each = findings(lying, asked, catalog, nodes, pods, extra)
        found += [replace(one, file=(path / one.file).as_posix()) for one in each]
    write = {
        CheckOutput.TEXT: report.as_text,
        CheckOutput.GITHUB: report.as_github,
        CheckOutput.SARIF: report.as_sarif,
        CheckOutput.JUNIT: report.as_junit,
    }[output]
    typer.echo(write(found, [str(path) for path in paths]), nl=False)
    raise typer.Exit(DIFFERS if report.failed(found, strict=strict) else OK)


def _rendered_folders(paths: list[Path]) -> list[Path]:
    """Every folder once, in the order given."""
    from guide.gitops.folder import LOCK

    folders = [path.parent if path.is_file() else path for path in paths]
    kept = [
        folder
        for path, folder in zip(paths, folders, strict=True)
        if path == folder or (folder / LOCK).is_file()
    ]
    return list(dict.fromkeys(kept))


def findings(
    lying: standing.Folder,
    asked: InferencePlan,
    catalog: Catalog,
    nodes: Path | None,
    pods: Path | None,
    extra: Extra,
) -> list[Finding]:
    """Everything that a check finds, worst first."""
    from guide.cli.question import cluster
    from guide.gitops import verify as standing
    from guide.gitops.findings import Level
    from guide.question import ask, inventory_of
    from guide.search.assess import Running, assess

    lock = lying.lock
    found = [*standing.moved_plan(lying, asked), *standing.what_if(asked, lock.deployment)]
    wanted = None
    if standing.same_engine(lock, catalog):
        wanted = _again(lying, catalog) if not found else None
    found += standing.edited_files(lying, wanted)
    found += standing.changed_engine(lying, catalog)
    if nodes is not None or pods is not None:
        inventory: Inventory = inventory_of(asked, cluster(nodes, pods, extra), catalog)
        found += standing.changed_inventory(lying, inventory)
    else:
        inventory = standing.unpriced(lock.inventory.to_domain(catalog))
    question = ask(asked, inventory, catalog, lock.model).rendered_as(lock.format)
    layout = [
        Running(key=g.key, replicas=g.replicas, load_share=g.load_share, limits=g.operating_point)
        for g in lock.deployment
    ]
    assessed = assess(question.plan, inventory, catalog, layout)
    found += standing.standing(lying, asked, assessed, question.answer())
    order = list(Level)
    return sorted(found, key=lambda f: (order.index(f.level), f.file, f.rule))


def _again(lying: standing.Folder, catalog: Catalog) -> dict[str, str]:
    """The folder rendered again from what it was made from."""
    from guide.gitops.folder import folder_files
    from guide.question import ask

    lock = lying.lock
    inventory = lock.inventory.to_domain(catalog)
    question = ask(lying.plan, inventory, catalog, lock.model).rendered_as(lock.format)
    again = question.answer(lock.engine.seed)
    return folder_files(
        lying.plan,
        again,
        catalog,
        inventory,
        form=lock.format,
        model_config=lock.model,
        benchmark=lock.benchmark,
        autoscaling=lock.autoscaling,
    )
