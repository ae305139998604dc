"""`guide calibrate`: fit the constants of the engine to measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guide.cli.options import CalibrationFile


def calibrate(
    measurements: Annotated[
        list[Path],
        typer.Argument(
            help="Results of `vllm bench serve --save-result` (.json, one file a run), or CSV files"
            " in the columns of `guide predict`."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The calibration file to write.")],
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="For .json: the GPU, as `guide gpus` lists it.")
    ] = None,
    tp: Annotated[int, typer.Option("--tp", min=1, help="For .json: tensor parallelism.")] = 1,
    framework_version: Annotated[
        str,
        typer.Option(
            "--framework-version",
            help="For .json: the vLLM version. Absent: the one current at the date of the run.",
        ),
    ] = "",
    precision: Annotated[
        str, typer.Option("--precision", help="For .json. Absent: the checkpoint's own.")
    ] = "",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="For .json: the Hugging Face id, where the file holds a path or alias."
        ),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch",
            help="Start from priors instead of a fit, and use rows under an open licence only: how"
            " the shipped fits are made.",
        ),
    ] = False,
    calibration: CalibrationFile = None,
) -> None:
    """Fit measurements of your own cluster over the shipped fits, for `--calibration FILE` of every
    command (or GUIDE_CALIBRATION).

    The shipped fits are the prior, each as heavy as the rows behind it, so few rows move little
    and only what they speak of. The report compares errors before and after, and on rows that were
    left out of the fit; it names every constant at a bound and every GPU with too few points.
    """
    from guide.cli import show
    from guide.errors import SpecError

    try:
        from guide.calibrate.bench_json import Setup
        from guide.calibrate.command import Request, run
    except ModuleNotFoundError as error:
        raise SpecError(
            f"guide calibrate needs {error.name}: pip install 'guide-advisor[calibrate]'"
        ) from None

    setup = Setup(gpu=gpu, tp=tp, version=framework_version, precision=precision, model=model)
    request = Request(
        sources=tuple(measurements), setup=setup, from_scratch=from_scratch, base=calibration
    )
    written = run(request, out, lambda text: typer.echo(text, err=True))
    for table in written.tables:
        show.print_table(table)
    for line in written.remarks:
        typer.echo(line)
    typer.echo(f"Wrote {out}: {written.summary}.")
