"""`guide inventory`: the GPUs of a cluster as GUIDE sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from guide.cli.options import (
    GpusFile,
    NodePoolsFile,
    NodesFile,
    Output,
    OutputFormat,
    PodsFile,
    PricesFile,
    SlicesFile,
)

if TYPE_CHECKING:
    from guide.cluster.inventory import View
    from guide.report.nodes import NodeRow


def inventory(
    nodes: NodesFile = None,
    pods: PodsFile = None,
    slices: SlicesFile = None,
    node_pools: NodePoolsFile = None,
    gpus: GpusFile = None,
    prices: PricesFile = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Show the GPU pools of a cluster, node by node, and why a node is left out.

    Exit code 0, also when nothing can be used. 2: bad input.
    """
    from guide.catalog import load
    from guide.cli import show
    from guide.cli.question import Extra, cluster
    from guide.cluster.inventory import read_cluster
    from guide.cluster.potential import with_potential
    from guide.report import nodes as report
    from guide.search.pricing import priced

    catalog = load(extra_gpus=gpus, prices=prices)
    extra = Extra(slices=slices, node_pools=node_pools)
    found = cluster(nodes, pods, extra)
    view = read_cluster(found.nodes, found.pods, catalog, slices=found.devices)
    seen = with_potential(view.inventory, found.node_pools, found.nodes, catalog)
    seen, rows = priced(seen, catalog), _rows(view)
    if output is not Output.TABLE:
        show.document(report.to_document(seen, rows, view.without_gpus), output)
        return
    show.print_table(report.pools_table(seen))
    for pool in seen.pools:
        for note in pool.notes:
            typer.echo(f"{pool.name}: {note}.")
    show.print_table(report.nodes_table(rows))
    typer.echo(f"{view.without_gpus} nodes have no GPU.")


def _rows(view: View) -> list[NodeRow]:
    from guide.cluster.pools import taken_of
    from guide.report.nodes import NodeRow

    used = [
        NodeRow(
            node=member.node.name,
            pool=pool,
            gpu=member.gpu.name if member.gpu else "unknown",
            source="dra" if member.offer.device_class else _source(member.offer.match),
            resource=member.offer.resource,
            free=member.offer.allocatable - taken_of(member, view.held),
            used=taken_of(member, view.held),
            capacity=member.offer.capacity,
        )
        for pool, member in view.members
    ]
    left_out = [NodeRow(node=n.name, reason=n.refusal) for n in view.nodes if n.refusal]
    return sorted([*used, *left_out], key=lambda row: (row.node, row.pool))


def _source(match: object) -> str:
    from guide.cluster.labels import Match

    return match.row.source if isinstance(match, Match) else "none"
