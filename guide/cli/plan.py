"""`guide plan`: recommend a deployment."""

from __future__ import annotations

import typer

from guide.cli.options import (
    CalibrationFile,
    ModelConfig,
    NodesFile,
    Output,
    OutputFormat,
    PlanFile,
    PodsFile,
)


def plan(
    filename: PlanFile,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    model_config: ModelConfig = None,
    calibration: CalibrationFile = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Recommend GPU type, count, parallelism, framework and settings for an InferencePlan.

    Exit code 0: feasible. 3: infeasible, every reason is printed. 2: bad input.
    """
    from guide.cli import INFEASIBLE, OK, show
    from guide.cli.question import answer, ask

    found = answer(ask(filename, nodes, pods, model_config, calibration))
    show.recommendation(found, output)
    raise typer.Exit(OK if found.feasible else INFEASIBLE)
