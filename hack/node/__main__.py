"""`python -m hack.node build | up | run | down`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hack.controlplane.build import ControlPlaneError, build
from hack.node import node as nodes
from hack.node.images import build_images, operator_image
from hack.node.programs import build_programs

RUN_DIR = Path(__file__).resolve().parents[2] / ".run" / "node"
UNAVAILABLE = 3

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
RunDir = Annotated[Path, typer.Option(help="state of this node: one folder each")]


@app.command("build")
def build_everything() -> None:
    """Compile the programs and build the images unless cached; print the images' names."""
    _check()
    build()
    print("\n".join(build_images(build_programs())))


@app.command()
def up(run_dir: RunDir = RUN_DIR) -> None:
    """Start a control plane with one real node, and print the environment that reaches it."""
    _check()
    plane, programs = build(), build_programs()
    images = build_images(programs)
    began = time.monotonic()
    node = nodes.up(run_dir.resolve(), programs, plane, images)
    print(f"node Ready after {time.monotonic() - began:.1f} s", file=sys.stderr)
    print(f"export KUBECONFIG={node.kubeconfig}")
    print(f'export PATH={node.bin}:"$PATH"')
    print(f"export GUIDE_OPERATOR_IMAGE={operator_image()}")


@app.command(context_settings={"ignore_unknown_options": True})
def run(
    command: Annotated[list[str], typer.Argument(help="what to run in the node's namespaces")],
    run_dir: RunDir = RUN_DIR,
) -> None:
    """Run a command where pods, Services and the API server can be reached."""
    words = nodes.Node(run_dir.resolve()).command(*command)
    raise typer.Exit(subprocess.run(words, check=False).returncode)


@app.command()
def down(run_dir: RunDir = RUN_DIR) -> None:
    """Stop the node and its control plane and remove every trace of them but the logs."""
    stopped = nodes.down(run_dir.resolve())
    print("stopped: " + (", ".join(stopped) or "nothing ran"), file=sys.stderr)


def _check() -> None:
    if problem := nodes.forbidden() or nodes.lacking():
        raise ControlPlaneError(problem)


if __name__ == "__main__":
    try:
        app()
    except ControlPlaneError as problem:
        print(problem, file=sys.stderr)
        sys.exit(UNAVAILABLE)
