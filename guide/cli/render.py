"""`guide render`: write the manifests of the recommendation as a kustomize base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guide.cli.options import (
    CalibrationFile,
    ModelConfig,
    NodesFile,
    Output,
    PlanFile,
    PodsFile,
)


def render(
    filename: PlanFile,
    out: Annotated[Path, typer.Option("--out", help="Folder for the manifests; made if absent.")],
    nodes: NodesFile = None,
    pods: PodsFile = None,
    model_config: ModelConfig = None,
    calibration: CalibrationFile = None,
) -> None:
    """Write the recommended deployment as a kustomize base with REVIEW.md, byte-identical for the
    same input.

    Exit code 0: written. 3: infeasible, nothing is written and every reason is printed. 2: bad
    input.
    """
    from guide.cli import INFEASIBLE, show
    from guide.cli.question import answer, ask
    from guide.kube.manifests import render_files
    from guide.report.sentences import outcome

    question = ask(filename, nodes, pods, model_config, calibration)
    found = answer(question)
    if not found.feasible:
        show.recommendation(found, Output.TABLE)
        raise typer.Exit(INFEASIBLE)
    files = render_files(question.written, found, question.catalog)
    write_folder(out, files)
    typer.echo(outcome(found))
    typer.echo(f"Wrote {len(files)} files to {out}; begin with {out / 'REVIEW.md'}.")


def write_folder(folder: Path, files: dict[str, str]) -> None:
    """Write `files` into `folder`, leaving what already holds the same bytes; `SpecError` if it
    cannot.
    """
    from guide.errors import SpecError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in sorted(files.items()):
            path = folder / name
            if not path.is_file() or path.read_bytes() != text.encode():
                path.write_bytes(text.encode())
    except OSError as error:
        raise SpecError(f"cannot write {error.filename or folder}: {error.strerror}") from None
