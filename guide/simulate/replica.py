"""One replica as an event loop: a queue, KV blocks, and the steps that a scheduler forms.

The loop jumps from event to event. Between two events (a finish, a prompt, an arrival, an empty
block pool) every step is a decode of the same sequences, whose time is affine in its index, so any
number of steps has a closed form: the cost grows with requests, not with tokens, and never with the
batch size. What a step holds is decided in `guide.simulate.forming`.
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from guide.native import i64
from guide.simulate.decoding import NOBODY
from guide.simulate.forming import Forming
from guide.simulate.prompts import Prompts
from guide.simulate.state import NEVER as NEVER


@mypyc_attr(allow_interpreted_subclasses=True)
class ReplicaLoop(Forming):
    """A replica that runs: see `ReplicaState` for what it holds."""

    # -- the loop --------------------------------------------------------------------------------

    def run(self, *, more: bool = False) -> None:
        """Serve every request to its end; with `more`, until the last one has arrived: what comes
        then depends on the next arrival, which is not known yet.
        """
        while True:
            if self.next_arrival < self.known:
                self._arrive()
            if more and self.next_arrival >= self.known:
                return
            able = bool(self.partial) or (bool(self.waiting) and self._has_slot)
            if able and self._run_prompts(self._formed()):
                continue
            if self.decoding.members:
                self._decode()
            elif self.waiting or self.partial:
                self._unblock()
            elif self.next_arrival >= self.known:
                return
            else:
                self.admission.idle()
                self.clock = max(self.clock, self.arrival_s[self.next_arrival])

    @property
    def _has_slot(self) -> bool:
        """Whether the batch has room for one more that waits."""
        return len(self.decoding.members) + len(self.partial) < self.most_running

    def _arrive(self) -> None:
        while self.next_arrival < self.known and self.arrival_s[self.next_arrival] <= self.clock:
            self.waiting.append(self.next_arrival)
            self.next_arrival += 1

    def _unblock(self) -> None:
        """Nothing runs and nothing can be admitted: drop a half-done prompt, or refuse the one."""
        if len(self.partial) > 1:
            self._back_to_queue(self.partial.pop())
            return
        self._refuse((self.partial or self.waiting).popleft())

    def _next_user(self) -> None:
        if self.closed and self.known < len(self.prompt):
            self.arrival_s[self.known] = self.clock
            self.known += 1

    def _run_prompts(self, work: Prompts) -> bool:
        """Run one step with prompt work, if there is any; decodes ride along where they may."""
        if not work.tokens:
            return False
        mixed = self.mixes
        decodes: i64 = len(self.decoding.members) if mixed else 0
        self.clock += self.cost.prompt_step(
            work.tokens,
            work.sequences,
            work.pairs,
            work.window_pairs,
            decodes,
            float(self.decoding.context_sum) if mixed else 0.0,
            float(self.decoding.window_sum) if mixed else 0.0,
            decodes + len(work.complete),
        )
        if decodes:
            self._tick(1, falls=False)
        for request in work.complete:
            self._first_or_next_token(request)
        return True

    # -- decoding --------------------------------------------------------------------------------

    def _decode(self) -> None:
        """Run decode steps up to the next event."""
        decoding, retracted = self.decoding, False
        members: i64 = len(decoding.members)
        steps = decoding.steps_to_event()
        if steps > 1 and self.next_arrival < self.known and (self.partial or self._has_slot):
            # whoever finds the batch full waits for an end, however many arrive until then
            gap = self.arrival_s[self.next_arrival] - self.clock
            context, window = float(decoding.context_sum), float(decoding.window_sum)
            growing = len(decoding.growing)
            within = self.cost.decode_steps_within(gap, members, context, window, growing)
            steps = min(steps, within)
        while (possible := decoding.steps_within_blocks(steps, self.free_blocks)) < steps:
            self.starved = True
            if possible:
                break
            self._preempt()
            if not decoding.members:
                return
            if self.admits:  # the queue is asked again after one step
                steps = 1
                retracted = True
        members = len(decoding.members)
        contexts, windows = decoding.mean_sums(possible)
        self.clock += self.cost.decode_run(possible, members, contexts, windows)
        self._tick(possible, falls=not retracted)

    def _tick(self, steps: i64, *, falls: bool) -> None:
        self.admission.decoded(steps, falls=falls)
        self._occupy(self.decoding.blocks_for(steps))
        self.decoding.advance(steps)
        request = self.decoding.ended()
        while request != NOBODY:
            self._leave(request)
            self._end(request)
            request = self.decoding.ended()

    def _first_or_next_token(self, request: i64) -> None:
        """The prompt is computed and one token sampled: decode from here on."""
        if self.first_token_s[request] == NEVER:  # else it was preempted after its first
            self.first_token_s[request] = self.clock
        length = self._target(request)
        self.generated[request] += 1
        if self.generated[request] >= self.output[request]:
            self._end(request)
            return
        self.decoding.enter(request, length, self.output[request] - self.generated[request])
        if self.admits:
            self.admission.enter(request, self._most(request) - self.generated[request])

    def _leave(self, request: i64) -> i64:
        length, grown = self.decoding.leave(request)
        self.blocks[request] = self._blocks_of(length)
        self.generated[request] += grown
        if self.admits:
            self.admission.leave(request)
        return length

    def _end(self, request: i64) -> None:
        self.finish_s[request] = self.clock
        self.admission.full = False
        self._release(request)
        self._next_user()

    def _refuse(self, request: i64) -> None:
        """It can never fit: it leaves without a time, also one that had begun to answer."""
        self.start_s[request] = self.first_token_s[request] = NEVER
        self.refused.append(request)
        self.admission.full = False
        self._release(request)
        self._next_user()

    def _preempt(self) -> None:
        """Out of blocks: recompute the newest later (FastGen: all of them, its deadlock flush;
        SGLang: those that it chooses)."""
        if self.partial:
            self._back_to_queue(self.partial.pop())
            return
        members = self.decoding.members
        victims = [self.decoding.newest()]
        if len(members) == 1:  # alone and still too long for the cache
            self._leave(victims[0])
            self._refuse(victims[0])
            return
        if self.admits:
            self._retract()
            return
        if self.whole_fit:
            victims = list(reversed(members))
        for request in victims:
            self.computed[request] = self._leave(request)
            self._back_to_queue(request)

    def _retract(self) -> None:
        """Send the shortest answers (then the longest prompts) to the end of the queue, until a
        step of the others fits.
        """
        decoding = self.decoding
        produced = {
            r: self.generated[r] + decoding.tick - decoding.entered[r] for r in decoding.members
        }
        stay = sorted(produced, key=lambda r: (-produced[r], self.prompt[r]))
        while len(stay) > 1:
            request = stay.pop()
            self.computed[request] = self._leave(request)
            self._back_to_queue(request, last=True)
            if decoding.blocks_next() <= self.free_blocks:
                break
        self.admission.retracted(
            sum(produced[r] for r in stay), sum(map(self._most, stay)), len(stay)
        )

    # -- blocks ----------------------------------------------------------------------------------

    def _back_to_queue(self, request: i64, *, last: bool = False) -> None:
        """Preempted: its blocks are freed, and some may still hold its tokens when it returns."""
        kept: i64 = int(self.policy.resume_hit_share * float(self.computed[request]))
        self.cached[request] = max(self.cached[request], kept)
        self.computed[request] = 0
        self._release(request)
        (self.waiting.append if last else self.waiting.appendleft)(request)
        self.preemptions += 1
