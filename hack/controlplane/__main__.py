"""`python -m hack.controlplane build | up | env | down`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hack import nodes
from hack.controlplane import plane as planes
from hack.controlplane.build import ControlPlaneError, build
from hack.controlplane.kubectl import Kubectl

RUN_DIR = Path(__file__).resolve().parents[2] / ".run" / "controlplane"
UNAVAILABLE = 3

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
RunDir = Annotated[Path, typer.Option(help="state of this control plane: one folder each")]


@app.command("build")
def build_programs() -> None:
    """Compile the programs unless cached, and print their folder."""
    print(build())


@app.command()
def up(
    run_dir: RunDir = RUN_DIR,
    node_count: Annotated[int, typer.Option("--nodes", help="fake GPU nodes to create")] = 0,
    controllers: Annotated[bool, typer.Option(help="controller manager and scheduler")] = True,
    kwok: Annotated[bool, typer.Option(help="kwok, which keeps fake nodes alive")] = True,
    address: Annotated[
        str | None, typer.Option(help="listen everywhere and tell a kubelet and pods this address")
    ] = None,
) -> None:
    """Start a control plane on free ports of 127.0.0.1 and print its environment."""
    programs = build()
    began = time.monotonic()
    plane = planes.up(
        run_dir.resolve(), programs, controllers=controllers, kwok=kwok, address=address
    )
    print(f"control plane up after {time.monotonic() - began:.1f} s", file=sys.stderr)
    if node_count:
        began = time.monotonic()
        nodes.create(Kubectl(programs / "kubectl", plane.kubeconfig), nodes.mixed(node_count))
        print(f"{node_count} nodes Ready after {time.monotonic() - began:.1f} s", file=sys.stderr)
    _print_environment(plane.kubeconfig, programs)


@app.command()
def env(run_dir: RunDir = RUN_DIR) -> None:
    """Print the shell exports of a running control plane, for `eval "$(... env)"`."""
    kubeconfig = run_dir.resolve() / "kubeconfig"
    if not kubeconfig.exists():
        raise ControlPlaneError(f"No control plane runs in {run_dir}; start one with `up`.")
    _print_environment(kubeconfig, build())


@app.command()
def down(run_dir: RunDir = RUN_DIR) -> None:
    """Stop exactly the processes that `up` started in this folder and delete their data."""
    stopped = planes.down(run_dir.resolve())
    print("stopped: " + (", ".join(stopped) or "nothing ran"), file=sys.stderr)


def _print_environment(kubeconfig: Path, programs: Path) -> None:
    print(f"export KUBECONFIG={kubeconfig}")
    print(f'export PATH={programs}:"$PATH"')


if __name__ == "__main__":
    try:
        app()
    except ControlPlaneError as problem:
        print(problem, file=sys.stderr)
        sys.exit(UNAVAILABLE)
