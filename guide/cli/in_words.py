"""A question without files: a model, GPUs and a load as flags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from guide.cluster.imagined import MOST_NODES, MOST_PER_NODE, Node, nodes_of
from guide.domain import Catalog
from guide.errors import SpecError
from guide.question import Cluster, known_gpu
from guide.record import Record

if TYPE_CHECKING:
    from guide.spec import InferencePlan

USUAL_PER_NODE = 8
_POOL = re.compile(r"([0-9]{1,5})x(?:([0-9]{1,2})x)?(\S+)", re.IGNORECASE)


class InWords(Record, frozen=True, kw_only=True):
    """The flags as given; None where a flag was not."""

    model: str | None = None
    gpu: tuple[str, ...] = ()
    rps: float | None = None
    users: int | None = None
    requests: int | None = None  # of a batch, all of the stated lengths
    within: str | None = None
    prompt: int | None = None  # tokens, mean
    output: int | None = None
    ttft_ms: int | None = None
    tpot_ms: int | None = None
    prefer: str | None = None
    frameworks: tuple[str, ...] = ()

    @property
    def said(self) -> bool:
        """Whether any flag was given."""
        return self != InWords()

    def plan(self) -> InferencePlan:
        """The plan that they describe; `SpecError` names the flag that lacks."""
        from guide.spec import parse_plan

        if not self.said:
            raise SpecError("give a plan (-f FILE), or ask without one: --model, --gpu and --rps")
        if self.model is None:
            raise SpecError("a question without a file needs --model")
        load: dict[str, Any] = {"requestsPerSecond": self.rps, "concurrency": self.users}
        if self.requests is not None:
            load["offline"] = _given({"requests": self.requests, "completeWithin": self.within})
        elif (self.rps is None) == (self.users is None):
            raise SpecError("a question without a file needs one of --rps and --users")
        limits = {"ttftP95Milliseconds": self.ttft_ms, "tpotP95Milliseconds": self.tpot_ms}
        return parse_plan(
            {
                "apiVersion": "guide.dev/v1alpha1",
                "kind": "InferencePlan",
                "metadata": {"name": "asked"},
                "spec": {
                    "model": {"name": self.model},
                    "workload": {
                        "inputTokens": self._tokens(self.prompt, 1024),
                        "outputTokens": self._tokens(self.output, 256),
                        **_given(load),
                    },
                    "slo": _given(limits),
                    **_given({"preference": self.prefer}),
                    **({"frameworks": list(self.frameworks)} if self.frameworks else {}),
                },
            }
        )

    def _tokens(self, mean: int | None, usual: int) -> dict[str, int]:
        tokens = usual if mean is None else mean
        return {"mean": tokens} | ({} if self.requests is None else {"p95": tokens})

    def cluster(self, catalog: Catalog) -> Cluster:
        """The nodes that --gpu names."""
        return Cluster(nodes=[node for text in self.gpu for node in nodes_in_words(text, catalog)])


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def nodes_in_words(text: str, catalog: Catalog) -> list[Node]:
    """`4xA100-80GB` is one node, `16xH100-SXM` nodes of 8, `3x4xL40S` three nodes of 4.

    Raises `SpecError` for what names no GPU or no count.
    """
    match = _POOL.fullmatch(text.strip())
    if match is None:
        raise SpecError(
            f"--gpu {text}: write a count and a GPU such as 2xRTX4090, or 3x8xH100-SXM for three "
            "nodes of eight"
        )
    gpu = known_gpu(match[3], catalog, f"--gpu {text}")
    first, second = int(match[1]), match[2]
    per = int(second) if second else min(first, USUAL_PER_NODE)
    count = first if second else -(-first // max(1, per))
    if not (1 <= count <= MOST_NODES and 1 <= per <= MOST_PER_NODE):
        raise SpecError(
            f"--gpu {text}: 1 to {MOST_NODES:,} nodes of 1 to {MOST_PER_NODE} GPUs can be asked for"
        )
    if not second and count * per != first:
        raise SpecError(
            f"--gpu {text}: {first} GPUs are no whole nodes of {per}; "
            f"write {count}x{per}x{match[3]} for {count} of them"
        )
    return nodes_of(gpu, count, per, name=f"{gpu.name}-{per}".lower())
