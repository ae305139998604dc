"""Cases for the simulator, and a reference that takes every step and keeps every sequence."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import SchedulerPolicy, Scheduling
from guide.models.precision import PRECISIONS
from guide.perf.fits import PARAMETERS, constants, latent_centre
from guide.perf.ops import Layout
from guide.perf.step import fold
from guide.simulate.cost import LayoutCost, StepCost
from guide.simulate.replica import NEVER, ReplicaLoop

CATALOG = load()
ARCH = CATALOG.models["openai/gpt-oss-20b"]  # full and windowed layers: both sums have a price
FACTS = fold(ARCH, CATALOG.gpus["L40S"], PRECISIONS["mxfp4"], Layout())._replace(
    # context made dear, so that a run of steps that misjudged its growth would show
    kv_token_s=3e-6,
    window_token_s=2e-5,
)
PARAMS, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})


@dataclass(frozen=True, kw_only=True)
class Case:
    policy: SchedulerPolicy
    prompts: list[int]
    outputs: list[int]
    arrivals: list[float]
    cached: list[int]
    window: int | None
    users: int | None

    def replica(self, cost: StepCost) -> ReplicaLoop:
        return ReplicaLoop(
            self.policy,
            cost,
            self.prompts,
            self.outputs,
            self.arrivals,
            window=self.window,
            cached=self.cached,
            closed_users=self.users,
        )


@st.composite
def cases(
    draw: st.DrawFn, schedulers: tuple[Scheduling, ...] = tuple(Scheduling), tight: bool = True
) -> Case:
    count = draw(st.integers(1, 24))

    def lengths(most: int) -> list[int]:
        return draw(st.lists(st.integers(1, most), min_size=count, max_size=count))

    prompts, outputs = lengths(300), lengths(60)
    users = draw(st.none() | st.integers(1, 8))
    if users is None:
        gap = draw(st.sampled_from([1e-4, 1e-2, 1.0]))
        arrivals = sorted(
            x * gap for x in draw(st.lists(st.floats(0, 10), min_size=count, max_size=count))
        )
    else:
        arrivals = [0.0] * min(users, count) + [NEVER] * max(0, count - users)
    block = draw(st.sampled_from([1, 3, 16, 64]))
    everything = sum(-(-(p + o) // block) for p, o in zip(prompts, outputs, strict=True))
    blocks = draw(st.integers(1, everything)) if tight else everything
    scheduling = draw(st.sampled_from(schedulers))
    return Case(
        policy=SchedulerPolicy(
            scheduling=scheduling,
            max_num_seqs=draw(st.integers(1, 12)),
            token_budget=draw(st.integers(1, 400)),
            block_tokens=block,
            kv_blocks=blocks,
            watermark_share=0.01 if scheduling is Scheduling.PREFILL_FIRST else 0.0,
            resume_hit_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
        ),
        prompts=prompts,
        outputs=outputs,
        arrivals=arrivals,
        cached=[draw(st.sampled_from([0, p // 2, p])) for p in prompts],
        window=draw(st.none() | st.sampled_from([1, 20, 128])),
        users=users,
    )


@dataclass
class Sequence:
    request: int
    context: int  # tokens in the cache
    left: int


@dataclass
class StepByStep:
    """A reference that runs every single step and keeps every sequence; no preemption."""

    case: Case
    clock: float = 0.0
    running: list[Sequence] = field(default_factory=list[Sequence])
    partial: list[Sequence] = field(default_factory=list[Sequence])
    waiting: deque[int] = field(default_factory=deque[int])
    finish_s: list[float] = field(default_factory=list[float])

    def run(self) -> list[float]:
        case, cost = self.case, LayoutCost(FACTS, PARAMS)
        arrivals = list(case.arrivals)
        self.finish_s = [NEVER] * len(arrivals)
        arrived = 0
        while True:
            while arrived < len(arrivals) and arrivals[arrived] <= self.clock:
                self.waiting.append(arrived)
                arrived += 1
            chunks = self._whole() if self._v0() else self._chunks()
            decodes = [] if chunks and self._v0() else list(self.running)
            if not chunks and not decodes:
                if arrived == len(arrivals) or arrivals[arrived] == NEVER:
                    return self.finish_s
                self.clock = arrivals[arrived]
                continue
            self.clock += self._seconds(cost, chunks, decodes)
            ended = self._decoded(decodes) + self._prompted(chunks)
            for _ in range(ended if case.users else 0):
                if NEVER in arrivals:
                    arrivals[arrivals.index(NEVER)] = self.clock

    def _v0(self) -> bool:
        return self.case.policy.scheduling == Scheduling.PREFILL_FIRST

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.case.policy.block_tokens)

    def _free(self) -> int:
        held = sum(self._blocks(s.context) for s in self.running + self.partial)
        return self.case.policy.kv_blocks - held

    def _hit(self, request: int) -> int:
        return min(self.case.cached[request], self.case.prompts[request] - 1)

    def _whole(self) -> list[tuple[Sequence, int, int]]:
        policy, chunks, tokens = self.case.policy, [], 0
        while self.waiting and len(self.running) + len(chunks) < policy.max_num_seqs:
            request = self.waiting[0]
            prompt, hit = self.case.prompts[request], self._hit(request)
            taken = sum(self._blocks(end) for _, _, end in chunks)
            room = self._free() - taken - self._blocks(prompt)
            if room < policy.watermark_share * policy.kv_blocks:
                break
            if chunks and tokens + prompt - hit > policy.token_budget:
                break
            self.waiting.popleft()
            tokens += prompt - hit
            chunks.append((Sequence(request, 0, self.case.outputs[request]), hit, prompt))
        return chunks

    def _chunks(self) -> list[tuple[Sequence, int, int]]:
        policy, chunks = self.case.policy, []
        budget = policy.token_budget - len(self.running)
        free = self._free() - sum(s.context % policy.block_tokens == 0 for s in self.running)
        if free < 0:
            return []
        queue = [*self.partial]
        for sequence in queue:
            end = min(sequence.context + budget, self.case.prompts[sequence.request])
            need = self._blocks(end) - self._blocks(sequence.context)
            if end == sequence.context or need > free:
                break
            chunks.append((sequence, sequence.context, end))
            budget, free = budget - (end - sequence.context), free - need
        while (
            budget > 0
            and self.waiting
            and len(self.running) + len(self.partial) < policy.max_num_seqs
        ):
            request = self.waiting[0]
            hit = self._hit(request)
            end = min(hit + budget, self.case.prompts[request])
            if self._blocks(end) > free:
                break
            if policy.scheduling == Scheduling.SPLIT_FUSE and (
                self._blocks(self.case.prompts[request]) > free
            ):
                break
            self.waiting.popleft()
            sequence = Sequence(request, 0, self.case.outputs[request])
            self.partial.append(sequence)
            chunks.append((sequence, hit, end))
            budget, free = budget - (end - hit), free - self._blocks(end)
        return chunks

    def _seconds(
        self, cost: LayoutCost, chunks: list[tuple[Sequence, int, int]], decodes: list[Sequence]
    ) -> float:
        window = self.case.window or 0
        context = sum(s.context for s in decodes)
        inside = sum(min(s.context, window) for s in decodes)
        if not chunks:
            return cost.decode_run(1, len(decodes), context, inside)
        keys = [i + 1 for _, begin, end in chunks for i in range(begin, end)]
        complete = sum(end == self.case.prompts[s.request] for s, _, end in chunks)
        return cost.prompt_step(
            len(keys),
            len(chunks),
            sum(keys),
            sum(min(k, window) for k in keys),
            len(decodes),
            context,
            inside,
            len(decodes) + complete,
        )

    def _decoded(self, decodes: list[Sequence]) -> int:
        for sequence in decodes:
            sequence.context += 1
            sequence.left -= 1
        return self._end([s for s in decodes if not s.left])

    def _prompted(self, chunks: list[tuple[Sequence, int, int]]) -> int:
        complete: list[Sequence] = []
        for sequence, _, end in chunks:
            sequence.context = end
            if end == self.case.prompts[sequence.request]:
                if sequence in self.partial:
                    self.partial.remove(sequence)
                self.running.append(sequence)
                sequence.left -= 1
                complete.append(sequence)
        return self._end([s for s in complete if not s.left])

    def _end(self, ended: list[Sequence]) -> int:
        for sequence in ended:
            self.finish_s[sequence.request] = self.clock
            self.running.remove(sequence)
        return len(ended)
