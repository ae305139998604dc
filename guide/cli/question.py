"""From flags to the engine's question: the plan, the model and the cluster, read from files or a
context.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer
from msgspec.structs import replace

from guide.domain import Catalog, Recommendation
from guide.errors import SpecError
from guide.record import Record
from guide.units import MIB

if TYPE_CHECKING:
    from guide.cli.in_words import InWords
    from guide.question import Cluster, Question
    from guide.spec import InferencePlan
    from guide.spec.node_pools import NodePool

KubeObject = dict[str, Any]  # as the API server writes it
LIST_LIMIT_BYTES = 1024 * MIB  # pods of ten thousand nodes


class Extra(Record, frozen=True, kw_only=True):
    """Files that few users need."""

    slices: Path | None = None
    node_pools: Path | None = None
    gpus: Path | None = None
    prices: Path | None = None
    rent: bool = False  # instead of a cluster: all that can be rented


def ask(
    plan_file: Path,
    nodes_file: Path | None,
    pods_file: Path | None,
    model_config: Path | None,
    calibration: Path | None = None,
    extra: Extra | None = None,
) -> Question:
    """Read everything that the flags name; `SpecError` or `ClusterError` with one sentence if that
    fails.
    """
    from guide.catalog import load
    from guide.cli.checkpoint import called, named_path, read_checkpoint
    from guide.spec import parse_plan, read_document
    from guide.spec.resolve import unquoted

    extra = extra or Extra()
    catalog = load(calibration=calibration, extra_gpus=extra.gpus, prices=extra.prices)
    text = read_text(plan_file)
    document = read_document(text, "the plan")
    path = named_path(document, plan_file.parent, catalog)
    if path is not None:
        document["spec"]["model"]["name"] = called(path)
    written = parse_plan(document)
    for sentence in unquoted(text):
        typer.echo(f"guide: {sentence}.", err=True)
    files = model_config or path
    config = None if files is None else read_checkpoint(files)
    asked = about(written, config, nodes_file, pods_file, catalog, extra)
    return replace(asked, model_path=None if path is None else str(path))


def ask_in_words(
    words: InWords,
    nodes_file: Path | None,
    pods_file: Path | None,
    model_config: Path | None,
    calibration: Path | None = None,
    extra: Extra | None = None,
) -> Question:
    """The question of flags; without --gpu about the cluster of the files, or of the context."""
    from guide.catalog import load
    from guide.cli.checkpoint import read_checkpoint
    from guide.question import ask as asked

    extra = extra or Extra()
    written = words.plan()
    catalog = load(calibration=calibration, extra_gpus=extra.gpus, prices=extra.prices)
    config = None if model_config is None else read_checkpoint(model_config)
    if words.gpu:
        return asked(written, words.cluster(catalog), catalog, config)
    return about(written, config, nodes_file, pods_file, catalog, extra)


def about(
    written: InferencePlan,
    config: str | None,
    nodes_file: Path | None,
    pods_file: Path | None,
    catalog: Catalog,
    extra: Extra | None = None,
) -> Question:
    """The question of a plan that was read already; `config` is its config.json, if given."""
    from guide.cluster.imagined import rentable
    from guide.question import Cluster
    from guide.question import ask as asked

    extra = extra or Extra()
    if extra.rent:
        found = Cluster(nodes=rentable(catalog))
    else:
        found = cluster(nodes_file, pods_file, extra)
    return asked(written, found, catalog, config)


def answer(question: Question, timeout_s: float | None = None) -> Recommendation:
    """The recommendation for a question; `TookTooLong` after so many seconds of computing."""
    from guide.cli.progress import shown_when_slow
    from guide.report.searching import searching

    limit: AbstractContextManager[None] = nullcontext()
    if timeout_s is not None:
        from guide.processes import cpu_deadline

        limit = cpu_deadline(timeout_s)
    with shown_when_slow("planning") as say, limit:
        return question.answer(seen=lambda progress: say(searching(progress)))


def cluster(nodes_file: Path | None, pods_file: Path | None, extra: Extra) -> Cluster:
    """The cluster of the files, or of the current kube context."""
    from guide.question import Cluster

    if nodes_file is not None:
        return given(nodes_file, pods_file, extra)
    files = {"--pods": pods_file, "--slices": extra.slices}
    flag = next((flag for flag, file in files.items() if file is not None), None)
    if flag is not None:
        raise SpecError(f"{flag} needs --nodes: without both, the current kube context is read")
    pools = given(None, None, extra).node_pools
    from guide.cluster.client import cluster_devices, cluster_objects

    nodes, pods = cluster_objects()
    return Cluster(nodes=nodes, pods=pods, devices=cluster_devices(), node_pools=pools)


def given(nodes_file: Path | None, pods_file: Path | None, extra: Extra) -> Cluster:
    """What the files hold of a cluster; never the network."""
    from guide.question import Cluster
    from guide.spec.node_pools import read_node_pools

    def items(file: Path | None, *kinds: str) -> list[KubeObject]:
        return [] if file is None else read_items(file, *kinds)

    pools: tuple[NodePool, ...] = ()
    if extra.node_pools is not None:
        pools = read_node_pools(read_text(extra.node_pools), str(extra.node_pools))
    return Cluster(
        nodes=items(nodes_file, "Node"),
        pods=items(pods_file, "Pod"),
        devices=items(extra.slices, "ResourceSlice", "ResourceClaim"),
        node_pools=pools,
    )


def read_items(path: Path, *kinds: str) -> list[KubeObject]:
    """The objects of `kinds` in a file: a List as kubectl writes it, or a single object."""
    import json

    text = read_text(path)
    document: Any
    if text.lstrip().startswith("{"):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{path} is not valid JSON: {error}") from None
    else:
        from guide.spec import read_document

        document = read_document(text, str(path), LIST_LIMIT_BYTES)
    if not isinstance(document, dict):
        raise SpecError(f"{path} must hold a list of {kinds[0]} objects, as kubectl writes it")
    parsed = cast("KubeObject", document)
    listed: Any = parsed.get("items", [parsed])
    if not isinstance(listed, list) or not all(
        isinstance(item, dict) for item in cast("list[Any]", listed)
    ):
        raise SpecError(f"{path}: items must be a list of objects, as kubectl writes it")
    items = cast("list[KubeObject]", listed)
    found = [item for item in items if item.get("kind", kinds[0]) in kinds]
    if items and not found:
        others = ", ".join(sorted({str(item.get("kind")) for item in items}))
        raise SpecError(
            f"{path} holds {others} objects, no {kinds[0]}: "
            f"give the output of `kubectl get {kinds[0].lower()}s -o yaml`"
        )
    return found


def read_text(path: Path) -> str:
    """The text of a file, or of stdin for ``-``."""
    try:
        if str(path) == "-":
            return sys.stdin.read()
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not a UTF-8 text file") from None
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file, or of stdin for ``-``, one after the other."""
    try:
        if str(path) == "-":
            yield from sys.stdin
            return
        with path.open(encoding="utf-8", newline="") as file:
            yield from file
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not a UTF-8 text file") from None
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
