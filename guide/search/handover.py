"""The KV cache of prompts on its way from prefill to decode replicas of one pool of GPUs."""

from __future__ import annotations

import math

from guide.domain import Plan, Route
from guide.perf.handover import Lanes, busy_share, replica_kv_bytes_per_token, transfer_s
from guide.search.operating_point import Replica
from guide.simulate.arrivals import quantile_tokens

BUSIEST = 0.8  # of a route: beyond, a little more load makes transfers wait for ever


def long_tokens(plan: Plan) -> float:
    """A prompt at the p95 of the lengths."""
    prompt = plan.workload.prompt
    return prompt.p95_tokens or quantile_tokens(prompt, 0.95)


class Handover:
    """Replicas of two kinds, and one route between them."""

    def __init__(self, prefill: Replica, decode: Replica, route: Route, plan: Plan) -> None:
        self.sides, self.route, self.plan = (prefill, decode), route, plan
        self.bytes_per_token = max(
            replica_kv_bytes_per_token(one.memory.kv_bytes_per_token, one.shape.gpus)
            for one in self.sides
        )
        mean, longest = plan.workload.prompt.mean_tokens, prefill.limits.max_model_len
        self.mean_bytes = self.bytes_per_token * min(longest, mean)
        self.long_bytes = self.bytes_per_token * min(longest, long_tokens(plan))

    @property
    def _rate_per_s(self) -> float:
        return self.plan.workload.requests_per_s or 0.0

    def _lanes(self, side: Replica, replicas: int) -> Lanes:
        shape = side.shape
        if self.route is Route.LINK:
            return Lanes(replicas, shape.gpus * shape.gpu.link.bytes_per_s)
        asked = self.plan.disaggregation
        assert asked is not None  # nobody else asks
        # the busiest node has a full set of replicas, whatever is left for the last one
        return Lanes(max(1.0, replicas / self._on_a_node(side)), asked.network_bytes_per_s)

    def _both(self, *replicas: int) -> list[Lanes]:
        return [self._lanes(*pair) for pair in zip(self.sides, replicas, strict=True)]

    @staticmethod
    def _on_a_node(side: Replica) -> int:
        """Replicas that share the network of a node, once they are packed."""
        return max(1, side.shape.pool.gpus_per_node // side.shape.gpus)

    def busy(self, prefills: int, decodes: int) -> float:
        """Share of the time that the busier side sends or receives."""
        each = self._both(prefills, decodes)
        return max(busy_share(self.mean_bytes, self._rate_per_s, lanes) for lanes in each)

    def seconds(self, prefills: int, decodes: int) -> float:
        """Of a long prompt."""
        each = self._both(prefills, decodes)
        return transfer_s(self.long_bytes, self.mean_bytes, self._rate_per_s, *each)

    def fewest_senders(self, decodes: int) -> int | None:
        """Prefill replicas whose network sends what comes; None where the decode replicas cannot
        receive it, or the GPUs have no link."""
        sender, receiver = self.sides
        if self.route is Route.LINK and not sender.shape.gpu.linked:
            return None
        lanes = self._lanes(receiver, decodes)
        if busy_share(self.mean_bytes, self._rate_per_s, lanes) > BUSIEST:
            return None
        alone = busy_share(self.mean_bytes, self._rate_per_s, self._lanes(sender, 1))
        each = 1 if self.route is Route.LINK else self._on_a_node(sender)
        return 1 if alone <= BUSIEST else math.ceil(each * alone / BUSIEST)

    def has_room(self, *parts: tuple[int, int]) -> bool:
        """Whether (GPUs of a replica, replicas) find free GPUs: on one node, or in one NVLink
        domain, where its link is the route."""
        pool = self.sides[0].shape.pool
        if self.route is Route.NETWORK:
            return pool.holds(*parts)
        rooms = (*pool.free_gpus_by_node, *map(sum, pool.nvlink_domains))
        return sum(gpus * count for gpus, count in parts) <= max(rooms, default=0)
