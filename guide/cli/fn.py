"""`guide fn`: GUIDE as a KRM function of kustomize and kpt."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from guide.cli.options import (
    CalibrationFile,
    GpusFile,
    NodePoolsFile,
    PodsFile,
    PricesFile,
    SlicesFile,
)


def fn(
    nodes: Annotated[
        Path | None,
        typer.Option(
            "--nodes",
            help="Output of `kubectl get nodes -o yaml` or json. Absent: the Node items of stdin.",
        ),
    ] = None,
    pods: PodsFile = None,
    slices: SlicesFile = None,
    node_pools: NodePoolsFile = None,
    calibration: CalibrationFile = None,
    gpus: GpusFile = None,
    prices: PricesFile = None,
) -> None:
    """Read a ResourceList from stdin and write it to stdout with the manifests of its plans.

    The plan is the functionConfig or an item of kind InferencePlan. The cluster is --nodes, else
    the Node items, else a guide.lock.yaml item; never the network. Exit code 0: all went well. 1:
    the results say what did not.
    """
    from guide.catalog import load
    from guide.cli import DIFFERS, OK
    from guide.cli.question import LIST_LIMIT_BYTES, Extra, given
    from guide.gitops.krm_function import run
    from guide.spec import read_document, write_document

    extra = Extra(slices=slices, node_pools=node_pools)
    found = given(nodes, pods, extra)
    text = sys.stdin.read()
    value = read_document(text, "stdin", LIST_LIMIT_BYTES)
    answer, well = run(
        value,
        load(calibration=calibration, extra_gpus=gpus, prices=prices),
        found,
    )
    as_json = text.lstrip().startswith("{")
    typer.echo(json.dumps(answer) if as_json else write_document(answer), nl=as_json)
    for result in answer["results"]:  # kustomize shows stderr, not the results
        if result["severity"] == "error":
            typer.echo(f"guide: {result['message']}", err=True)
    raise typer.Exit(OK if well else DIFFERS)
