"""`guide calibrate --prometheus` and `--reset`: by hand what the operator does by itself."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from guide.cli.question import answer
from guide.errors import SpecError
from guide.question import Question

WINDOWS = 5  # of the past, one after the other


def learn(question: Question, url: str, window_s: int, out: Path) -> Iterator[str]:
    """Compare the pods of a plan with its best deployment and write a calibration file.

    Yields lines to print. Raises `SpecError` where nothing can be learnt.
    """
    from guide.frameworks import FRAMEWORKS
    from guide.live import by_hand, started
    from guide.live.learn import overlay
    from guide.live.measured import selector
    from guide.live.prometheus import Prometheus
    from guide.manifests.names import object_name
    from guide.measured import store

    best = answer(question).best
    if best is None:
        raise SpecError("the plan has no feasible deployment to compare with its pods")
    meta = question.written.metadata
    series = selector(meta.namespace, object_name(meta.name))
    server, end = Prometheus(url), time.time()
    windows = [
        server.observe(series, f"{window_s}s", end - index * window_s) for index in range(WINDOWS)
    ]
    layout = by_hand.running_layout(best)
    asked = (question.plan, question.inventory, question.catalog)
    ledger, pairs = by_hand.learn(
        *asked, layout=layout, windows=by_hand.fitting(windows), now=_now()
    )
    for key, one in ledger.corrections.items():
        yield (
            f"{key}: step times x {math.exp(one.step):.3f}, what surrounds them x"
            f" {math.exp(one.serving):.3f}, from {one.requests} requests."
        )
    if not ledger.corrections:
        yield "Pods do what was predicted: nothing to correct."
    found, expected = pairs[0]
    for name, seen, told in (
        ("TTFT", found.ttft_mean_s, expected.ttft.mean_s),
        ("TPOT", found.tpot_mean_s, expected.tpot.mean_s),
        ("Total time", found.e2e_mean_s, expected.e2e.mean_s),
    ):
        if seen:
            yield f"{name}: observed mean {seen:.4g} s, predicted {told:.4g} s once corrected."
    for item in best.groups if len(best.groups) == 1 else ():  # pods of a mix are not told apart
        asked_of = started.queries(FRAMEWORKS[item.group.framework].metrics, series)
        values = {name: server.values(query, end) for name, query in asked_of.items()}
        seen_at_start = {name: next(iter(v.values()))[0] for name, v in values.items() if v}
        yield from started.beside(seen_at_start, started.predicted(item, question.catalog))
    store.write(overlay(question.catalog, ledger).fits, out)
    yield f"Wrote {out}."


def reset(namespace: str) -> str:
    """Forget what the operator has learnt; a sentence that says so."""
    from guide.cluster.client import connect
    from guide.live import learn
    from guide.live.ledger import NAME, config_map, from_config_map

    client = connect()
    try:
        ledger = from_config_map(client.config_map(namespace, NAME))
    except SpecError:  # damaged: begin anew
        ledger = learn.Corrections()
    after = learn.reset(ledger, _now())
    client.apply(config_map(after, namespace))
    return f"ConfigMap {namespace}/{NAME}, version {after.version}: nothing is corrected any more."


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
