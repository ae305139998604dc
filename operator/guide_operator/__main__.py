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
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from guide.cluster.client import ClusterClient
    from guide_operator.controller import Controller
    from guide_operator.liveness import Liveness
    from guide_operator.metrics import Metrics
    from guide_operator.readiness import Readiness
    from guide_operator.settings import Settings
    from guide_operator.sweep import Sweep

_PAUSE_S = 2.0
_WATCHES = "kopf._core.reactor.orchestration", "kopf._core.reactor.running"  # loggers


def main() -> int:
    """Run the operator; 2 for wrong settings or data, after one sentence on stderr."""
    from guide.errors import GuideError
    from guide_operator.settings import from_environment

    try:
        settings = from_environment(os.environ)
        asyncio.run(_lead(settings))
    except asyncio.CancelledError:  # stopped while another replica leads
        return 0
    except (GuideError, OSError) as error:  # OSError: a port is taken
        print(f"guide-operator: {error}", file=sys.stderr)
        return 2
    return 0


async def _lead(settings: Settings) -> None:
    """Operate; with a Lease only once this replica leads. It is healthy while it waits."""
    import kopf

    from guide.cluster.client import connect
    from guide_operator.leadership import Leadership
    from guide_operator.liveness import Liveness
    from guide_operator.metrics import Metrics
    from guide_operator.metrics_server import Readers, serve
    from guide_operator.readiness import Readiness

    kopf.configure(log_format=kopf.LogFormat.FULL)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # else a line a node heartbeat
    for name in _WATCHES:
        logging.getLogger(name).addFilter(_told_in_a_line)
    metrics = Metrics()
    client, loop, task = connect(), asyncio.get_running_loop(), asyncio.current_task()
    readers = Readers(client) if settings.metrics_by_token else None
    serve(settings.metrics_port, settings.bind_address, metrics.registry, readers)
    readiness, liveness = Readiness(client), Liveness(settings.longest_s())
    await _serve_health(settings, readiness, liveness, metrics)
    if not settings.lease or task is None:
        return await _operate(settings, client, metrics, readiness, liveness)
    leadership = Leadership(client, settings.namespace, settings.lease, _identity(settings))
    readiness.lease_problem = leadership.problem
    readiness.wait_for_turn()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)  # kopf takes it over
    await leadership.gain()
    try:
        await _operate(settings, client, metrics, readiness, liveness)
    finally:
        await loop.shutdown_default_executor()  # what is being written comes to its end
        leadership.release()


def _told_in_a_line(record: logging.LogRecord) -> bool:
    """That a watch failed, without a trace: `_watch` says why and begins anew."""
    record.exc_info = record.exc_text = None
    return True


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
    from guide_operator.hands import Hands
    from guide_operator.observer import Observer
    from guide_operator.pulse import Beat
    from guide_operator.sweep import Sweep

    gpus, prices, pools = (
        Path(name) if name else None
        for name in (settings.gpus_file, settings.prices_file, settings.node_pools_file)
    )
    catalog = load(extra_gpus=gpus, prices=prices)
    observe, longest_s = metrics.planning_duration.observe, settings.longest_question_s
    engine = Engine(
        *(settings.workers, observe, gpus, prices),
        longest_s=longest_s,
        by_namespace=settings.learn_by_namespace,
    )
    controller = Controller(settings, client, catalog, engine, metrics)
    if pools is not None:
        asked = read_node_pools(pools.read_text(encoding="utf-8"), str(pools))
        controller.cluster.could_grow_by(asked)
    again, beat = asyncio.Event(), Beat()
    sweep = Sweep(client, settings.sweep_s, again.set)
    readiness.watch_problem = sweep.problem
    for what, gauge, age_s in (
        ("the queue of plans", metrics.queue_age, controller.attempts.age_s),
        ("the worker processes", metrics.worker_age, engine.questions.age_s),
        ("the check of the watches", metrics.sweep_age, sweep.looks.age_s),
    ):
        liveness.expect(what, age_s)
        gauge.set_function(age_s)
    metrics.event_loop_age.set_function(beat.age_s)
    engine.start()
    hands = Hands(client, controller)
    tasks = [asyncio.create_task(one) for one in (sweep.run(), beat.go_on(), hands.run())]
    if settings.prometheus_url:
        tasks.append(asyncio.create_task(Observer(settings, client, controller, engine).run()))
    try:
        await _watch(settings, client, controller, sweep, again, metrics)
    finally:
        for task in tasks:
            task.cancel()
        await controller.close()


async def _watch(
    settings: Settings,
    client: ClusterClient,
    controller: Controller,
    sweep: Sweep,
    again: asyncio.Event,
    metrics: Metrics,
) -> None:
    """kopf's watches until the operator is told to stop; anew where a kind has come or gone."""
    import kopf

    from guide_operator import handlers

    while True:
        again.clear()
        registry = handlers.register(controller, client, settings.answers, sweep)
        for kind in sweep.kinds:
            metrics.watch_age.labels(kind.plural).set_function(kind.heard.age_s)
        try:
            await kopf.operator(
                registry=registry,
                settings=handlers.settings(),
                identity=cast("Any", _identity(settings)),  # else kopf asks for the user's name
                stop_flag=again,
                clusterwide=True,
                standalone=True,
            )
        except Exception as error:  # such as a definition that is removed under its watch
            logging.getLogger("guide").warning("the watches ended (%s): watching anew", error)
            await asyncio.sleep(_PAUSE_S)
            continue
        if not again.is_set():
            return


if __name__ == "__main__":
    sys.exit(main())
