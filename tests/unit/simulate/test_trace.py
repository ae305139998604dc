"""`guide simulate`: traces as they are read, dealt to replicas, and served."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from guide.catalog import load
from guide.cli.app import app
from guide.cluster.inventory import read_inventory
from guide.domain import Catalog, MemoryFit, Percentiles, ReplicaGroup, Slo
from guide.errors import SpecError
from guide.report.simulation import tables
from guide.search.recommend import recommend
from guide.simulate.capacity import zero_load
from guide.simulate.latency import Latency
from guide.simulate.play import Played, replay
from guide.simulate.times import percentiles
from guide.simulate.trace import WINDOW, Trace, read_trace
from guide.spec import load_plan, resolve_plan
from tests.unit.cli.test_cli import NODES, PLAN

CATALOG: Catalog = load()
CSV = "arrival_s,input_tokens,output_tokens\n"


def read(text: str, name: str) -> Trace:
    """A short trace, in one part."""
    (part,) = read_trace(text.splitlines(keepends=True), name)
    return part


def test_csv_and_json_lines_say_the_same_in_order_of_arrival():
    text = CSV + "12.5,100,20\n10,50,5\n"
    lines = [
        {"arrival_s": 12.5, "input_tokens": 100, "output_tokens": 20, "user": "x"},
        {"arrival_s": 10, "input_tokens": "50", "output_tokens": 5.0},
    ]
    jsonl = "\n\n".join(json.dumps(line) for line in lines)
    for found in (read(text, "t.csv"), read(jsonl, "t.jsonl")):
        assert found.arrivals.tolist() == [0.0, 2.5]
        assert found.prompts.tolist() == [50, 100]
        assert found.outputs.tolist() == [5, 20]


def test_csv_columns_may_stand_in_any_order_beside_others():
    found = read("model,output_tokens,arrival_s,input_tokens\nm,7,0,9\n", "t.csv")
    assert (found.prompts.tolist(), found.outputs.tolist()) == ([9], [7])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "t: holds no request|t line 1: column 'arrival_s' is missing"),
        (CSV, "t holds no request"),
        ("arrival_s,input_tokens\n", "t line 1: column 'output_tokens' is missing"),
        (CSV + "0,1,1\n0,one,1\n", "t line 3, column 'input_tokens': 'one' is no finite number"),
        (CSV + "0,1,1\nnan,1,1\n", "t line 3, column 'arrival_s'"),
        (CSV + "0,1\n", "t line 2, column 'output_tokens': is missing"),
        (CSV + "-1,1,1\n", "t line 2, column 'arrival_s': -1 is negative"),
        (CSV + "0,0,1\n", "t line 2, column 'input_tokens': '0' must be a whole number"),
        (CSV + "0,1.5,1\n", "t line 2, column 'input_tokens': '1.5' must be a whole number"),
        (CSV + "0,1,99999999\n", "t line 2, column 'output_tokens'"),
        (CSV + '0,1,"1\n', "t line 2: is no valid CSV"),
        ('{"arrival_s": 0}\n', "t line 1, column 'input_tokens': is missing"),
        ('{"arrival_s": true, "input_tokens": 1}', "column 'arrival_s': True is no finite number"),
        ('{"arrival_s": 0', "t line 1: is no valid JSON"),
        ('{"arrival_s": 0, "input_tokens": 1, "output_tokens": 1}\n[]', "t line 2: must be an obj"),
    ],
)
def test_a_bad_line_is_named(text: str, sentence: str):
    with pytest.raises(SpecError, match=sentence):
        read(text, "t")


def far(count: int, *odd: tuple[int, float]) -> list[str]:
    """Lines of a trace with a request a second, but for those (place, arrival in seconds)."""
    arrivals = {i: float(i) for i in range(count)} | dict(odd)
    return [CSV, *(f"{arrivals[i]},{i % 50 + 1},2\n" for i in range(count))]


def test_a_long_trace_comes_in_parts_and_in_order():
    count = 3 * WINDOW + 5
    late = (WINDOW + 10, 20.5)  # stands WINDOW - 11 lines after the arrival that follows it
    parts = list(read_trace(far(count, late), "t"))
    assert max(len(part.arrivals) for part in parts) <= 2 * WINDOW
    arrivals = np.concatenate([part.arrivals for part in parts])
    assert len(arrivals) == count
    assert np.all(np.diff(arrivals) >= 0)
    assert arrivals[21] == 20.5
    prompts = np.concatenate([part.prompts for part in parts])
    assert prompts[21] == late[0] % 50 + 1  # its own cells came along


def test_a_request_that_stands_far_too_late_is_named():
    lines = far(4 * WINDOW, (3 * WINDOW, 20.5))
    with pytest.raises(SpecError, match=rf"t line {3 * WINDOW + 2}, .* sort the trace"):
        list(read_trace(lines, "t"))


def test_a_bad_line_far_down_is_named():
    lines = far(WINDOW + 100)
    lines[WINDOW + 51] = "7,1,many\n"
    with pytest.raises(SpecError, match=f"t line {WINDOW + 52}, column 'output_tokens': 'many'"):
        list(read_trace(lines, "t"))


@pytest.fixture(scope="module")
def layout() -> tuple[ReplicaGroup, MemoryFit]:
    plan = resolve_plan(load_plan(PLAN), CATALOG, None)
    best = recommend(
        plan, read_inventory(yaml.safe_load(NODES)["items"], [], CATALOG), CATALOG
    ).best
    assert best is not None
    return replace(best.groups[0].group, replicas=1), best.groups[0].memory


SLO = Slo(ttft_p95_s=1.0, tpot_p95_s=1e-9)


def trace(count: int, gap_s: float, prompt: int = 512, output: int = 64) -> Trace:
    return Trace(
        arrivals=np.arange(count) * gap_s,
        prompts=np.full(count, prompt),
        outputs=np.full(count, output),
    )


def play(
    layout: tuple[ReplicaGroup, MemoryFit], played: Trace, replicas: int = 1, pp: int = 1
) -> Played:
    group = replace(layout[0], replicas=replicas, pp=pp)
    return replay([(group, layout[1])], [played], [0.0], CATALOG, seed=3, slo=SLO)


def test_requests_that_never_meet_take_the_time_of_an_empty_server(
    layout: tuple[ReplicaGroup, MemoryFit],
):
    played = play(layout, trace(5, 60.0))
    asked = resolve_plan(load_plan(PLAN), CATALOG, None).workload
    workload = replace(asked, prompt=replace(asked.prompt, mean_tokens=512))
    ttft_s, _ = zero_load(layout[0], layout[1], workload, CATALOG)
    found = played.latencies
    assert found.ttft.percentiles.p50_s == pytest.approx(ttft_s, rel=0.02)
    assert found.ttft.percentiles.p99_s == pytest.approx(ttft_s, rel=0.02)
    assert found.queue.percentiles.p99_s == 0
    assert found.ttft.share_within == 1
    assert played.end_s == pytest.approx(240 + found.e2e.percentiles.p50_s, abs=0.1)


def test_every_request_is_served_once_whatever_the_layout(
    layout: tuple[ReplicaGroup, MemoryFit],
):
    for replicas, pp in ((1, 1), (3, 1), (2, 2)):
        played = play(layout, trace(100, 0.01), replicas, pp)
        assert played.latencies.served == played.requests == 100
        assert played.latencies.output_tokens == 6400
        assert played.busiest >= 100 / replicas
        assert played.unserved == played.too_long == 0


def test_more_replicas_wait_less(layout: tuple[ReplicaGroup, MemoryFit]):
    busy = trace(400, 0.002, prompt=2048)
    waits = [play(layout, busy, n).latencies.queue.percentiles.mean_s for n in (1, 2, 4)]
    assert waits[0] > 1.5 * waits[1] > 2 * waits[2]


def test_the_same_seed_deals_the_same(layout: tuple[ReplicaGroup, MemoryFit]):
    def end_to_end(seed: int, parts: int) -> Percentiles:
        dealt = [(replace(layout[0], replicas=3), layout[1])]
        busy = trace(50, 0.01)
        lists = (np.array_split(x, parts) for x in (busy.arrivals, busy.prompts, busy.outputs))
        split = [Trace(*part) for part in zip(*lists, strict=True)]
        return replay(
            dealt, split, [0.0] * len(dealt), CATALOG, seed=seed
        ).latencies.e2e.percentiles

    assert end_to_end(3, 1) == end_to_end(3, 1)
    assert end_to_end(3, 7).p95_s == end_to_end(3, 1).p95_s
    assert end_to_end(4, 1) != end_to_end(3, 1)


def test_a_group_gets_its_share(layout: tuple[ReplicaGroup, MemoryFit]):
    group, memory = layout
    parts = [(replace(group, load_share=0.9), memory), (replace(group, load_share=0.1), memory)]
    played = replay(parts, [trace(1000, 0.01)], [0.0] * len(parts), CATALOG, seed=0)
    assert 850 < played.busiest < 950


def test_a_small_cache_preempts_and_fills(layout: tuple[ReplicaGroup, MemoryFit]):
    group, memory = layout
    small = replace(memory, kv_capacity_tokens=4096)
    played = replay([(group, small)], [trace(40, 0.0, 256, 512)], [0.0], CATALOG, seed=0)
    assert played.preemptions > 0
    assert played.kv_peak_share > 0.95
    assert played.latencies.served == 40


def test_what_is_longer_than_the_layout_accepts_is_refused(
    layout: tuple[ReplicaGroup, MemoryFit],
):
    most = layout[0].limits.max_model_len
    short, long = trace(3, 1.0), trace(1, 1.0, prompt=most)
    mixed = Trace(*(np.concatenate(pair) for pair in zip(
        (short.arrivals, short.prompts, short.outputs),
        (long.arrivals + 9, long.prompts, long.outputs), strict=True)))  # fmt: skip
    played = play(layout, mixed)
    assert (played.requests, played.too_long, played.latencies.served) == (4, 1, 3)
    with pytest.raises(SpecError, match="no request of the trace fits the layout"):
        play(layout, long)


def test_a_prefix_hit_shortens_the_first_token(layout: tuple[ReplicaGroup, MemoryFit]):
    group, memory = layout
    cold, warm = (
        replay([(group, memory)], [trace(5, 9.0, 4096)], [hits], CATALOG, seed=0)
        for hits in (0.0, 0.9)
    )
    ttft = [played.latencies.ttft.percentiles.mean_s for played in (warm, cold)]
    assert ttft[0] < 0.6 * ttft[1]


def test_answers_of_one_token_have_no_gap(layout: tuple[ReplicaGroup, MemoryFit]):
    played = play(layout, Trace(np.arange(4.0) * 9, np.full(4, 64), np.array([1, 1, 9, 9])))
    assert played.latencies.tpot.count == 2
    assert tables(played, {})[0].rows[1][-1] == "0.0 %"  # of the two that have one
    played = play(layout, Trace(np.arange(2.0) * 9, np.full(2, 64), np.array([1, 1])))
    assert [row[0][:4] for row in tables(played, {})[0].rows] == ["TTFT", "E2E:", "Queu"]


@pytest.mark.parametrize("shape", ["lognormal", "heavy", "two kinds"])
def test_streamed_percentiles_are_those_of_the_sample(shape: str):
    dice = np.random.default_rng(1)
    size = 100_000
    values = {
        "lognormal": dice.lognormal(0, 1, size),
        "heavy": dice.pareto(1.5, size),
        "two kinds": np.where(dice.random(size) < 0.9, 0.01, dice.exponential(5, size)),
    }[shape]
    latency = Latency(limit_s=1.0)
    for part in np.array_split(values, 37):
        latency.add(part.tolist())
    found, exact = latency.percentiles, percentiles(values.tolist())
    assert found.mean_s == pytest.approx(exact.mean_s, rel=1e-9)
    for name in ("p50_s", "p95_s", "p99_s"):
        assert getattr(found, name) == pytest.approx(getattr(exact, name), rel=0.005), name
    assert latency.share_within == np.mean(values <= 1.0)


def test_percentiles_of_few_values_are_exact():
    values = [5.0, 1.0, 4.0, 2.0]
    latency = Latency()
    latency.add(values)
    found, exact = latency.percentiles, percentiles(values)
    assert astuple(found) == pytest.approx(astuple(exact), rel=1e-12)


def test_memory_does_not_grow_with_the_trace(layout: tuple[ReplicaGroup, MemoryFit]):
    """What is held after the warm-up of the first parts is all that is ever held."""

    def peak_bytes(parts: int) -> int:
        def trace_of(parts: int) -> Iterator[Trace]:
            for i in range(parts):
                part = trace(WINDOW, 0.05)
                yield replace(part, arrivals=part.arrivals + i * WINDOW * 0.05)

        tracemalloc.start()
        try:
            replay([layout], trace_of(parts), [0.0], CATALOG, seed=0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(1)  # caches
    few, many = peak_bytes(2), peak_bytes(8)
    assert many < 1.2 * few


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(PLAN + "  slo: {ttftP95Milliseconds: 2000}\n")
    (tmp_path / "nodes.yaml").write_text(NODES)
    (tmp_path / "trace.csv").write_text(CSV + "0,1000,100\n0.5,300,50\n1,20,5\n")
    return tmp_path


def command(files: Path, *more: str) -> Result:
    arguments = ["simulate", "-f", str(files / "plan.yaml"), "--nodes", str(files / "nodes.yaml"),
                 "--trace", str(files / "trace.csv")]  # fmt: skip
    return CliRunner().invoke(app, [*arguments, *more])


def test_the_command_prints_tables_and_json(files: Path):
    text = command(files).output
    assert "100.0 %" in text
    assert "Queue: arrival to first step" in text
    document = json.loads(command(files, "-o", "json").output)
    assert (document["kind"], document["served"], document["requests"]) == ("Simulation", 3, 3)
    p95 = document["ttftSeconds"]
    assert p95["interval90"]["lower"] < p95["p95"] < p95["interval90"]["upper"]
    assert (p95["limit"], p95["shareWithinLimit"]) == (2.0, 1.0)
    assert document["outputTokensPerSecond"] == pytest.approx(
        155 / document["endSeconds"], rel=1e-3
    )


def test_an_infeasible_plan_ends_with_3(files: Path):
    (files / "plan.yaml").write_text(PLAN + "  slo: {ttftP95Milliseconds: 1}\n")
    assert command(files).exit_code == 3


def test_a_missing_trace_is_said(files: Path):
    result = command(files, "--trace", str(files / "none.csv"))
    assert isinstance(result.exception, SpecError)
    assert "none.csv" in str(result.exception)
