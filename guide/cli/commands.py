"""The commands of `guide`. To add one: a file here with a function of its name, and its line."""

from __future__ import annotations

from importlib import import_module

import typer

COMMANDS = (
    "plan",
    "batch",
    "fit",
    "render",
    "check",
    "diff",
    "fn",
    "explain",
    "simulate",
    "workload",
    "sweep",
    "inventory",
    "gpus",
    "models",
    "predict",
    "calibrate",
    "serve",
)


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
    """All commands; where the first word names one, that one alone: to load and build all takes
    longer than to read a plan.
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
        made.command(name)(getattr(import_module(f"guide.cli.{name}"), name))
    return made
