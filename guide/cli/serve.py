"""`guide serve`: the web page and its JSON API."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from guide.cli.options import CalibrationFile, GpusFile, NodePoolsFile, PricesFile


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is all, as in a container.")
    ] = "127.0.0.1",
    nodes: Annotated[
        Path | None,
        typer.Option(
            "--nodes",
            help="Output of `kubectl get nodes -o yaml`, offered on the page as this cluster.",
        ),
    ] = None,
    cluster: Annotated[
        bool | None,
        typer.Option(
            "--cluster/--no-cluster",
            help="Offer the nodes of the kube context, or of the cluster that this runs in."
            " Default: where there is one and no --nodes.",
        ),
    ] = None,
    node_pools: NodePoolsFile = None,
    gpus: GpusFile = None,
    prices: PricesFile = None,
    calibration: CalibrationFile = None,
) -> None:
    """Serve the web page: a form, the answer with charts, and the JSON API (POST /api/recommend).

    It listens on this machine alone unless --host says otherwise, and has no login: put it behind
    a proxy that has one before others can reach it.
    """
    import uvicorn

    from guide.errors import SpecError

    if cluster and find_spec("kubernetes") is None:
        raise ModuleNotFoundError(name="kubernetes")
    files = {
        "GUIDE_WEB_NODES": nodes,
        "GUIDE_WEB_NODE_POOLS": node_pools,
        "GUIDE_GPUS": gpus,
        "GUIDE_PRICES": prices,
        "GUIDE_CALIBRATION": calibration,
    }
    for variable, file in files.items():
        if file is not None and not file.is_file():
            raise SpecError(f"cannot read {file}: there is no such file")
        if file is not None:
            os.environ[variable] = str(file.resolve())
    if _has_cluster() if cluster is None and nodes is None else cluster:
        os.environ["GUIDE_WEB_CLUSTER"] = "true"
    typer.echo(f"GUIDE listens on http://{host}:{port}/ (stop it by Ctrl-C)")
    # by name, since the faces do not import each other
    uvicorn.run("guide.web.app:create", factory=True, host=host, port=port, log_level="warning")


def _has_cluster() -> bool:
    """Whether a kubeconfig or a service account is at hand; no call is made."""
    from guide.errors import ClusterError

    try:
        from guide.cluster.client import connect

        connect()
    except (ClusterError, ModuleNotFoundError):
        return False
    return True
