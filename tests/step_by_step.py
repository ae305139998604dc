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
    admits = scheduling is Scheduling.PREFILL_OR_DECODE
    budget = draw(st.integers(1, 400))
    return Case(
        policy=SchedulerPolicy(
            scheduling=scheduling,
            max_num_seqs=draw(st.integers(1, 12)),
            # its chunks are whole pages
            token_budget=-(-budget // block) * block if admits else budget,
            block_tokens=block,
            kv_blocks=blocks,
            watermark_share=0.01 if scheduling is Scheduling.PREFILL_FIRST else 0.0,
            resume_hit_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
            max_new_tokens=draw(st.sampled_from([0, 30, 100, 4120])) if admits else 0,
            mixed_chunk=admits and draw(st.booleans()),
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
    full: bool = False  # SGLang: the queue is not asked
    share: float = 0.7  # and of what running requests may still ask, the part kept free

    def run(self) -> list[float]:
        case, cost = self.case, LayoutCost(FACTS, PARAMS)
        arrivals = list(case.arrivals)
        self.finish_s = [NEVER] * len(arrivals)
        arrived = 0
        while True:
            while arrived < len(arrivals) and arrivals[arrived] <= self.clock:
                self.waiting.append(arrived)
                arrived += 1
            chunks = self._formed()
            decodes = [] if chunks and not case.policy.mixes else list(self.running)
            if not chunks and not decodes:
                if arrived == len(arrivals) or arrivals[arrived] == NEVER:
                    return self.finish_s
                self.clock, self.share = arrivals[arrived], 0.7
                continue
            if not chunks:
                self.share = max(0.098, self.share - (0.7 - 0.098) / 600)
            self.clock += self._seconds(cost, chunks, decodes)
            ended = self._decoded(decodes) + self._prompted(chunks)
            self.full = self.full and not ended
            for _ in range(ended if case.users else 0):
                if NEVER in arrivals:
                    arrivals[arrivals.index(NEVER)] = self.clock

    def _formed(self) -> list[tuple[Sequence, int, int]]:
        scheduling = self.case.policy.scheduling
        if scheduling == Scheduling.PREFILL_FIRST:
            return self._whole()
        return self._alone() if scheduling == Scheduling.PREFILL_OR_DECODE else self._chunks()

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

    def _alone(self) -> list[tuple[Sequence, int, int]]:
        """SGLang's get_new_batch_prefill, token by token."""
        case, policy = self.case, self.case.policy
        page = policy.block_tokens
        self.full = self.full and bool(self.running)
        if not self.partial and (self.full or not self.waiting):
            return []

        def pages(tokens: int) -> int:
            return -(-tokens // page) * page

        def ask(sequence: Sequence) -> int:
            allowed = max(policy.max_new_tokens, case.outputs[sequence.request])
            return min(allowed - case.outputs[sequence.request] + sequence.left, 4096)

        room, chunk = self._free() * page, policy.token_budget
        if policy.mixes:
            room -= page * sum(s.context % page == 0 for s in self.running)
            chunk -= len(self.running)
            if room < 0:
                return []
        expected = self.share * sum(map(ask, self.running))
        chunks: list[tuple[Sequence, int, int]] = []
        for sequence in self.partial:
            left = case.prompts[sequence.request] - sequence.context
            new = left if pages(left) <= chunk else chunk // page * page
            new = min(new, room // page * page)
            if new <= 0:
                return []
            chunks.append((sequence, sequence.context, sequence.context + new))
            chunk, room, expected = chunk - pages(new), room - pages(new), expected + page
            if new < left:
                return chunks
            expected += ask(sequence)
        while self.waiting and chunk > 0:
            if len(self.running) + len(chunks) >= policy.max_num_seqs:
                self.full = True
                break
            sequence = Sequence(self.waiting[0], 0, case.outputs[self.waiting[0]])
            prompt, hit = case.prompts[sequence.request], self._hit(sequence.request)
            hit -= hit % page
            first = not self.running and not chunks
            if not first and prompt + ask(sequence) + page >= room - expected:
                self.full = True
                break
            if first and pages(prompt) > room:
                break
            left = prompt - hit
            new = left if pages(left) <= chunk else chunk // page * page
            if not new:
                break
            self.waiting.popleft()
            self.partial.append(sequence)
            chunks.append((sequence, hit, hit + new))
            chunk, room, expected = chunk - pages(new), room - pages(hit + new), expected + page
            if new < left:
                break
            expected += ask(sequence)
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
