"""`guide predict`: one prediction a row of a CSV file of measurements."""

from __future__ import annotations

from pathlib import Path

import typer

from guide.cli.options import CalibrationFile


def predict(
    csv: Path = typer.Option(..., "--csv", help="Measurements: one run a row."),
    out: Path = typer.Option(..., "--out", help="Where to write the predictions."),
    calibration: CalibrationFile = None,
) -> None:
    """Predict every row of a CSV file: TTFT, TPOT, end-to-end time and throughput, with 90 %
    intervals.

    A row that cannot be answered gets its reason in the column `refused` and no number.
    """
    from rich.console import Console
    from rich.progress import Progress

    from guide.catalog import load
    from guide.measured.answers import predict_csv

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("predicting", total=None)
        answered, refused = predict_csv(
            csv,
            out,
            load(calibration=calibration),
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{answered} rows predicted, {refused} refused: {out}")
