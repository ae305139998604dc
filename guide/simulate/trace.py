"""A recorded trace of requests, replayed through one layout.

The trace names when each request arrives and how long its prompt and its answer are. A Service
splits connections at random and evenly, so requests are dealt to the replicas by seeded dice; the
virtual engines that pipeline stages make take turns.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from guide.answer import MemoryFit, ReplicaGroup
from guide.domain import Catalog
from guide.errors import SpecError
from guide.simulate.arrivals import Requests, cached_tokens
from guide.simulate.serve import Times, run, times_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
COLUMNS = ("arrival_s", "input_tokens", "output_tokens")
MOST_TOKENS = 10_000_000  # of a prompt or an answer, as in a plan


@dataclass(frozen=True, slots=True)
class Trace:
    """One element a request, in order of arrival; the first arrives at 0 s."""

    arrivals: Floats
    prompts: Ints
    outputs: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a layout did with a trace."""

    times: Times  # of the requests that were served
    requests: int
    too_long: int  # refused at once: longer than the layout accepts
    unserved: int  # accepted, but their KV cache never fits
    last_arrival_s: float
    end_s: float  # when the last request finished
    kv_peak_share: float  # of the fullest engine
    batch_mean: float  # over the engines that decoded
    preemptions: int
    busiest: int  # requests that the busiest replica got


def read_trace(text: str, name: str) -> Trace:
    """Read a trace: JSON Lines where the first line begins with a brace, else CSV with a header.

    Further columns are ignored. Raises `SpecError` naming line and column.
    """
    lines = _json_lines if text.lstrip().startswith("{") else _csv_lines
    found = [_request(cells, where) for cells, where in lines(text, name)]
    if not found:
        raise SpecError(f"{name} holds no request: give {', '.join(COLUMNS)} for each, one a line")
    table = np.array(found)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return Trace(
        arrivals=table[:, 0] - table[0, 0],
        prompts=table[:, 1].astype(np.int64),
        outputs=table[:, 2].astype(np.int64),
    )


def _csv_lines(text: str, name: str) -> Iterator[tuple[Mapping[str, object], str]]:
    reader = csv.DictReader(text.splitlines(), strict=True, skipinitialspace=True)
    try:
        header = reader.fieldnames or ()
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise SpecError(
                f"{name} line 1: column '{missing[0]}' is missing; add it to the header"
            )
        for row in reader:
            yield row, f"{name} line {reader.line_num}"
    except csv.Error as error:
        raise SpecError(
            f"{name} line {reader.reader.line_num}: is no valid CSV ({error})"
        ) from None


def _json_lines(text: str, name: str) -> Iterator[tuple[Mapping[str, object], str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{name} line {number}"
        try:
            row: object = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise SpecError(f"{where}: is no valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise SpecError(f"{where}: must be an object with {', '.join(COLUMNS)}")
        yield cast("Mapping[str, object]", row), where


def _request(cells: Mapping[str, object], where: str) -> tuple[float, float, float]:
    arrival = _number(cells, "arrival_s", where)
    if arrival < 0:
        raise SpecError(f"{where}, column 'arrival_s': {arrival:g} is negative; count from 0 s")
    return arrival, _tokens(cells, "input_tokens", where), _tokens(cells, "output_tokens", where)


def _number(cells: Mapping[str, object], column: str, where: str) -> float:
    value = cells.get(column)
    if value is None or value == "":
        raise SpecError(f"{where}, column '{column}': is missing")
    try:
        number = math.nan if isinstance(value, bool) else float(cast("str", value))
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SpecError(f"{where}, column '{column}': {value!r} is no finite number")
    return number


def _tokens(cells: Mapping[str, object], column: str, where: str) -> float:
    number = _number(cells, column, where)
    if number != int(number) or not 1 <= number <= MOST_TOKENS:
        raise SpecError(
            f"{where}, column '{column}': {cells[column]!r} must be a whole number from 1 to "
            f"{MOST_TOKENS:,}"
        )
    return number


def replay(
    groups: Sequence[tuple[ReplicaGroup, MemoryFit]],
    trace: Trace,
    prefix_hit_share: float,
    catalog: Catalog,
    *,
    seed: int,
) -> Played:
    """Serve a trace by the replicas of `groups`, each group with its share of the load.

    Raises `SpecError` where no request can be served at all.
    """
    owner = _dealt([group for group, _ in groups], len(trace.arrivals), seed)
    limits = np.array([group.limits.max_model_len for group, _ in groups])
    accepted = trace.prompts + trace.outputs <= limits[owner[:, 0]]
    played = [
        _engine(group, memory, trace, np.flatnonzero(accepted & mine), prefix_hit_share, catalog)
        for number, (group, memory) in enumerate(groups)
        for replica in range(group.replicas)
        for mine in _engines(owner, number, replica, group.pp)
    ]
    engines = [engine for engine in played if engine is not None]
    if not any(len(engine.times.ttft) for engine in engines):
        raise SpecError(
            f"no request of the trace fits the layout, which accepts {int(limits.max()):,} tokens; "
            "raise spec.workload.maxContextTokens"
        )
    times = Times([], [], [], [], [], [])
    for engine in engines:
        for all_of_them, own in zip(times, engine.times, strict=True):
            all_of_them.extend(own)
    _, counts = np.unique(owner, axis=0, return_counts=True)
    return Played(
        times=times,
        requests=len(trace.arrivals),
        too_long=int((~accepted).sum()),
        unserved=int(accepted.sum()) - len(times.ttft),
        last_arrival_s=float(trace.arrivals[-1]),
        end_s=max(engine.end_s for engine in engines),
        kv_peak_share=max(engine.kv_peak_share for engine in engines),
        batch_mean=float(np.mean([engine.batch_mean for engine in engines])),
        preemptions=sum(engine.preemptions for engine in engines),
        busiest=int(counts.max()),
    )


def _dealt(groups: Sequence[ReplicaGroup], count: int, seed: int) -> Ints:
    """(group, replica) of each request: every replica of a group is as likely as the next."""
    replicas = [(n, r) for n, group in enumerate(groups) for r in range(group.replicas)]
    share = np.array([groups[n].load_share / groups[n].replicas for n, _ in replicas])
    chosen = np.random.default_rng(seed).choice(len(replicas), size=count, p=share / share.sum())
    return np.array(replicas, dtype=np.int64)[chosen]


def _engines(
    owner: Ints, group: int, replica: int, engines: int
) -> Iterator[npt.NDArray[np.bool_]]:
    """The requests of each virtual engine of a replica: they take turns."""
    mine = (owner[:, 0] == group) & (owner[:, 1] == replica)
    turn = np.cumsum(mine) % engines
    for engine in range(engines):
        yield mine & (turn == engine)


@dataclass(frozen=True, slots=True)
class _Engine:
    times: Times
    end_s: float
    kv_peak_share: float
    batch_mean: float
    preemptions: int


def _engine(
    group: ReplicaGroup,
    memory: MemoryFit,
    trace: Trace,
    mine: Ints,
    prefix_hit_share: float,
    catalog: Catalog,
) -> _Engine | None:
    """One engine over its requests; None when it gets none, or can serve none of them."""
    if not len(mine):
        return None
    prompts: list[int] = trace.prompts[mine].tolist()
    requests = Requests(
        prompts=prompts,
        outputs=trace.outputs[mine].tolist(),
        arrivals=trace.arrivals[mine].tolist(),
        cached=cached_tokens(prompts, prefix_hit_share),
    )
    replica, serving = run(group, memory, requests, catalog)
    if len(replica.refused) == len(mine):
        return None
    return _Engine(
        times=times_of(replica, requests, serving),
        end_s=replica.clock,
        kv_peak_share=replica.block_peak / replica.policy.kv_blocks,
        batch_mean=replica.decoding.sequence_ticks / max(1, replica.decoding.tick),
        preemptions=replica.preemptions,
    )
