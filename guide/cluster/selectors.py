"""The fewest labels that tell the nodes of a pool from all other GPU nodes (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Labels = Mapping[str, str]

# In this order where several labels would do: what a reader recognises first.
_PREFERRED = (
    "nvidia.com/gpu.count",
    "node.kubernetes.io/instance-type",
    "karpenter.sh/capacity-type",
    "karpenter.sh/nodepool",
    "eks.amazonaws.com/nodegroup",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-nodepool",
    "cloud.google.com/gke-spot",
    "kubernetes.azure.com/agentpool",
    "kubernetes.azure.com/scalesetpriority",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.machine",
    "topology.kubernetes.io/zone",
)
# Change while the hardware stays, or differ on every node.
_UNSTABLE = (
    "timestamp",
    "driver",
    "cuda.runtime",
    "kernel",
    "os-release",
    "hostname",
    "node-image",
    "gfd.",
)


def fewest_labels(
    members: Sequence[Labels], others: Sequence[Labels], first: str | None
) -> tuple[dict[str, str], int]:
    """Labels of all `members` that tell them from `others`, and how many others still match.

    `first` is the product label: always part of the answer where the members carry it.
    """
    common = _common(members)
    chosen = {first: common[first]} if first in common else {}
    left = [o for o in others if _matches(o, chosen)]
    candidates = _candidates(common)
    while left:
        best = max(candidates, key=lambda k: sum(o.get(k) != common[k] for o in left), default=None)
        remaining = [o for o in left if best is not None and o.get(best) == common[best]]
        if best is None or len(remaining) == len(left):
            break
        chosen[best] = common[best]
        left = remaining
    for key in [k for k in chosen if k != first]:
        fewer = {k: v for k, v in chosen.items() if k != key}
        if sum(_matches(o, fewer) for o in others) == len(left):
            chosen = fewer
    return dict(sorted(chosen.items())), len(left)


def _matches(labels: Labels, selector: Labels) -> bool:
    return all(labels.get(k) == v for k, v in selector.items())


def _common(members: Sequence[Labels]) -> dict[str, str]:
    common = dict(members[0])
    for labels in members[1:]:
        common = {k: v for k, v in common.items() if labels.get(k) == v}
    return common


def _candidates(common: Labels) -> list[str]:
    """Usable keys, preferred ones first (``max`` keeps the first of equals)."""
    rest = sorted(k for k in common if k not in _PREFERRED and not any(u in k for u in _UNSTABLE))
    last = ["kubernetes.io/hostname"] if "kubernetes.io/hostname" in common else []
    return [k for k in _PREFERRED if k in common] + rest + last
