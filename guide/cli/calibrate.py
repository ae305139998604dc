"""`guide calibrate`: fit the constants of the engine to measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guide.cli.options import CalibrationFile, ModelConfig, NodesFile, PodsFile


def calibrate(
    measurements: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Results of a server's own benchmark (.json, or .jsonl with a line a run), or CSV"
            " files in the columns of `guide predict`."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The calibration file to write.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="For results: the GPU, as `guide gpus` lists it.")
    ] = None,
    tp: Annotated[
        int,
        typer.Option("--tp", min=1, help="For results: tensor parallelism, where they do not say."),
    ] = 1,
    framework_version: Annotated[
        str,
        typer.Option(
            "--framework-version",
            help="For results that do not say. Absent: the one current at the date of the run.",
        ),
    ] = "",
    precision: Annotated[
        str, typer.Option("--precision", help="For results. Absent: the checkpoint's own.")
    ] = "",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="For results: the Hugging Face id, where these hold a path or alias."
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
    prometheus: Annotated[
        str | None,
        typer.Option("--prometheus", help="URL: learn from the pods of the plan -f instead."),
    ] = None,
    filename: Annotated[
        Path | None, typer.Option("-f", "--filename", help="With --prometheus: the InferencePlan.")
    ] = None,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    model_config: ModelConfig = None,
    window_s: Annotated[
        int, typer.Option("--window", min=5, help="With --prometheus: seconds of one window.")
    ] = 600,
    reset: Annotated[
        bool,
        typer.Option("--reset", help="Forget what the operator has learnt in the cluster."),
    ] = False,
    namespace: Annotated[
        str, typer.Option("--operator-namespace", help="With --reset: where the operator runs.")
    ] = "guide-system",
) -> None:
    """Fit measurements of your own cluster over the shipped fits, for `--calibration FILE` of every
    command (or GUIDE_CALIBRATION).

    The shipped fits are the prior, each as heavy as the rows behind it, so few rows move little
    and only what they speak of. The report compares errors before and after, and on rows that were
    left out of the fit; it names every constant at a bound and every GPU with too few points.

    With --prometheus, the pods of a plan are the measurement: what the operator does by itself.
    """
    from guide.cli import calibrate_pods, show
    from guide.errors import SpecError

    if reset:
        typer.echo(calibrate_pods.reset(namespace))
        return
    if out is None:
        raise SpecError("name the file to write with --out FILE")
    if prometheus is not None:
        if filename is None or measurements:
            raise SpecError("--prometheus needs a plan (-f FILE) and no measurement files")
        from guide.cli.question import ask

        question = ask(filename, nodes, pods, model_config, calibration)
        for line in calibrate_pods.learn(question, prometheus, window_s, out):
            typer.echo(line)
        return
    if not measurements:
        raise SpecError(
            "give results of a benchmark (.json, .jsonl), CSV files, or --prometheus URL"
        )
    from guide.measured.bench_file import Setup
    from guide.measured.command import Request, run

    setup = Setup(gpu=gpu, tp=tp, version=framework_version, precision=precision, model=model)
    request = Request(
        sources=tuple(measurements),
        setup=setup,
        from_scratch=from_scratch,
        base=calibration,
    )
    written = run(request, out, lambda text: typer.echo(text, err=True))
    for table in written.tables:
        show.print_table(table)
    for line in written.remarks:
        typer.echo(line)
    typer.echo(f"Wrote {out}: {written.summary}.")
