"""Label schemes: which label of a node names its GPU. The rows are data, in ``labels.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, TypeAdapter

from guide.record import Record
from guide.shipped import parsed

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
REGION = "topology.kubernetes.io/region"

_MIG = re.compile(r"-MIG-(?P<profile>.+)$", re.IGNORECASE)
_SHARED = re.compile(r"-SHARED$", re.IGNORECASE)


class LabelRow(BaseModel):
    """One label scheme; the fields are explained at the top of ``labels.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    source: str
    resource: str
    product: str
    names: dict[str, str] = {}
    only_names: bool = False
    without: tuple[str, ...] = ()
    refine: bool = False
    count: str | None = None
    memory_mib: str | None = None
    memory_gib: str | None = None
    sharing: str | None = None
    unshared: tuple[str, ...] = ()
    replicas: str | None = None
    multiprocessors: str | None = None
    slice: str | None = None
    clique: str | None = None
    driver: tuple[str, ...] = ()
    partition: str | None = None
    whole: tuple[str, ...] = ()
    documentation: str


class Match(Record, frozen=True, kw_only=True):
    """What the labels of one node say about its GPU."""

    row: LabelRow
    product: str  # the label's value, as it stands
    gpu_name: str  # what to look up in the catalogue
    shared: bool
    partition: str | None  # MIG profile or the like: the GPU is sliced


@cache
def label_rows() -> tuple[LabelRow, ...]:
    """All schemes, in the order in which they are tried."""
    rows = parsed(Path(__file__).with_name("labels.yaml"))
    return TypeAdapter(tuple[LabelRow, ...]).validate_python(rows)


def matches(labels: Mapping[str, str]) -> tuple[Match, ...]:
    """What every scheme says whose product label these node labels carry, in order."""
    found = [_match(row, labels) for row in label_rows()]
    return tuple(match for match in found if match is not None)


def match(labels: Mapping[str, str]) -> Match | None:
    """The first of `matches`."""
    return next(iter(matches(labels)), None)


def _match(row: LabelRow, labels: Mapping[str, str]) -> Match | None:
    product = labels.get(row.product)
    if not product or (row.only_names and product not in row.names):
        return None
    if not labels.keys().isdisjoint(row.without):
        return None
    shared = bool(_SHARED.search(product))
    bare = _SHARED.sub("", product)
    mig = _MIG.search(bare)
    bare = _MIG.sub("", bare)
    if row.sharing is not None and row.sharing in labels:
        shared = shared or labels[row.sharing] not in row.unshared
    partition = labels.get(row.partition) if row.partition else None
    if partition in row.whole:
        partition = None
    found = Match(
        row=row,
        product=product,
        gpu_name=row.names.get(bare, bare),
        shared=shared,
        partition=mig.group("profile") if mig else partition or None,
    )
    exact = _instance_types().get(labels.get(INSTANCE_TYPE, "")) if row.refine else None
    return replace(found, gpu_name=exact) if exact else found


@cache
def _instance_types() -> Mapping[str, str]:
    return next(row.names for row in label_rows() if row.product == INSTANCE_TYPE)
