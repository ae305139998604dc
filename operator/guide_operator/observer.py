"""Looks at Prometheus once a minute: compares every plan with its pods, and learns.

It writes nothing about plans: a finding goes to the plan's own task. It alone writes the ConfigMap
of corrections, after reading it, so that a reset by hand counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from guide.cluster.client import ClusterClient
from guide.errors import ClusterError, SpecError
from guide.live.learn import Corrections, Sample, learnt, of_namespace, sample, scoped
from guide.live.ledger import NAME, config_map, from_config_map
from guide.live.measured import Observation, lacking, unfit, workload
from guide.live.prometheus import Prometheus, PrometheusError
from guide.live.verdict import Judgement, Verdict, other_replicas, too_little
from guide.manifests.names import object_name
from guide.search.assess import Running
from guide_operator import findings
from guide_operator.controller import Controller
from guide_operator.engine import Engine
from guide_operator.findings import LiveFinding
from guide_operator.settings import Settings
from guide_operator.work import Work

log = logging.getLogger("guide")

Key = tuple[str, str]
Seen = Mapping[Key, Observation] | PrometheusError


@dataclass
class _Watched:
    """A plan's layout, since when it runs, and the samples that nothing was learnt from yet.

    Times that are kept in memory alone are monotonic: no jump of the wall clock makes them older.
    """

    layout: tuple[Running, ...]
    since_s: float
    samples: list[tuple[float, str, Sample]] = field(
        default_factory=list[tuple[float, str, Sample]]
    )


class Observer:
    """Compares and learns; needs `run` as a task on the loop of the controller."""

    def __init__(
        self, settings: Settings, client: ClusterClient, controller: Controller, engine: Engine
    ) -> None:
        self._settings = settings
        self._client = client
        self._controller = controller
        self._engine = engine
        self._prometheus = Prometheus(settings.prometheus_url)
        self._watched: dict[Key, _Watched] = {}

    async def run(self) -> None:
        """Look until cancelled; a failure waits for the next look."""
        while True:
            try:
                await self._look()
            except (ClusterError, SpecError) as error:
                log.warning("observing: %s", error)
            except Exception:
                log.exception("observing: this is a bug in GUIDE")
            await asyncio.sleep(self._settings.observe_s)

    async def _look(self) -> None:
        ledger, damaged = self._engine.ledger, False
        try:
            ledger = await self._ledger()
        except SpecError as error:  # the last good corrections stay
            log.warning("observing: %s", error)
            damaged = True
        works = self._controller.answered()
        keys = {_key(work) for work in works}
        self._watched = {key: one for key, one in self._watched.items() if key in keys}
        seen: Seen = await self._seen() if works else {}
        at_once = asyncio.Semaphore(2 * self._settings.workers)  # the event loop has other work

        async def compare(work: Work) -> None:
            async with at_once:
                await self._compare_or_say_why(work, ledger, seen)

        await asyncio.gather(*map(compare, works))
        if self._settings.learn and not damaged:
            await self._learn(ledger)

    async def _ledger(self) -> Corrections:
        """The corrections as the cluster holds them; they hold from now on."""
        namespace = self._settings.namespace
        found = await asyncio.to_thread(self._client.config_map, namespace, NAME)
        ledger = from_config_map(found)
        if ledger != self._engine.ledger:
            for one in self._watched.values():
                one.samples.clear()  # they were taken beside other predictions
            self._controller.use(ledger)
        return ledger

    async def _seen(self) -> Seen:
        """What the pods of every plan did, or why nobody knows."""
        window = f"{self._settings.window_s:.0f}s"
        try:
            return await asyncio.to_thread(self._prometheus.observe_plans, window)
        except PrometheusError as error:
            return error

    async def _compare_or_say_why(self, work: Work, ledger: Corrections, seen: Seen) -> None:
        """One plan that cannot be compared must not keep others from it."""
        generation = work.plan["metadata"]["generation"]
        try:
            finding = await self._find(work, ledger, seen)
        except (ClusterError, SpecError) as error:
            finding = findings.blind(generation, "NotCompared", str(error))
        except Exception as error:
            log.exception("observing %s: this is a bug in GUIDE", "/".join(_key(work)))
            what = f"{type(error).__name__}: {error}"
            finding = findings.blind(generation, "InternalError", what)
        self._controller.found(work, finding)

    async def _find(self, work: Work, ledger: Corrections, seen: Seen) -> LiveFinding:
        plan = work.plan
        generation = plan["metadata"]["generation"]
        if isinstance(seen, PrometheusError):
            return findings.blind(generation, findings.UNAVAILABLE, str(seen))
        namespace, name = _key(work)
        found = seen[namespace, object_name(name)]
        missing = lacking(found)
        if missing is not None:
            judgement = Judgement(
                verdict=Verdict.TOO_LITTLE_TRAFFIC, sentence=too_little(found) or f"{missing}."
            )
            return findings.blind(generation, findings.MISSING, missing, judgement)
        return await self._compare(work, plan, found, ledger)

    async def _compare(
        self, work: Work, plan: Any, found: Observation, ledger: Corrections
    ) -> LiveFinding:
        now, now_s = datetime.now(UTC), time.monotonic()
        layout = findings.layout_of(plan["status"])
        question, inventory = await self._controller.question(work)
        load = workload(found, question)
        namespace, _ = _key(work)
        expected = await self._engine.expect(question, inventory, layout, load, namespace=namespace)
        if expected is None:
            message = "the running layout is no candidate any more"
            return findings.blind(plan["metadata"]["generation"], "LayoutGone", message)
        watched = self._watched.setdefault(_key(work), _Watched(layout, now_s))
        if watched.layout != layout:
            watched = self._watched[_key(work)] = _Watched(layout, now_s)
        refusal = unfit(found) or self._settling(watched)
        replicas = sum(one.replicas for one in layout)
        refusal = refusal or other_replicas(found, replicas)
        if not expected.stable:
            refusal = refusal or "the load is beyond what the layout can serve"
        key, *others = expected.keys
        if others:
            refusal = refusal or "several kinds of GPU share the load"
        if refusal is None:
            if self._settings.learn_by_namespace:
                key = of_namespace(key, namespace)
            watched.samples.append((now_s, key, sample(found, expected)))
        told = f"Not learnt from: {refusal}." if refusal else "Learnt from."
        return findings.compared(
            plan,
            question,
            found,
            expected,
            scoped(ledger, namespace) if self._settings.learn_by_namespace else ledger,
            replicas=replicas,
            learning=told,
            drift_s=self._settings.drift_s,
            now=_text(now),
            age_s=lambda then: (now - datetime.fromisoformat(then)).total_seconds(),
        )

    def _settling(self, watched: _Watched) -> str | None:
        """A layout must run as long as a window, else its window holds another one's requests."""
        if time.monotonic() - watched.since_s < self._settings.window_s:
            return "the layout is not known to run for a whole window yet"
        return None

    async def _learn(self, ledger: Corrections) -> None:
        """One update of every key whose last one is a window ago: no request counts twice."""
        now, now_s = datetime.now(UTC), time.monotonic()
        samples: dict[str, list[Sample]] = defaultdict(list)
        for one in self._watched.values():
            one.samples = [
                entry for entry in one.samples if now_s - entry[0] <= self._settings.window_s
            ]
            for _, key, value in one.samples:
                samples[key].append(value)
        after = ledger
        for key, values in sorted(samples.items()):
            before = ledger.corrections.get(key)
            if before is None or self._due(before.updated_at, now):
                after = learnt(after, key, values, _text(now))
        if after != ledger:
            value = config_map(after, self._settings.namespace)
            await asyncio.to_thread(self._client.apply, value)
            log.info("learnt: %s", after.history[-1])
            await self._ledger()

    def _due(self, updated_at: str, now: datetime) -> bool:
        age_s = (now - datetime.fromisoformat(updated_at)).total_seconds()
        return not 0 <= age_s < self._settings.window_s  # a clock that was set back stops nothing


def _key(work: Work) -> Key:
    return work.plan["metadata"]["namespace"], work.plan["metadata"]["name"]


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
