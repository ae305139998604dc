"""A study on a cluster of eight H100, and questions that do a worker harm."""

from __future__ import annotations

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Catalog, Inventory, Plan
from guide.spec import load_plan, resolve_plan
from guide.studies.run import Crew, Hire, StudyTask
from tests.unit.cli.test_cli import NODES, PLAN

CATALOG: Catalog = load()
INVENTORY: Inventory = read_inventory(yaml.safe_load(NODES)["items"], [], CATALOG)
STUDY = """
plan: plan.yaml
vary:
  spec.workload.requestsPerSecond: [2, 4, 8]
  spec.slo.ttftP95Milliseconds: [1, 2000]
"""


def write(folder: Path, study: str = STUDY) -> Path:
    """The study and its files in a folder."""
    for name, text in (("plan.yaml", PLAN), ("nodes.yaml", NODES), ("study.yaml", study)):
        (folder / name).write_text(text)
    return folder / "study.yaml"


def plan(requests_per_s: float) -> Plan:
    text = PLAN.replace("requestsPerSecond: 8", f"requestsPerSecond: '{requests_per_s:g}'")
    return resolve_plan(load_plan(text), CATALOG, None)


def questions(count: int) -> list[StudyTask]:
    """That many questions, each with a load of its own."""
    return [
        StudyTask(digest=f"q{n}", plan=plan(1 + n / 7), inventory=INVENTORY) for n in range(count)
    ]


class Deadly:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def deadly(digest: str = "deadly") -> StudyTask:
    plan: Any = Deadly()
    return StudyTask(digest=digest, plan=plan, inventory=INVENTORY)


def hire_threads(asked: list[Any] | None = None) -> Hire:
    """One thread of this process; what it is asked is appended to `asked`."""

    class Watched(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            if asked is not None:
                asked.append(args)
            return super().submit(fn, *args, **kwargs)

    @contextmanager
    def hire():
        executor: Executor
        with Watched(1) as executor:
            yield Crew(executor, lambda: 1)

    return hire
