"""An explanation as tables for a terminal; `guide.report.explain_document` is for programs."""

from __future__ import annotations

import math

from guide.domain import Interval, Percentiles
from guide.insight.breakdown import CONSTANTS
from guide.insight.explain import Constant, Explanation, GroupExplanation, StepView
from guide.perf.roofline import Roof
from guide.report.adjusted import adjusted_table
from guide.report.kernels import kernel_tables
from guide.report.layers import layers_table
from guide.report.sentences import precision_reason
from guide.report.tables import Table
from guide.units import GB, MILLISECOND, TFLOP, format_bytes, format_rate, format_seconds

LEAST_WEIGHT = 0.005  # a constant that moves neither step by 0.005 % per 1 % is not shown
SHOWN_LEVELS = 3
MEANINGS = {  # unit, and what it is
    "share_c": ("share", "of the peak, dense GEMMs with many tokens"),
    "ramp": ("tokens", "at which a dense GEMM reaches half its share"),
    "decode_c": ("factor", "on that share for decode tokens"),
    "decode_h": ("exponent", "of that factor on the hidden size"),
    "share_w": ("share", "of the bandwidth, dense weights"),
    "share_ec": ("share", "of the peak, expert GEMMs"),
    "ramp_e": ("tokens", "per expert at which an expert GEMM reaches half its share"),
    "share_ew": ("share", "of the bandwidth, expert weights"),
    "share_kv": ("share", "of the bandwidth, KV cache"),
    "gqa": ("exponent", "on query heads per KV head: how often paged kernels re-read"),
    "v1": ("factor", "slowdown of the unpartitioned paged kernel"),
    "v1_len": ("exponent", "of that slowdown on the captured context"),
    "share_a": ("share", "of the 16-bit peak, prompt attention"),
    "c0": ("seconds", "host, per step"),
    "cl": ("seconds", "host, per layer"),
    "cm": ("seconds", "host, more per layer with experts"),
    "cq": ("seconds", "host, more per layer that normalises queries and keys"),
    "cs": ("seconds", "host, per sequence"),
    "cb": ("seconds", "host, per context token"),
    "cp": ("seconds", "host, more for a step with a prompt"),
    "clp": ("seconds", "host, more per layer for a step with a prompt"),
    "ca": ("seconds", "latency of an all-reduce per doubling of TP"),
    "share_l": ("share", "of the link, all-reduce payload"),
    "k_dense": ("factor", "on the measured kernels of GEMMs"),
    "k_expert": ("factor", "on the measured kernels of routed experts"),
    "k_network": ("factor", "on the measured exchange between GPUs"),
    "k_context": ("factor", "on the measured kernels of decode attention"),
    "k_pair": ("factor", "on the measured kernels of prompt attention"),
    "k_prompt": ("factor", "on GEMMs of steps that hold a prompt"),
    "k_prompt_expert": ("factor", "on routed experts of steps that hold a prompt"),
    "k_step": ("factor", "on the whole step"),
    "p": ("exponent", "of the soft maximum of memory and compute time"),
    "r0": ("seconds", "per request around the engine"),
    "rt": ("seconds", "per prompt token around the engine (tokenising)"),
    "rw": ("seconds", "per request that arrives in the same instant"),
    "u": ("seconds", "per output token around the engine (detokenising)"),
}
AROUND = ("r0", "rt", "u")  # what a request pays outside its steps


def tables(explanation: Explanation) -> list[Table]:
    """Everything, group by group."""
    found: list[Table] = []
    several = len(explanation.groups) > 1
    for group in explanation.groups:
        name = f" on {group.evaluated.group.pool.name}" if several else ""
        found += [
            _operators(group.decode, f"Decode step of one GPU{name}: {_shape(group.decode)}"),
            _operators(group.prompt, f"Prompt step of one GPU{name}: {_shape(group.prompt)}"),
            *kernel_tables(group, name),
            _parts(group, name),
            _constants(group, name),
            layers_table(
                group.layers, f"Layers{name}, over all GPUs of a replica, before windows forget"
            ),
            _memory(group, name),
            adjusted_table(group.adjusted, name),
            _queue(group, name),
            _intervals(explanation, group, name),
        ]
    return found


def sentences(explanation: Explanation) -> list[str]:
    """What the tables cannot say: evidence and doubts."""
    said: list[str] = []
    for item in explanation.groups:
        group, fit = item.evaluated.group, item.fit
        said.append(
            f"{fit.provenance.value}: {fit.measured_points} measured rows of {group.gpu.name} under"
            f" this engine; fits from {fit.evidence}."
        )
        if item.note:
            said.append(f"Doubtful: {item.note}.")
        said.append(f"{group.framework} {group.version} is modelled by {item.release.source}.")
        said.append(f"{precision_reason(item.evaluated)}.")
    return said


def _shape(view: StepView) -> str:
    s = view.shape
    parts: list[str] = []
    if s.prefill_tokens:
        parts.append(f"{s.prefill_tokens:,.0f} prompt tokens")
    if s.decode_sequences:
        context = s.decode_context_tokens / s.decode_sequences
        parts.append(f"{s.decode_sequences:.1f} sequences decode at {context:,.0f} tokens")
    return ", ".join(parts)


def _operators(view: StepView, title: str) -> Table:
    rows = [_operator(roof) for roof in view.roofs if roof.seconds > 0]
    total = sum(roof.seconds for roof in view.roofs)
    rows.append(
        ("sum of roofs", _tflop(sum(r.flop for r in view.roofs)),
         _gb(sum(r.bytes for r in view.roofs)), "", "", "", "", _us(total), ""),
    )  # fmt: skip
    return Table(
        title=title,
        heads=(
            "operator", "GFLOP", "GB", "FLOP/byte", "compute", "memory", "network", "at its roof",
            "bound by",
        ),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6, 7),
    )  # fmt: skip


def _operator(roof: Roof) -> tuple[str, ...]:
    return (
        roof.name,
        _tflop(roof.flop),
        _gb(roof.bytes),
        f"{roof.intensity:,.1f}" if roof.bytes else "–",
        _us(roof.compute_s),
        _us(roof.memory_s),
        _us(roof.network_s),
        _us(roof.seconds),
        roof.bound,
    )


def _tflop(flop: float) -> str:
    return f"{flop / TFLOP * 1e3:,.2f}" if flop else "–"


def _gb(count: float) -> str:
    return f"{count / GB:,.3f}" if count else "–"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds else "–"


def _parts(item: GroupExplanation, name: str) -> Table:
    rows: list[tuple[str, ...]] = []
    by_name = {constant.name: constant for constant in item.constants}
    for part, constants in CONSTANTS.items():
        decode, prompt = item.decode.parts[part], item.prompt.parts[part]
        if decode or prompt:
            own = [by_name[c] for c in constants if c in by_name]
            weighed = [c for c in own if _weight(item, c.name) >= LEAST_WEIGHT]
            priced = ", ".join(f"{c.name} {_value(c)}" for c in weighed)
            trust = ", ".join(sorted({c.provenance for c in weighed}))
            rows.append((part, *_share(decode, item.decode), *_share(prompt, item.prompt),
                         priced, trust))  # fmt: skip
    rows.append(
        ("whole step", _us(item.decode.seconds), "100 %", _us(item.prompt.seconds), "100 %", "", "")
    )
    return Table(
        title=f"Where the time of a step goes{name}",
        heads=("part", "decode", "", "prompt", "", "priced by", "numbers"),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4),
    )


def _share(seconds: float, view: StepView) -> tuple[str, str]:
    return _us(seconds), f"{100 * seconds / view.seconds:.0f} %"


def _weight(item: GroupExplanation, name: str) -> float:
    views = (item.decode, item.prompt)
    return max(abs(view.elasticity.get(name, 0.0)) for view in views)


def _value(constant: Constant) -> str:
    return _number(constant.name, constant.value)


def _number(name: str, value: float) -> str:
    unit, _ = MEANINGS[name]
    if unit == "share":
        return f"{100 * value:.0f} %"
    if unit == "seconds":
        return f"{value * 1e3:.3g} ms" if value >= MILLISECOND else f"{value * 1e6:.3g} us"
    return f"{value:.3g}"


def _constants(item: GroupExplanation, name: str) -> Table:
    rows = tuple(
        (
            constant.name,
            MEANINGS[constant.name][1],
            _value(constant),
            _number(constant.name, constant.prior),
            *(f"{view.elasticity.get(constant.name, 0.0):+.2f} %"
              for view in (item.decode, item.prompt)),
            _moved_by(constant),
        )
        for constant in item.constants
        if _weight(item, constant.name) >= LEAST_WEIGHT or constant.name in AROUND
    )  # fmt: skip
    return Table(
        title=f"Fitted constants{name}; 1 % more of one lengthens a step by",
        heads=("name", "what it is", "value", "prior", "decode", "prompt", "moved most by (rows)"),
        rows=rows,
        numeric=(2, 3, 4, 5),
    )


def _moved_by(constant: Constant) -> str:
    if constant.at_bound:
        return "at a bound"
    largest = sorted(constant.moved_by, key=lambda entry: -abs(entry[1]))[:SHOWN_LEVELS]
    named = ", ".join(f"{_level(*key)} ({points:,})" for key, _, points in largest)
    return named or "nothing: the prior"


def _level(level: str, key: str) -> str:
    return level if key == "*" else f"{level} {key}"


def _memory(item: GroupExplanation, name: str) -> Table:
    memory = item.evaluated.memory
    lines = {
        "weights": memory.weight_bytes,
        "activations of the largest step": memory.activation_bytes,
        **item.reserved,
        "KV cache": memory.kv_bytes,
        "all": memory.hbm_bytes,
    }
    rows = [
        (reason, format_bytes(count), f"{100 * count / memory.hbm_bytes:.1f} %")
        for reason, count in lines.items()
        if count
    ]
    blocks = memory.replica_kv_tokens // memory.block_tokens
    rows += [
        ("KV cache per token", f"{memory.kv_bytes_per_token:,.0f} bytes", ""),
        ("KV tokens of the replica", f"{memory.replica_kv_tokens:,}", ""),
        (f"blocks of {memory.block_tokens}", f"{blocks:,}", ""),
        ("requests at once", f"{item.evaluated.max_concurrent_requests:,}", ""),
    ]
    return Table(
        title=f"Memory of one GPU{name}",
        heads=("for", "", "share"),
        rows=tuple(rows),
        numeric=(1, 2),
    )


def _queue(item: GroupExplanation, name: str) -> Table:
    evaluated, report = item.evaluated, item.evaluated.report
    rows = (
        ("requests/s at the replica", format_rate(item.arrivals_per_s)),
        ("requests/s at saturation", format_rate(evaluated.max_requests_per_s)),
        ("utilisation", f"{100 * item.utilisation:.0f} %"),
        ("mean wait for a first step", format_seconds(report.queue.mean_s)),
        ("p95 wait for a first step", format_seconds(report.queue.p95_s)),
        ("share of the mean TTFT", f"{100 * report.queue.mean_s / report.ttft.mean_s:.0f} %"),
        ("mean batch while decoding", f"{report.batch_mean:.1f}"),
        ("mean requests in the replica (Little's law)", f"{item.in_system:.1f}"),
        ("peak of the KV cache", f"{100 * report.kv_peak_share:.0f} %"),
        ("preemptions", f"{report.preemptions:,}"),
        ("backlog", "steady" if report.stable else "grows"),
    )
    return Table(
        title=f"Queueing of one replica{name}", heads=("quantity", ""), rows=rows, numeric=(1,)
    )


def _intervals(explanation: Explanation, item: GroupExplanation, name: str) -> Table:
    p, residual = explanation.evaluation.predicted, item.fit.residual
    shown: tuple[tuple[str, str, Percentiles, Interval], ...] = (
        ("TTFT p95", "ttft", p.ttft, p.ttft_interval),
        ("TPOT p95", "tpot", p.tpot, p.tpot_interval),
        ("E2E p95", "e2e", p.e2e, p.e2e_interval),
    )
    rows = [
        (
            label,
            format_seconds(value.p95_s),
            format_seconds(interval.lower),
            format_seconds(interval.upper),
            f"{math.exp(residual[metric]):.3f}",
        )
        for label, metric, value, interval in shown
    ]
    capacity, factor = item.evaluated.max_requests_per_s, math.exp(residual["throughput"])
    rows.append(
        ("requests/s at saturation", format_rate(capacity), format_rate(capacity / factor),
         format_rate(capacity * factor), f"{factor:.3f}")
    )  # fmt: skip
    new = item.fit.novelties
    unseen = f", with what nobody measured here left out too: {', '.join(new)}" if new else ""
    origin = f"from errors on rows left out of the fit{unseen}"
    if item.assumed_intervals:
        origin = "assumed, no left-out error stands behind them"
    return Table(
        title=f"90 % intervals{name}: {origin}",
        heads=("metric", "predicted", "lower", "upper", "9 in 10 errors within a factor of"),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4),
    )
