"""The requests of one replica in a benchmark: how many, how long, and when they arrive."""

from __future__ import annotations

import math

import numpy as np

from guide.measured.lengths import draw
from guide.measured.measurements import Measurement
from guide.measured.protocols import Protocol
from guide.record import Record
from guide.simulate.replica import NEVER


class Load(Record, frozen=True, kw_only=True):
    """One element a request."""

    prompts: tuple[int, ...]
    outputs: tuple[int, ...]
    arrivals: tuple[float, ...]
    cached: tuple[int, ...]
    closed_users: int | None
    copies: int  # replicas (or engines, or attention ranks) that each serve such a load
    wave: int  # requests that arrive together at the start


def _replicas(row: Measurement, attention_ranks: int) -> int:
    """Independent copies behind one balancer: dp, where neither experts nor ranks join them."""
    return row.dp // attention_ranks if row.ep == 1 and row.dp > attention_ranks else 1


def load_of(row: Measurement, protocol: Protocol, attention_ranks: int) -> Load:
    """Lengths and arrivals at one replica, by kind of benchmark and protocol."""
    copies = _replicas(row, attention_ranks) * row.pp
    users: int | None = None
    if row.kind == "concurrency":
        users = max(1, round(row.load / copies / attention_ranks))
        count = protocol.requests or (protocol.requests_per_user or 10) * users
        count = max(users, count // (copies if protocol.requests else 1))
    elif row.kind == "rate":
        count = protocol.requests or 300
    else:
        count = max(1, round((protocol.prompts or row.load) / copies))
    prompts, outputs = draw(protocol.lengths, row.prompt_tokens, row.output_tokens, count)
    arrivals = np.zeros(count)
    wave = count
    if users is not None:
        wave = min(users, count)
        arrivals[wave:] = NEVER
    elif row.kind == "rate":
        wave = 1
        gaps = np.full(count, copies / row.load)
        if protocol.arrivals == "poisson":
            gaps = -np.log1p(-(np.arange(count) + 0.5) / count) * copies / row.load
            np.random.default_rng(7).shuffle(gaps)
        arrivals = np.cumsum(gaps) - gaps[0]
    elif protocol.start_lag_s:
        arrivals = np.arange(count) * protocol.start_lag_s * math.sqrt(row.tp)
    cached = np.floor(prompts * protocol.prefix_hit_share / 16).astype(int) * 16
    cached[: protocol.warm_prompts] = prompts[: protocol.warm_prompts]
    return Load(
        prompts=tuple(prompts.tolist()),
        outputs=tuple(outputs.tolist()),
        arrivals=tuple(arrivals.tolist()),
        cached=tuple(cached.tolist()),
        closed_users=users,
        copies=copies * attention_ranks,
        wave=wave,
    )
