"""The deployment that `--candidate` names, among the best and its alternatives."""

from __future__ import annotations

import typer

from guide.cli.options import Output
from guide.cli.question import answer
from guide.domain import Evaluation
from guide.errors import SpecError
from guide.question import Question


def chosen(question: Question, number: int) -> Evaluation:
    """Deployment `number` of the answer, 1 being the best.

    An infeasible plan ends the command with exit code 3 and every reason; `SpecError` where fewer
    deployments keep every limit.
    """
    from guide.cli import INFEASIBLE, show

    found = answer(question)
    if found.best is None:
        show.recommendation(found, Output.TABLE)
        raise typer.Exit(INFEASIBLE)
    ranked = (found.best, *found.alternatives)
    if number > len(ranked):
        only = "one deployment is" if len(ranked) == 1 else f"{len(ranked)} deployments are"
        raise SpecError(f"--candidate {number}: only {only} recommended; see `guide plan`")
    return ranked[number - 1]
