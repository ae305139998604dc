"""Which prompts the next step holds: the schedulers (`guide.domain.Scheduling`).

vLLM V0 takes whole prompts first; vLLM V1 gives one token budget to decodes and then to chunks of
prompts; FastGen's Dynamic SplitFuse does the same with a fixed budget and admits a prompt only
when all of it fits; SGLang runs prompts whenever something may enter, and else decodes.
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from guide.native import i64
from guide.simulate.admission import CLIP_TOKENS
from guide.simulate.prompts import Prompts
from guide.simulate.state import NEVER, ReplicaState


@mypyc_attr(allow_interpreted_subclasses=True)
class Forming(ReplicaState):
    """Forms steps; what runs them is `guide.simulate.replica`."""

    def _formed(self) -> Prompts:
        """The prompt work of the next step."""
        self.prompts.begin()
        if self.whole_first:
            return self._whole_prompts()
        return self._prompts_alone() if self.admits else self._chunked_prompts()

    def _whole_prompts(self) -> Prompts:
        work = self.prompts
        while self.waiting and len(self.decoding.members) + work.sequences < self.most_running:
            request: i64 = self.waiting[0]
            length = self._target(request)
            hit = self._look_up(request)
            need = self._blocks_of(length) - self.blocks[request]
            over = bool(work.sequences) and work.tokens + length - hit > self.token_budget
            if over or float(self.free_blocks - need) < self.reserved_blocks:
                self.starved = self.starved or not over
                self.blocks[request] = 0
                break
            self.waiting.popleft()
            self._take(request, need)
            self._add(work, request, hit, length - hit)
            work.complete.append(request)
        return work

    def _chunked_prompts(self) -> Prompts:
        decodes: i64 = len(self.decoding.members)
        work = self.prompts
        promised = self.decoding.blocks_next()  # decodes take their blocks first
        budget = self.token_budget - decodes * self.tokens_per_decode
        if budget <= 0 or promised > self.free_blocks:
            self.starved = self.starved or promised > self.free_blocks
            return work
        for begun in tuple(self.partial) if self.partial else ():
            used = self._chunk(work, begun, budget, promised)
            if not used:
                break
            budget -= used
        self._forget_complete(work)
        while budget > 0 and self.waiting:
            done: i64 = len(work.complete)
            if decodes + len(self.partial) + done >= self.most_running:
                break
            request: i64 = self.waiting[0]
            needed = self._blocks_of(self._target(request))
            if self.whole_fit and needed > self.free_blocks - promised:
                self.starved = True
                break
            self.computed[request] = self._look_up(request)
            used = self._chunk(work, request, budget, promised)
            if not used:
                self.blocks[request] = 0
                break
            self.waiting.popleft()
            if len(work.complete) == done:
                self.partial.append(request)
            budget -= used
        return work

    def _forget_complete(self, work: Prompts) -> None:
        """Who was begun before and ends its prompt with this step is begun no longer."""
        for request in work.complete:
            self.partial.remove(request)

    def _chunk(self, work: Prompts, request: i64, budget: i64, promised: i64) -> i64:
        """Add the request's next chunk to the step; 0 when the budget or the blocks forbid it."""
        before = self.computed[request]
        target = self._target(request)
        used = min(budget, target - before)
        need = self._blocks_of(before + used) - self.blocks[request]
        if used <= 0 or need > self.free_blocks - promised:
            self.starved = self.starved or used > 0
            return 0
        self._take(request, need)
        self.computed[request] = before + used
        self._add(work, request, before, used)
        if before + used == target:
            work.complete.append(request)
        return used

    def _add(self, work: Prompts, request: i64, before: i64, new: i64) -> None:
        work.add(before, new, self.window)
        if self.start_s[request] == NEVER:
            self.start_s[request] = self.clock

    # -- a batch of prompts, or one of decodes -----------------------------------------------------

    def _prompts_alone(self) -> Prompts:
        """Prompts whenever something may enter: one that was begun, then the queue in its order.

        Memory is kept free for what those that run may still ask for, and who finds none holds up
        all behind. Nobody is asked again before somebody leaves.
        """
        admission, work = self.admission, self.prompts
        decodes: i64 = len(self.decoding.members)
        page = self.block_tokens
        if not decodes:
            admission.full = False
        if not self.partial and (admission.full or not self.waiting):
            return work
        promised: i64 = self.decoding.blocks_next() if self.mixes else 0
        if promised > self.free_blocks:
            self.starved = True
            return work
        slots = self.most_running - decodes
        budget = self.token_budget - (decodes if self.mixes else 0)
        kept = promised * page
        expected = admission.expected_tokens()
        for half in tuple(self.partial) if self.partial else ():
            budget -= self._pages(work, half, budget, promised)
            kept += page + (self._may_ask(half) if work.complete else 0)
        self._forget_complete(work)
        begun = bool(self.partial)  # only one may be half done
        while budget > 0 and self.waiting and not begun:
            if work.sequences >= slots:
                admission.full = True
                break
            request: i64 = self.waiting[0]
            found = self._look_up(request)
            alone = not decodes and not work.sequences
            length = self._target(request) - self.blocks[request] * page
            if alone:  # max_tokens is cut to what there is
                short = self._blocks_of(length) > self.free_blocks
            else:
                ask = self._may_ask(request)
                spare = self.free_blocks * page - kept
                short = float(length + ask + page) >= float(spare) - expected
            if short:
                self.blocks[request] = 0
                self.starved = True
                admission.full = not alone
                break
            self.computed[request] = found // page * page
            done = len(work.complete)
            used = self._pages(work, request, budget, promised)
            if not used:
                self.blocks[request] = 0
                break
            self.waiting.popleft()
            begun = len(work.complete) == done
            if begun:
                self.partial.append(request)
            budget -= used
            kept += page + (0 if begun else self._may_ask(request))
        return work

    def _may_ask(self, request: i64) -> i64:
        """Tokens that a request may still produce by what its client allows, as counted."""
        return min(self._most(request) - self.generated[request], CLIP_TOKENS)

    def _pages(self, work: Prompts, request: i64, budget: i64, promised: i64) -> i64:
        """Add what is left of the request, or whole pages of it; the budget that this takes."""
        page = self.block_tokens
        before = self.computed[request]
        used = self._target(request) - before
        if -(-used // page) * page > budget:
            used = budget // page * page
        room = (self.blocks[request] + self.free_blocks - promised) * page - before
        if used > room:
            self.starved = True
            used = room // page * page
        if used <= 0:
            return 0
        self._take(request, self._blocks_of(before + used) - self.blocks[request])
        self.computed[request] = before + used
        self._add(work, request, before, used)
        if before + used == self._target(request):
            work.complete.append(request)
        return -(-used // page) * page
