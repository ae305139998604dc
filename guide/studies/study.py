"""The study file: a plan, the fields to vary with their values, and the clusters to ask about."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any, cast

from pydantic import Field, ValidationError

from guide.errors import SpecError
from guide.record import Record
from guide.spec.documents import read_document
from guide.spec.edge import Edge
from guide.spec.messages import spec_error

MOST_QUESTIONS = 1_000_000


class ClusterFiles(Edge):
    """The files of one cluster, as the flags of `guide plan` name them."""

    nodes: str = Field(description="Output of `kubectl get nodes -o yaml` or json.")
    pods: str | None = Field(default=None, description="Output of `kubectl get pods -A -o yaml`.")
    slices: str | None = Field(
        default=None,
        description="Output of `kubectl get resourceslices,resourceclaims -A -o yaml`.",
    )
    node_pools: str | None = Field(
        default=None, description="Node pools that an autoscaler could add."
    )


class StudyFile(Edge):
    """Every combination of the values in `vary` and of the clusters is one question."""

    plan: str = Field(description="File of the InferencePlan that is varied.")
    vary: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default={},
        description="Values by path of a field of the plan, such as spec.slo.ttftP95Milliseconds. "
        "A mapping replaces all that is below the path; null takes the field away.",
    )
    clusters: dict[str, ClusterFiles] = Field(
        default={},
        max_length=1000,
        description="Files of each cluster by its name: nodes and, where wanted, pods, slices and "
        "nodePools, as the flags of those names. Absent: --nodes, or the kube context.",
    )
    model_configs: dict[str, str] = Field(
        default={},
        description="The config.json or checkpoint folder by model, where the catalogue lacks it.",
    )


class Point(Record, frozen=True, kw_only=True):
    """One combination: the name of a cluster, if any is named, and a value for each path."""

    cluster: str | None
    values: Mapping[str, Any]


def read_study(text: str, name: str) -> StudyFile:
    """A study from YAML or JSON text; `SpecError` with one sentence where it is none."""
    value = read_document(text, name)
    try:
        study = StudyFile.model_validate(value)
    except ValidationError as error:
        sentence = str(spec_error(error, StudyFile)).replace("an InferencePlan", "a study")
        raise SpecError(f"{name}: {sentence}") from None
    count = max(1, len(study.clusters))
    for path, values in study.vary.items():
        if not path.startswith("spec.") or "" in path.split("."):
            raise SpecError(
                f"{name}: vary names {path}; name a field of the plan by its path, such as "
                "spec.slo.ttftP95Milliseconds"
            )
        count *= len(values)
    if count > MOST_QUESTIONS:
        raise SpecError(
            f"{name} asks {count:,} questions, more than {MOST_QUESTIONS:,}: vary fewer values"
        )
    return study


def points(study: StudyFile) -> Iterator[Point]:
    """Every combination, clusters first, the values of the last path next to each other."""
    for cluster, *values in product(study.clusters or (None,), *study.vary.values()):
        yield Point(cluster=cluster, values=dict(zip(study.vary, values, strict=True)))


def varied(plan: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with each path set to its value; `SpecError` where a path leads through a value."""
    document = cast("dict[str, Any]", copy.deepcopy(plan))
    for path, value in values.items():
        *above, last = path.split(".")
        place = document
        for name in above:
            below: Any = place.setdefault(name, {})
            if not isinstance(below, dict):
                raise SpecError(f"vary names {path}, but {name} has a value and no fields")
            place = cast("dict[str, Any]", below)
        if value is None:
            place.pop(last, None)
        else:
            place[last] = copy.deepcopy(value)
    return document
