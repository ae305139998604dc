"""What each reason for a rejection means and what mends it: the same words in every document."""

from __future__ import annotations

from collections import Counter

from guide.domain import Reason, Recommendation, Rejection
from guide.frameworks import FRAMEWORKS

NO_IMAGE = "no image"  # of a framework, instead of the reasons of its candidates

MEANING: dict[Reason, tuple[str, str]] = {
    Reason.DOES_NOT_FIT: (
        "Weights, activations and the stated context do not fit into the memory of the GPUs.",
        "More GPUs a replica, larger GPUs, a shorter maxContextTokens, or a higher "
        "precisionTolerance.",
    ),
    Reason.HEADS_NOT_DIVISIBLE: (
        "Tensor parallelism must split the attention heads evenly.",
        "Nothing: other degrees of parallelism are considered too.",
    ),
    Reason.QUANT_GROUP_NOT_DIVISIBLE: (
        "Each GPU must hold whole groups of quantised weights.",
        "Nothing: other degrees of parallelism are considered too.",
    ),
    Reason.SPANS_NODES: (
        "A replica needs more GPUs than one node has.",
        "Nodes with more GPUs, or fewer GPUs a replica.",
    ),
    Reason.NOT_ENOUGH_GPUS: (
        "Too few GPUs are free, or not enough of them on one node.",
        "Free GPUs, more nodes, or fewer requests per second.",
    ),
    Reason.COMPUTE_CAPABILITY: (
        "The framework has no kernels for so old a GPU.",
        "A newer GPU, or the other framework.",
    ),
    Reason.DRIVER_TOO_OLD: (
        "The image is built on a CUDA that the driver of the nodes is too old for.",
        "An image with an older CUDA, or a newer driver.",
    ),
    Reason.UNSUPPORTED_MODEL: (
        "The framework cannot serve this architecture, or not in this layout.",
        "The other framework.",
    ),
    Reason.UNSUPPORTED_PRECISION: (
        "The framework has no kernels for this precision on GPUs of this vendor.",
        "Another checkpoint, or the other framework.",
    ),
    Reason.SHARED_GPU: (
        "The GPUs are time-shared: a pod may not hold several of them.",
        "Nodes without time-slicing or MPS.",
    ),
    Reason.UNKNOWN_GPU: (
        "The product is in no catalogue, so nothing can be predicted for it.",
        "A row with its datasheet, see `guide gpus`.",
    ),
    Reason.OVER_BUDGET: (
        "It costs more per hour, or takes more GPUs, than the budget allows.",
        "A larger maxHourlyUSD or maxGPUs.",
    ),
    Reason.TOO_FEW_REPLICAS: (
        "What runs has fewer replicas than the plan asks for.",
        "A smaller deployment.minReplicas; the answer itself never has fewer.",
    ),
    Reason.MISSES_TTFT: (
        "The upper end of the 90 % interval of the p95 time to first token is above the limit.",
        "A larger ttftP95Milliseconds, or what makes prompts faster: more or larger GPUs.",
    ),
    Reason.MISSES_TPOT: (
        "The upper end of the 90 % interval of the p95 time per output token is above the limit.",
        "A larger tpotP95Milliseconds, or GPUs with more memory bandwidth.",
    ),
    Reason.MISSES_E2E: (
        "The upper end of the 90 % interval of the p95 end-to-end time is above the limit.",
        "A larger e2eP95Milliseconds, or shorter outputs.",
    ),
    Reason.MISSES_THROUGHPUT: (
        "Fewer output tokens per second than asked for.",
        "A smaller minOutputTokensPerSecond, or more load in a closed loop.",
    ),
    Reason.MISSES_DEADLINE: (
        "The upper end of the 90 % interval of the time of the batch is above the limit.",
        "A larger completeWithin, fewer requests, or more GPUs.",
    ),
    Reason.UNSTABLE: (
        "Requests arrive faster than they are served: the queue grows without end.",
        "More replicas, where GPUs and budget allow; else fewer requests per second.",
    ),
    Reason.DOMINATED: (
        "It keeps every limit, but others rank before it.",
        "Nothing: it is an alternative. Another preference ranks otherwise.",
    ),
}

# For people, in the order of use: what another limit, budget or load mends, what is an alternative
# already, what larger or other GPUs mend, and what nothing mends.
IN_WORDS: dict[Reason, str] = {
    Reason.OVER_BUDGET: "over the budget",
    Reason.MISSES_TTFT: "first token too late",
    Reason.MISSES_TPOT: "further tokens too slow",
    Reason.MISSES_E2E: "whole answer too late",
    Reason.MISSES_THROUGHPUT: "too few tokens per second",
    Reason.MISSES_DEADLINE: "done too late",
    Reason.TOO_FEW_REPLICAS: "fewer replicas than asked for",
    Reason.UNSTABLE: "cannot keep up with the load",
    Reason.NOT_ENOUGH_GPUS: "too few free GPUs",
    Reason.DOMINATED: "ranks behind",
    Reason.DOES_NOT_FIT: "does not fit in memory",
    Reason.SPANS_NODES: "larger than one node",
    Reason.SHARED_GPU: "its GPUs are time-shared",
    Reason.UNKNOWN_GPU: "unknown GPU",
    Reason.COMPUTE_CAPABILITY: "the GPU is too old for the engine",
    Reason.DRIVER_TOO_OLD: "the driver of the nodes is too old for the image",
    Reason.UNSUPPORTED_PRECISION: "the GPU lacks kernels for this precision",
    Reason.UNSUPPORTED_MODEL: "the engine cannot serve this model so",
    Reason.HEADS_NOT_DIVISIBLE: "attention heads do not divide",
    Reason.QUANT_GROUP_NOT_DIVISIBLE: "quantised weights do not divide",
}


def split_unready(recommendation: Recommendation) -> tuple[tuple[Rejection, ...], Counter[str]]:
    """The rejections of what could be deployed, and how many there are of each framework that
    lacks an image; all of them where nothing else was compared.
    """
    ready: list[Rejection] = []
    folded: Counter[str] = Counter()
    for item in recommendation.rejections:
        groups = () if item.candidate is None else item.candidate.groups
        lacking = next((g.framework for g in groups if g.framework in recommendation.unready), None)
        if lacking is None:
            ready.append(item)
        else:
            folded[lacking] += 1
    compared = {name for name, _ in recommendation.framework_versions}
    if compared <= set(recommendation.unready):
        return recommendation.rejections, Counter()
    return tuple(ready), folded


def no_image(name: str) -> str:
    """Why the candidates of a framework are one line."""
    field = FRAMEWORKS[name].image_field
    return f"{name} has no official image: compared in full once spec.deployment.{field} names one"
