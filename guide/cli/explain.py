"""`guide explain`: where every number of a recommendation comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from guide.cli.options import (
    CalibrationFile,
    CandidateNumber,
    GpusFile,
    ModelConfig,
    NodesFile,
    Output,
    OutputFormat,
    PlanFile,
    PodsFile,
)


def explain(
    filename: PlanFile,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    candidate: CandidateNumber = 1,
    model_config: ModelConfig = None,
    calibration: CalibrationFile = None,
    gpus: GpusFile = None,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Only the measured kernels behind a step.")
    ] = False,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Take the prediction of a deployment apart: operators and their roofs, where the time of a
    step goes and which fitted constant prices it, memory, queueing, intervals.

    Exit code 0: explained. 3: infeasible, every reason is printed. 2: bad input.
    """
    from guide.cli import show
    from guide.cli.candidate import chosen
    from guide.cli.question import Extra, ask
    from guide.insight.explain import explain as taken_apart
    from guide.report.explain import sentences, tables
    from guide.report.explain_document import to_document
    from guide.report.kernels import kernel_tables
    from guide.report.sentences import choice

    question = ask(filename, nodes, pods, model_config, calibration, Extra(gpus=gpus))
    evaluation = chosen(question, candidate)
    found = taken_apart(evaluation, question.plan, question.catalog)
    if output is not Output.TABLE:
        show.document(to_document(found), output)
        return
    show.say(choice(evaluation), bold=True)
    for line in sentences(found):
        show.say(line)
    shown = [t for g in found.groups for t in kernel_tables(g)] if kernels else tables(found)
    if not shown:
        show.say(
            "No measured kernel prices this deployment; datasheet roofs do, with fitted shares."
        )
    for table in shown:
        show.print_table(table)
