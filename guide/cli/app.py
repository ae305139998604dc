"""The commands of `guide`. To add one: a file here with a function, and its line in `COMMANDS`."""

from __future__ import annotations

import typer

from guide.cli import (
    batch,
    calibrate,
    check,
    diff,
    explain,
    fit,
    fn,
    gpus,
    inventory,
    models,
    plan,
    predict,
    render,
    serve,
    simulate,
    sweep,
    workload,
)

COMMANDS = {
    "plan": plan.plan,
    "batch": batch.batch,
    "fit": fit.fit,
    "render": render.render,
    "check": check.check,
    "diff": diff.diff,
    "fn": fn.fn,
    "explain": explain.explain,
    "simulate": simulate.simulate,
    "workload": workload.workload,
    "sweep": sweep.sweep,
    "inventory": inventory.inventory,
    "gpus": gpus.gpus,
    "models": models.models,
    "predict": predict.predict,
    "calibrate": calibrate.calibrate,
    "serve": serve.serve,
}


def _print_version(asked: bool) -> None:
    if asked:
        import guide

        typer.echo(f"guide {guide.__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False,
        "--version",
        help="Print the version and exit.",
        is_eager=True,
        callback=_print_version,
    ),
) -> None:
    del version


def face(called: str = "") -> typer.Typer:
    """All commands; where the first word names one, that one alone: to build all takes longer than
    to read a plan.
    """
    made = typer.Typer(
        name="guide",
        help="Advise how to deploy LLM inference on Kubernetes: which GPU, how many, and how.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    for name in [called] if called in COMMANDS else COMMANDS:
        made.command(name)(COMMANDS[name])
    return made


app = face()
