"""`python -m guide_operator`: reads GUIDE_* from the environment and runs until stopped.

Imports stand inside, since worker processes import this module as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guide.cluster.client import ClusterClient
    from guide_operator.liveness import Liveness
    from guide_operator.metrics import Metrics
    from guide_operator.readiness import Readiness
    from guide_operator.settings import Settings

_LOG_FORMAT = "[%(asctime)s] %(name)-20.20s [%(levelname)-8.8s] %(message)s"


def main() -> int:
    """Run the operator; 2 for wrong settings or data, after one sentence on stderr."""
    from guide.errors import GuideError
    from guide_operator.settings import from_environment

    try:
        settings = from_environment(os.environ)
        asyncio.run(_lead(settings))
    except asyncio.CancelledError:  # told to stop
        return 0
    except (GuideError, OSError) as error:  # OSError: a port is taken
        print(f"guide-operator: {error}", file=sys.stderr)
        return 2
    return 0


async def _lead(settings: Settings) -> None:
    """Operate; with a Lease only once this replica leads. It is healthy while it waits."""
    from prometheus_client import start_http_server

    from guide.cluster.client import connect
    from guide_operator.leadership import Leadership
    from guide_operator.liveness import Liveness
    from guide_operator.metrics import Metrics
    from guide_operator.readiness import Readiness

    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    metrics = Metrics()
    start_http_server(settings.metrics_port, settings.bind_address, metrics.registry)
    client, loop, task = connect(), asyncio.get_running_loop(), asyncio.current_task()
    readiness, liveness = Readiness(client), Liveness(settings.longest_s())
    await _serve_health(settings, readiness, liveness, metrics)
    if task is None:
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    if not settings.lease:
        return await _operate(settings, client, metrics, readiness, liveness)
    leadership = Leadership(client, settings.namespace, settings.lease, _identity(settings))
    readiness.lease_problem = leadership.problem
    readiness.wait_for_turn()
    await leadership.gain()
    try:
        await _operate(settings, client, metrics, readiness, liveness)
    finally:
        await loop.shutdown_default_executor()  # what is being written comes to its end
        leadership.release()


def _identity(settings: Settings) -> str:
    """The name of this replica. Never that of its user: in a pod, no user has a name."""
    return settings.identity or socket.gethostname()


async def _serve_health(
    settings: Settings, readiness: Readiness, liveness: Liveness, metrics: Metrics
) -> None:
    from aiohttp import web

    def answer(problem: str) -> web.Response:
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def healthy(_: web.Request) -> web.Response:
        return answer(liveness.problem())

    async def ready(_: web.Request) -> web.Response:
        problem = await asyncio.to_thread(readiness.problem)
        metrics.ready.set(not problem)
        return answer(problem)

    app = web.Application()
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.bind_address, settings.health_port).start()


async def _operate(
    settings: Settings,
    client: ClusterClient,
    metrics: Metrics,
    readiness: Readiness,
    liveness: Liveness,
) -> None:
    from guide.catalog import load
    from guide.spec.node_pools import read_node_pools
    from guide_operator.controller import Controller
    from guide_operator.engine import Engine
    from guide_operator.handlers import Watches
    from guide_operator.observer import Observer
    from guide_operator.pulse import Beat

    gpus, prices, pools = (
        Path(name) if name else None
        for name in (settings.gpus_file, settings.prices_file, settings.node_pools_file)
    )
    catalog = load(extra_gpus=gpus, prices=prices)
    observe, longest_s = metrics.planning_duration.observe, settings.longest_question_s
    engine = Engine(settings.workers, observe, gpus, prices, longest_s=longest_s)
    controller = Controller(settings, client, catalog, engine, metrics)
    if pools is not None:
        asked = read_node_pools(pools.read_text(encoding="utf-8"), str(pools))
        controller.cluster.could_grow_by(asked)
    watches, beat = Watches(controller, client, settings.answers), Beat()
    liveness.expect("the queue of plans", controller.attempts.age_s)
    liveness.expect("the worker processes", engine.questions.age_s)
    metrics.queue_age.set_function(controller.attempts.age_s)
    metrics.worker_age.set_function(engine.questions.age_s)
    metrics.event_loop_age.set_function(beat.age_s)
    for one in watches:
        liveness.expect(f"the watch of {one.kind.plural}", one.tried.age_s)
        metrics.watch_age.labels(one.kind.plural).set_function(one.heard.age_s)
    readiness.watch_problem = watches.problem
    engine.start()
    watches.start()
    observing = None
    if settings.prometheus_url:
        observing = asyncio.create_task(Observer(settings, client, controller, engine).run())
    try:
        while True:
            beat.now()
            await asyncio.sleep(1)
    finally:
        if observing is not None:
            observing.cancel()
        await controller.close()


if __name__ == "__main__":
    sys.exit(main())
