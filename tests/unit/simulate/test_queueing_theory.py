"""The simulator against closed forms of queueing theory, where its service is made to match them.

A replica that admits one request at a time and answers with one token is a single server whose
service time is the price of the prompt: M/D/1 and M/M/1. When a decode step costs the same for any
batch, `max_num_seqs` = c makes it c servers: M/M/c. Waiting times are correlated, so the standard
error comes from means of long batches; four of them are the tolerance.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from guide.domain import SchedulerPolicy, Scheduling
from guide.simulate.cost import StepCost
from guide.simulate.replica import NEVER, ReplicaLoop

Floats = npt.NDArray[np.float64]
BATCHES = 40
ERRORS = 4.0  # standard errors: once in 16,000 seeds by chance, and the seeds are fixed


@dataclass
class Priced(StepCost):
    """A step cost of two constants, which also integrates the requests that it sees in the system.

    A prompt token, a decode step and a step with prompts have a price; batch and context have none.
    """

    prompt_token_s: float
    decode_step_s: float
    prompt_step_s: float = 0.0
    replica: ReplicaLoop | None = None
    request_seconds: float = 0.0

    def prompt_step(self, tokens: int, *_: float) -> float:
        assert self.replica is not None
        ends = len(self.replica.prompts.complete)  # of whom some never waited among the begun
        return self._spend(tokens * self.prompt_token_s + self.prompt_step_s, ends)

    def decode_run(self, steps: int, *_: float) -> float:
        return self._spend(steps * self.decode_step_s)

    def decode_steps_within(self, seconds: float, *_: float) -> int:
        return max(1, math.ceil(seconds / self.decode_step_s))

    def _spend(self, seconds: float, ends: int = 0) -> float:
        replica = self.replica
        assert replica is not None
        inside = len(replica.waiting) + len(replica.partial) + ends + len(replica.decoding)
        end = replica.clock + seconds
        # a run of steps may go over arrivals that find the batch full
        meanwhile = range(replica.next_arrival, bisect_left(list(replica.arrival_s), end))
        self.request_seconds += inside * seconds
        self.request_seconds += sum(end - replica.arrival_s[one] for one in meanwhile)
        return seconds


def serve(
    cost: Priced,
    prompts: npt.NDArray[np.int64],
    outputs: npt.NDArray[np.int64],
    arrivals: Floats,
    servers: int,
    scheduling: Scheduling = Scheduling.PREFILL_FIRST,
    users: int | None = None,
) -> ReplicaLoop:
    longest = int(prompts.max())
    policy = SchedulerPolicy(
        scheduling=scheduling,
        max_num_seqs=servers,
        token_budget=-(-(longest + servers) // 16) * 16,
        block_tokens=16,
        kv_blocks=int((prompts + outputs).max() // 16 + 1) * servers * 2 + 1,
    )
    replica = ReplicaLoop(
        policy,
        cost,
        prompts.tolist(),
        outputs.tolist(),
        arrivals.tolist(),
        closed_users=users,
    )
    cost.replica = replica
    replica.run()
    assert not replica.refused
    assert not replica.preemptions
    return replica


def poisson(rng: np.random.Generator, rate: float, count: int) -> Floats:
    return np.cumsum(rng.exponential(1 / rate, count))


def waits(replica: ReplicaLoop) -> Floats:
    return np.array(replica.start_s) - np.array(replica.arrival_s)


def mean_and_error(values: Floats) -> tuple[float, float]:
    """Mean after warm-up and its standard error from the means of long batches."""
    settled = values[len(values) // 10 :]
    means = settled[: len(settled) // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(BATCHES))


def agrees(values: Floats, expected: float, bias: float = 0.0) -> None:
    mean, error = mean_and_error(values)
    assert error < 0.12 * expected, "too few requests to tell anything"
    assert abs(mean - expected) < ERRORS * error + bias


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival waits, at `load` = arrival rate x service time."""
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_deterministic_service_waits_as_m_d_1(busy: float):
    """Pollaczek-Khinchine: Wq = rho s / (2 (1 - rho))."""
    rng, count, service_s = np.random.default_rng(1), 30_000, 0.25
    prompts, outputs = np.full(count, 100), np.ones(count, dtype=np.int64)
    cost = Priced(service_s / 100, 1.0)
    replica = serve(cost, prompts, outputs, poisson(rng, busy / service_s, count), 1)
    agrees(waits(replica), busy * service_s / (2 * (1 - busy)))


@pytest.mark.parametrize(
    ("busy", "scheduling"),
    [(0.3, Scheduling.PREFILL_FIRST), (0.7, Scheduling.TOKEN_BUDGET)],
)
def test_exponential_service_waits_as_m_m_1(busy: float, scheduling: Scheduling):
    """Wq = rho s / (1 - rho), under every scheduler: one request at a time leaves no choice."""
    rng, count, service_s = np.random.default_rng(2), 30_000, 0.25
    prompts = 1 + np.floor(rng.exponential(10_000, count)).astype(np.int64)
    outputs = np.ones(count, dtype=np.int64)
    cost = Priced(service_s / 10_000, 1.0)
    replica = serve(cost, prompts, outputs, poisson(rng, busy / service_s, count), 1, scheduling)
    agrees(waits(replica), busy * service_s / (1 - busy), bias=1e-3 * service_s)


STEP_S = 1e-3


def decoding(
    servers: int, busy: float, scheduling: Scheduling, count: int = 30_000
) -> tuple[ReplicaLoop, Priced, float, Floats]:
    """Requests that are all decoding: about 1,000 steps of 1 ms.

    Where prompts ride along with decodes their step lasts as long as any other; where they run
    alone (V0, SGLang), it takes no time, and the first token comes for nothing. Returns the arrival
    rate and every service time beside the replica and its cost.
    """
    rng = np.random.default_rng(3)
    outputs = 2 + np.floor(rng.exponential(1000, count)).astype(np.int64)
    alone = scheduling in (Scheduling.PREFILL_FIRST, Scheduling.PREFILL_OR_DECODE)
    services = (outputs - alone) * STEP_S
    rate = busy * servers / (1001.5 - alone) / STEP_S
    cost = Priced(1e-12, STEP_S, 0.0 if alone else STEP_S)
    prompts = np.ones(count, dtype=np.int64)
    replica = serve(cost, prompts, outputs, poisson(rng, rate, count), servers, scheduling)
    return replica, cost, rate, services


@pytest.mark.parametrize(
    ("servers", "busy", "scheduling"),
    [
        (3, 0.6, Scheduling.PREFILL_FIRST),
        (8, 0.75, Scheduling.TOKEN_BUDGET),
    ],
)
def test_slots_wait_as_m_m_c(servers: int, busy: float, scheduling: Scheduling):
    """Erlang C: Wq = P(wait) s / (c (1 - rho)); an arrival also waits for the running step."""
    replica, _, rate, _ = decoding(servers, busy, scheduling)
    service_s = busy * servers / rate
    expected = erlang_c(servers, busy * servers) * service_s / (servers * (1 - busy))
    agrees(waits(replica), expected, bias=2 * STEP_S)


def recursion(arrivals: Floats, services: Floats, servers: int) -> Floats:
    """Waits of a first-come-first-served queue, one request after another (Kiefer-Wolfowitz)."""
    free = [0.0] * servers
    out = np.empty(len(arrivals))
    for i, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + service)
        out[i] = start - arrival
    return out


def test_every_wait_of_one_server_follows_lindley():
    """No sampling error at all: the same arrivals and services, request by request."""
    rng, count = np.random.default_rng(5), 5_000
    prompts = 1 + np.floor(rng.exponential(10_000, count)).astype(np.int64)
    arrivals = poisson(rng, 0.9 / 0.25, count)
    cost = Priced(0.25 / 10_000, 1.0)
    replica = serve(cost, prompts, np.ones(count, dtype=np.int64), arrivals, 1)
    exact = recursion(arrivals, prompts * cost.prompt_token_s, 1)
    np.testing.assert_allclose(waits(replica), exact, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("scheduling", list(Scheduling))
def test_every_wait_of_many_slots_follows_the_recursion(scheduling: Scheduling):
    """Slots free and requests start between steps: each wait is exact to two steps of 1 ms."""
    replica, _, _, services = decoding(6, 0.9, scheduling, count=5_000)
    exact = recursion(np.array(replica.arrival_s), services, 6)
    difference = waits(replica) - exact
    assert exact.mean() > 0.3  # long queues, so the bound below means something
    assert np.abs(difference).max() < 2 * STEP_S


def test_littles_law_of_an_open_queue():
    """L = lambda W: requests in the system, seen step by step, against their times in it."""
    replica, cost, rate, _ = decoding(4, 0.8, Scheduling.TOKEN_BUDGET, count=10_000)
    inside = np.array(replica.finish_s) - np.array(replica.arrival_s)
    in_system = cost.request_seconds / replica.clock
    offered = len(inside) / replica.clock
    assert offered == pytest.approx(rate, rel=4 / math.sqrt(len(inside)))
    assert offered * float(inside.mean()) == pytest.approx(in_system, rel=1e-9)


def test_littles_law_of_the_slots():
    """Running sequences = throughput x service time, by the replica's own count of ticks."""
    replica, _, _, _ = decoding(8, 0.7, Scheduling.TOKEN_BUDGET, count=10_000)
    running = replica.decoding.sequence_ticks * STEP_S / replica.clock
    spread = math.sqrt(2 / 10_000)  # arrivals and exponential lengths both vary
    assert running == pytest.approx(8 * 0.7, rel=4 * spread)


@pytest.mark.parametrize("users", [2, 8, 32])
def test_littles_law_of_a_closed_loop(users: int):
    """N users without think time: throughput x response time = N until the last request starts."""
    count, rng = 200 * users, np.random.default_rng(4)
    outputs = 2 + np.floor(rng.exponential(200, count)).astype(np.int64)
    prompts = np.full(count, 50)
    arrivals = np.full(count, NEVER)
    arrivals[:users] = 0.0
    replica = serve(
        Priced(1e-5, 1e-3), prompts, outputs, arrivals, 4, Scheduling.TOKEN_BUDGET, users
    )
    finish, arrival = np.array(replica.finish_s), np.array(replica.arrival_s)
    end = arrival[-1]  # from here on users leave
    finished = finish <= end
    throughput = finished.sum() / end
    response_s = float((finish - arrival)[finished].mean())
    # at both ends at most N requests are cut
    assert throughput * response_s == pytest.approx(users, rel=2 * users / count)
    assert np.array_equal(np.sort(arrival[users:]), np.sort(finish)[: count - users])
