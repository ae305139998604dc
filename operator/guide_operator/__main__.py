"""`python -m guide_operator`: reads GUIDE_* from the environment and runs until stopped.

Imports stand inside, since worker processes import this module as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guide_operator.settings import Settings


def main() -> int:
    """Run the operator; 2 for wrong settings or data, after one sentence on stderr."""
    from guide.errors import GuideError
    from guide_operator.settings import from_environment

    try:
        settings = from_environment(os.environ)
        asyncio.run(_operate(settings))
    except (GuideError, OSError) as error:  # OSError: a port is taken
        print(f"guide-operator: {error}", file=sys.stderr)
        return 2
    return 0


async def _operate(settings: Settings) -> None:
    import kopf
    from prometheus_client import start_http_server

    from guide.catalog import load
    from guide.kube.client import connect
    from guide.spec.node_pools import read_node_pools
    from guide_operator import handlers
    from guide_operator.controller import Controller
    from guide_operator.engine import Engine
    from guide_operator.metrics import Metrics
    from guide_operator.observer import Observer

    kopf.configure(log_format=kopf.LogFormat.FULL)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # else a line a node heartbeat
    metrics = Metrics()
    gpus, prices, pools = (
        Path(name) if name else None
        for name in (settings.gpus_file, settings.prices_file, settings.node_pools_file)
    )
    catalog = load(extra_gpus=gpus, prices=prices)
    engine = Engine(settings.workers, metrics.planning_duration.observe, gpus, prices)
    client = connect()
    controller = Controller(settings, client, catalog, engine, metrics)
    if pools is not None:
        asked = read_node_pools(pools.read_text(encoding="utf-8"), str(pools))
        controller.cluster.could_grow_by(asked)
    address = settings.bind_address
    server, _ = start_http_server(settings.metrics_port, address, metrics.registry)
    engine.start()
    observing = None
    if settings.prometheus_url:
        observing = asyncio.create_task(Observer(settings, client, controller, engine).run())
    try:
        await kopf.operator(
            registry=handlers.register(controller),
            settings=handlers.settings(),
            clusterwide=True,
            standalone=not settings.peering,
            peering_name=settings.peering or None,
            liveness_endpoint=f"http://{address}:{settings.health_port}/healthz",
        )
    finally:
        if observing is not None:
            observing.cancel()
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
