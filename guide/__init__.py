"""GUIDE: advice on deploying LLM inference, as a pure library with thin edges.

The names of ``__all__`` are its front door: docs/python.md shows them at work. Each is imported
when it is first used, so that ``import guide`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names once more, for editors and type checkers
    from guide.catalog import load as load_catalog  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from guide.cluster.inventory import read_inventory as read_inventory
    from guide.domain import Budget as Budget
    from guide.domain import Catalog as Catalog
    from guide.domain import Evaluation as Evaluation
    from guide.domain import Gpu as Gpu
    from guide.domain import GpuPool as GpuPool
    from guide.domain import Inventory as Inventory
    from guide.domain import Lengths as Lengths
    from guide.domain import ModelArch as ModelArch
    from guide.domain import Plan as Plan
    from guide.domain import Reason as Reason
    from guide.domain import Recommendation as Recommendation
    from guide.domain import Slo as Slo
    from guide.domain import Workload as Workload
    from guide.errors import GuideError as GuideError
    from guide.errors import SpecError as SpecError
    from guide.insight.load_curve import latency_over_load as latency_over_load
    from guide.manifests.render import render_files as render_files
    from guide.models.families import read_config as read_config
    from guide.report.document import to_json as to_json
    from guide.report.review import review_markdown as review_markdown
    from guide.search.assess import Running as Running
    from guide.search.assess import assess as assess
    from guide.search.recommend import recommend as recommend
    from guide.spec import load_plan as load_plan
    from guide.spec import resolve_plan as resolve_plan

__version__ = "0.1.0"

_HOMES = {
    "Budget": "domain",
    "Catalog": "domain",
    "Evaluation": "domain",
    "Gpu": "domain",
    "GpuPool": "domain",
    "GuideError": "errors",
    "Inventory": "domain",
    "Lengths": "domain",
    "ModelArch": "domain",
    "Plan": "domain",
    "Reason": "domain",
    "Recommendation": "domain",
    "Running": "search.assess",
    "Slo": "domain",
    "SpecError": "errors",
    "Workload": "domain",
    "assess": "search.assess",
    "latency_over_load": "insight.load_curve",
    "load_catalog": "catalog",
    "load_plan": "spec",
    "read_config": "models.families",
    "read_inventory": "cluster.inventory",
    "recommend": "search.recommend",
    "render_files": "manifests.render",
    "resolve_plan": "spec",
    "review_markdown": "report.review",
    "to_json": "report.document",
}
_THERE = {"load_catalog": "load"}  # names that are shorter in their own room

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'guide' has no attribute {name!r}")
    value: object = getattr(import_module(f"guide.{_HOMES[name]}"), _THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
