"""Nodes for the question: pools that do not exist yet, an uploaded list, or this cluster.

All three end as Node objects in the one reader of `guide.cluster.inventory`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from guide.catalog import find_gpu
from guide.cluster.client import cluster_devices, cluster_objects
from guide.cluster.imagined import MOST_NODES, MOST_PER_NODE, nodes_of
from guide.cluster.json_values import mapping, sequence
from guide.cluster.nodes import read_node
from guide.cluster.slim import slim_node
from guide.domain import Catalog
from guide.errors import GuideError, SpecError
from guide.question import Cluster
from guide.spec import read_document
from guide.spec.node_pools import NodePool, read_node_pools
from guide.units import MIB
from guide.web.settings import Settings
from guide.web.state import PoolRow, plain_number, unpack

Node = dict[str, Any]
UPLOAD_LIMIT_BYTES = 8 * MIB
FRESH_S = 10  # how long one reading of the cluster serves


class RowError(SpecError):
    """A pool row is wrong; `row` counts from 0 and `column` is gpu, nodes, per or price."""

    def __init__(self, row: int, column: str, message: str) -> None:
        super().__init__(message, field=f"pools[{row}].{column}")
        self.row, self.column = row, column


def imagined(rows: Iterable[PoolRow], catalog: Catalog) -> list[Node]:
    """Node objects as a cluster with these pools would list them."""
    nodes: list[Node] = []
    for row, pool in enumerate(rows):
        if pool.blank:
            continue
        gpu = find_gpu(catalog, pool.gpu)
        if gpu is None:
            raise RowError(row, "gpu", f"{pool.gpu} is in no catalogue: choose one of the list")
        count = _whole(row, "nodes", pool.nodes, MOST_NODES)
        per = _whole(row, "per", pool.per, MOST_PER_NODE)
        price = _price(row, pool.price)
        nodes += nodes_of(gpu, count, per, price, name=f"pool{row}")
    return nodes


def _whole(row: int, column: str, text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise RowError(row, column, f"must be a whole number from 1 to {most:,}")
    return int(text)


def _price(row: int, text: str) -> float | None:
    if not text:
        return None
    text = plain_number(text)
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,4})?", text):
        raise RowError(row, "price", "must be a price in US dollars such as 2.50")
    return float(text)


def uploaded(text: str) -> list[Node]:
    """The GPU nodes of an uploaded list, cut to what is read of them."""
    if text.lstrip().startswith("{"):
        try:
            document: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"the node list is not valid JSON: {error}") from None
    else:
        document = read_document(text, "the node list", UPLOAD_LIMIT_BYTES)
    listed = sequence(mapping(document).get("items", [document]))
    found = [mapping(item) for item in listed if mapping(item).get("kind", "Node") == "Node"]
    nodes = [slim(node) for node in found if read_node(node) is not None]
    if not nodes:
        raise SpecError(
            f"no GPU among its {len(found)} nodes: give the output of "
            "`kubectl get nodes -o yaml`, from a cluster whose device plugin runs"
        )
    return nodes


def unpacked_nodes(token: str) -> list[Node]:
    """The nodes of a link; `SpecError` when the token holds something else."""
    listed = sequence(unpack(token))
    if not listed or not all(isinstance(node, dict) for node in listed):
        raise SpecError("this part of the link is damaged: upload the file again")
    return [slim(node) for node in listed]


def slim(node: Mapping[str, Any]) -> Node:
    """A Node object as links and downloads hold it."""
    return {"apiVersion": "v1", "kind": "Node", **slim_node(node)}


def live(settings: Settings) -> Cluster:
    """This cluster, at most `FRESH_S` old."""
    return _live(settings, int(time.monotonic() // FRESH_S))


@lru_cache(maxsize=1)
def _live(settings: Settings, period: int) -> Cluster:
    del period  # only tells one reading from the next
    pools: tuple[NodePool, ...] = ()
    if settings.node_pools_file is not None:
        file = settings.node_pools_file
        pools = read_node_pools(_text(file), str(file))
    if settings.nodes_file is not None:
        return Cluster(nodes=uploaded(_text(settings.nodes_file)), node_pools=pools)
    nodes, pods = cluster_objects()
    return Cluster(nodes=nodes, pods=pods, devices=cluster_devices(), node_pools=pools)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GuideError(f"cannot read {path}: {error}") from None
