"""`guide check`: does a rendered folder still meet its plan?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guide.cli.options import CalibrationFile, Folder, NodesFile, PodsFile

if TYPE_CHECKING:
    from guide.domain import Catalog, Inventory
    from guide.kube import standing
    from guide.report.findings import Finding
    from guide.spec import InferencePlan


class CheckOutput(StrEnum):
    """Forms of the findings."""

    TEXT = "text"
    GITHUB = "github"
    SARIF = "sarif"
    JUNIT = "junit"


def check(
    folder: Folder,
    filename: Annotated[
        Path | None,
        typer.Option("-f", "--filename", help="The plan as it should be. Absent: DIR/plan.yaml."),
    ] = None,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    calibration: CalibrationFile = None,
    output: Annotated[
        CheckOutput,
        typer.Option("-o", "--output", help="Form: text, or what a CI system reads."),
    ] = CheckOutput.TEXT,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on warnings too: a better plan exists.")
    ] = False,
) -> None:
    """Tell whether the manifests in DIR still meet their plan, and if not, what to do.

    Refused are files edited by hand, a plan that moved, a review made with other facts or prices,
    and a deployment that breaks a limit of the plan. Without --nodes the cluster is taken from
    guide.lock.yaml; nothing is read from the network. Exit code 0: it holds. 1: it does not. 2: bad
    input.
    """
    from guide.catalog import load
    from guide.cli import DIFFERS, OK
    from guide.cli.folder import read_folder
    from guide.cli.question import read_text
    from guide.report import findings as report
    from guide.spec import load_plan

    lying = read_folder(folder)
    asked = lying.plan if filename is None else load_plan(read_text(filename))
    catalog = load(calibration=calibration)
    found = findings(lying, asked, catalog, nodes, pods)
    write = {
        CheckOutput.TEXT: report.as_text,
        CheckOutput.GITHUB: report.as_github,
        CheckOutput.SARIF: report.as_sarif,
        CheckOutput.JUNIT: report.as_junit,
    }[output]
    typer.echo(write(found, str(folder)), nl=False)
    raise typer.Exit(DIFFERS if report.failed(found, strict=strict) else OK)


def findings(
    lying: standing.Folder,
    asked: InferencePlan,
    catalog: Catalog,
    nodes: Path | None,
    pods: Path | None,
) -> list[Finding]:
    """Everything that a check finds, worst first."""
    from guide.cli.question import about
    from guide.kube import standing
    from guide.report.findings import Level
    from guide.search.assess import Running, assess
    from guide.search.recommend import recommend
    from guide.spec import resolve_plan

    lock = lying.lock
    found = standing.moved_plan(lying, asked)
    wanted = None
    if standing.same_engine(lock, catalog):
        wanted = _rendered(lying, catalog) if not found else None
    found += standing.edited_files(lying, wanted)
    found += standing.changed_engine(lying, catalog)
    if nodes is not None or pods is not None:
        question = about(asked, lock.model, nodes, pods, catalog)
        inventory: Inventory = question.inventory
        found += standing.changed_inventory(lying, inventory)
    else:
        inventory = standing.unpriced(lock.inventory.to_domain(catalog))
    plan = resolve_plan(asked, catalog, lock.model)
    layout = [
        Running(shape=g.identity, replicas=g.replicas, load_share=g.load_share)
        for g in lock.deployment
    ]
    assessed = assess(plan, inventory, catalog, layout)
    found += standing.standing(lying, asked, assessed, recommend(plan, inventory, catalog))
    order = list(Level)
    return sorted(found, key=lambda f: (order.index(f.level), f.file, f.rule))


def _rendered(lying: standing.Folder, catalog: Catalog) -> dict[str, str]:
    """The folder rendered again from what it was made from."""
    from guide.kube.folder import folder_files
    from guide.search.recommend import recommend
    from guide.spec import resolve_plan

    lock = lying.lock
    inventory = lock.inventory.to_domain(catalog)
    plan = resolve_plan(lying.plan, catalog, lock.model)
    again = recommend(plan, inventory, catalog, seed=lock.engine.seed)
    return folder_files(
        lying.plan, again, catalog, inventory, form=lock.format, model_config=lock.model
    )
