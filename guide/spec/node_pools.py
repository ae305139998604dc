"""Node pools that do not exist yet: what a user says an autoscaler could add."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from guide.errors import SpecError
from guide.spec.documents import read_document
from guide.spec.edge import Edge
from guide.spec.messages import spec_error
from guide.spec.scalars import LabelKey, LabelValue, ObjectName, Quantity
from guide.spec.tolerations import Toleration


class NodePool(Edge):
    """Nodes alike, of which up to `max_nodes` can exist at once."""

    name: ObjectName
    gpu: str  # catalogue name
    gpus_per_node: Annotated[int, Field(alias="gpusPerNode", ge=1, le=1024)]
    max_nodes: Annotated[int, Field(alias="maxNodes", ge=1, le=100_000)]
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(alias="nodeSelector", min_length=1)]
    tolerations: tuple[Toleration, ...] = ()
    usd_per_hour: Annotated[Quantity | None, Field(alias="usdPerHour")] = None  # a whole node
    instance_type: Annotated[str | None, Field(alias="instanceType")] = None
    region: str | None = None
    spot: bool = False
    resource: str | None = None  # default: that of the GPU's vendor


class NodePools(Edge):
    """The whole file: ``nodePools`` with one entry a pool."""

    node_pools: Annotated[tuple[NodePool, ...], Field(alias="nodePools")]


def read_node_pools(text: str, name: str) -> tuple[NodePool, ...]:
    """Node pools from YAML or JSON text; `SpecError` with one sentence where it holds none."""
    value: Any = read_document(text, name)
    try:
        pools = NodePools.model_validate(value).node_pools
    except ValidationError as error:
        sentence = str(spec_error(error, NodePools)).replace(
            "an InferencePlan", "a node pools file"
        )
        raise SpecError(f"{name}: {sentence}") from None
    names = [pool.name for pool in pools]
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise SpecError(f"{name}: two node pools are named {twice[0]}: names must differ")
    return pools
