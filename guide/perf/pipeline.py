"""Pipeline stages as vLLM makes them: what each computes, and what goes from one to the next."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from msgspec.structs import replace

from guide.domain import Gpu, LayerGroup, ModelArch
from guide.perf.memory import ACTIVATION_BYTES, pipeline_stages
from guide.perf.terms import StepParams
from guide.record import Record

# Between decoder layers go the hidden state and the residual beside it: `IntermediateTensors` in
# vLLM 0.33, model_executor/models/llama.py:444.
TENSORS = 2
# Of one node, where a replica goes over several: an assumption, since no inventory says it.
NIC_BYTES_PER_S = 12.5e9


class Stage(Record, frozen=True):
    """The layers of one stage as a model of their own; only the last one has the head."""

    arch: ModelArch
    head: bool

    def does_no_more_than(self, other: Stage) -> bool:
        """Whether the other stage has all that this one has, kind by kind."""
        counts = {_kind(group): group.count for group in other.arch.groups}
        return self.head <= other.head and all(
            group.count <= counts.get(_kind(group), 0) for group in self.arch.groups
        )


def _kind(group: LayerGroup) -> LayerGroup:
    return replace(group, layers=())


@lru_cache(maxsize=256)  # the same on all GPUs, under every framework
def heaviest_stages(arch: ModelArch, pp: int) -> tuple[Stage, ...]:
    """The stages among which the slowest is, whatever the step: without those that are part of
    another."""
    found: list[Stage] = []
    for stage in _stages(arch, pp):
        if not any(stage.does_no_more_than(other) for other in found):
            found = [one for one in found if not one.does_no_more_than(stage)]
            found.append(stage)
    return tuple(found)


def _stages(arch: ModelArch, pp: int) -> Iterator[Stage]:
    for number, layers in enumerate(pipeline_stages(arch.layers, pp)):
        groups = (
            replace(group, layers=tuple(i for i in group.layers if i in layers))
            for group in arch.groups
        )
        held = tuple(group for group in groups if group.layers)
        name = f"{arch.name}, stage {number + 1} of {pp}"
        yield Stage(replace(arch, name=name, groups=held), number == pp - 1)


def handed_on_bytes(arch: ModelArch) -> float:
    """What one token is when a stage hands it on."""
    return TENSORS * arch.hidden * ACTIVATION_BYTES


class Hops(Record, frozen=True):
    """What it takes to hand a batch of tokens on, from the first stage to the last, and by the
    slowest hop, for which a stage waits before its next batch.
    """

    latency_s: float
    token_s: float  # more per token
    slowest_latency_s: float
    slowest_token_s: float


def hops(arch: ModelArch, gpu: Gpu, pp: int, nodes: int, params: StepParams) -> Hops:
    """The hops of a replica; latency and share of the link are those of its all-reduces.

    Tensor-parallel ranks send a slice each and gather the rest, so that about the whole state
    crosses a link once (vLLM 0.33, distributed/parallel_state.py:1164).
    """
    state, latency_s = handed_on_bytes(arch), float(params.ca)
    near_s = state / (gpu.link.bytes_per_s * float(params.share_l))
    far_s = state / NIC_BYTES_PER_S
    return Hops(
        latency_s=(pp - 1) * latency_s,
        token_s=(pp - nodes) * near_s + (nodes - 1) * far_s,
        slowest_latency_s=latency_s,
        slowest_token_s=far_s if nodes > 1 else near_s,
    )
