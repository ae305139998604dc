"""`guide fn`: GUIDE as a KRM function of kustomize and kpt."""

from __future__ import annotations

import json
import sys

import typer

from guide.cli.options import CalibrationFile, GpusFile, NodesFile, PodsFile, PricesFile


def fn(
    nodes: NodesFile = None,
    pods: PodsFile = None,
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
    from guide.cli.question import LIST_LIMIT_BYTES, read_items
    from guide.kube.krm import run
    from guide.spec import read_document, write_document

    text = sys.stdin.read()
    value = read_document(text, "stdin", LIST_LIMIT_BYTES)
    found, well = run(
        value,
        load(calibration=calibration, extra_gpus=gpus, prices=prices),
        [] if nodes is None else read_items(nodes, "Node"),
        [] if pods is None else read_items(pods, "Pod"),
    )
    as_json = text.lstrip().startswith("{")
    typer.echo(json.dumps(found) if as_json else write_document(found), nl=as_json)
    for result in found["results"]:  # kustomize shows stderr, not the results
        if result["severity"] == "error":
            typer.echo(f"guide: {result['message']}", err=True)
    raise typer.Exit(OK if well else DIFFERS)
