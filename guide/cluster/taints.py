"""Which nodes the pods of a plan may be sent to: taints, and what a platform team reserves (pure).

A taint keeps pods off a node for somebody's reason. That of the GPU's vendor keeps off pods without
GPUs; every other one has to be tolerated by whoever knows why it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from msgspec.structs import replace

from guide.cluster.nodes import GpuNode, Taint
from guide.record import Record

Toleration = tuple[tuple[str, str], ...]  # fields of a pod's toleration
Labels = tuple[tuple[str, str], ...]

_VENDORS = ("nvidia.com", "amd.com", "gpu.intel.com")  # domains of their taints and resources


class NodeBounds(Record, frozen=True, kw_only=True):
    """What holds for the nodes of all plans: whoever installs GUIDE says so."""

    selector: Labels = ()  # all of these they carry
    excluded: Labels = ()  # and none of these; an empty value: whatever the label says
    tolerations: tuple[Toleration, ...] = ()  # beside those of the plan

    def apply(self, node: GpuNode) -> GpuNode:
        """`node`, refused with a sentence where it is not for plans."""
        if node.refusal or not (reason := self._reserved(node.labels)):
            return node
        return replace(node, refusal=f"is not for plans: {reason}")

    def _reserved(self, labels: Mapping[str, str]) -> str:
        lacking = (f"it lacks label {k}={v}" for k, v in self.selector if labels.get(k) != v)
        carried = (
            f"it has label {k}={labels[k]}"
            for k, v in self.excluded
            if k in labels and v in ("", labels[k])
        )
        return next(chain(lacking, carried), "")


EVERY_NODE = NodeBounds()
ANY: tuple[Toleration, ...] = ((("operator", "Exists"),),)


def untolerated(taints: Iterable[Taint], tolerations: Iterable[Toleration]) -> str | None:
    """Why pods with these tolerations stay off nodes with these taints; None if they do not."""
    known = [dict(each) for each in tolerations]
    for key, value, effect in taints:
        if of_vendor(key) or any(_matches(each, (key, value, effect)) for each in known):
            continue
        text = f"{key}={value}:{effect}" if value else f"{key}:{effect}"
        return f"has taint {text}, which spec.placement.tolerations does not tolerate"
    return None


def of_vendor(key: str) -> bool:
    """Whether a taint of this key only keeps off pods without GPUs."""
    return key.split("/")[0] in _VENDORS


def _matches(toleration: Mapping[str, str], taint: Taint) -> bool:
    """As the scheduler reads it."""
    key, value, effect = taint
    named, exists = toleration.get("key", ""), toleration.get("operator", "Equal") == "Exists"
    if toleration.get("effect", "") not in ("", effect) or (named != key and (named or not exists)):
        return False
    return exists or toleration.get("value", "") == value
