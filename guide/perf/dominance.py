"""A GPU whose datasheet is nowhere below another's of its generation is nowhere slower.

GPUs are measured by different people on different models, so what was fitted may say otherwise
where nobody measured both. A step grows with each of its paces (`Paces`), so it is enough to hold
every pace of the better GPU at or below the lesser one's: the GPU with more measured rows is
believed, the other moves as little as it must. The fit is asked for the same beforehand
(`guide.measured.order`), so that little is left to move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from guide.domain import Gpu, Precision
from guide.models.precision import peak_flop_per_s
from guide.perf.terms import Number, StepParams


class Roofs(NamedTuple):
    """What a datasheet says of a GPU, for the data types of one precision."""

    memory_bytes: Number
    bytes_per_s: Number
    dense_flop_per_s: Number
    expert_flop_per_s: Number
    plain_flop_per_s: Number  # 16 bit: attention, the head
    link_bytes_per_s: Number


class Paces(NamedTuple):
    """Seconds of a step by what it counts (a FLOP, a byte, a layer, ...) on one GPU: the larger,
    the slower. The last is the inverse of the exponent at which memory and compute overlap."""

    token_flop: Number
    decode_flop: Number
    ramp_flop: Number
    weight_byte: Number
    expert_flop: Number
    expert_ramp_flop: Number
    expert_byte: Number
    kv_byte: Number
    attention_flop: Number
    step: Number
    layer: Number
    expert_layer: Number
    sequence: Number
    context_token: Number
    prompt_step: Number
    prompt_layer: Number
    all_reduce: Number
    link_byte: Number
    apart: Number


def roofs_of(gpu: Gpu, precision: Precision) -> Roofs:
    """The roofs of a GPU under the operators of a step."""
    return Roofs(
        memory_bytes=gpu.hbm_bytes,
        bytes_per_s=gpu.hbm_bytes_per_s,
        dense_flop_per_s=peak_flop_per_s(gpu, precision.compute),
        expert_flop_per_s=peak_flop_per_s(gpu, precision.expert_compute),
        plain_flop_per_s=gpu.fp16_flop_per_s,
        link_bytes_per_s=gpu.link.bytes_per_s,
    )


def at_least(ours: Roofs, theirs: Roofs) -> bool:
    """Whether a datasheet is nowhere below another."""
    return all(a >= b for a, b in zip(ours, theirs, strict=True))


def paces_of(v: StepParams, roofs: Roofs, width: Number) -> Paces:
    """The paces of fitted constants, for a model as wide as `width` (hidden size / 4,096)."""
    flop = 1.0 / (roofs.dense_flop_per_s * v.share_c)
    expert = 1.0 / (roofs.expert_flop_per_s * v.share_ec)
    return Paces(
        token_flop=flop,
        decode_flop=flop / (v.decode_c * width**v.decode_h),
        ramp_flop=flop * v.ramp,
        weight_byte=1.0 / (roofs.bytes_per_s * v.share_w),
        expert_flop=expert,
        expert_ramp_flop=expert * v.ramp_e,
        expert_byte=1.0 / (roofs.bytes_per_s * v.share_ew),
        kv_byte=1.0 / (roofs.bytes_per_s * v.share_kv),
        attention_flop=1.0 / (roofs.plain_flop_per_s * v.share_a),
        step=v.c0,
        layer=v.cl,
        expert_layer=v.cm,
        sequence=v.cs,
        context_token=v.cb,
        prompt_step=v.cp,
        prompt_layer=v.clp,
        all_reduce=v.ca,
        link_byte=1.0 / (roofs.link_bytes_per_s * v.share_l),
        apart=1.0 / v.p,
    )


def constants_at(paces: Paces, v: StepParams, roofs: Roofs, width: Number) -> StepParams:
    """The constants of these paces; what has no pace stays as in `v`."""
    t = paces
    return v._replace(
        share_c=1.0 / (roofs.dense_flop_per_s * t.token_flop),
        ramp=t.ramp_flop / t.token_flop,
        decode_c=t.token_flop / (t.decode_flop * width**v.decode_h),
        share_w=1.0 / (roofs.bytes_per_s * t.weight_byte),
        share_ec=1.0 / (roofs.expert_flop_per_s * t.expert_flop),
        ramp_e=t.expert_ramp_flop / t.expert_flop,
        share_ew=1.0 / (roofs.bytes_per_s * t.expert_byte),
        share_kv=1.0 / (roofs.bytes_per_s * t.kv_byte),
        share_a=1.0 / (roofs.plain_flop_per_s * t.attention_flop),
        c0=t.step,
        cl=t.layer,
        cm=t.expert_layer,
        cs=t.sequence,
        cb=t.context_token,
        cp=t.prompt_step,
        clp=t.prompt_layer,
        ca=t.all_reduce,
        share_l=1.0 / (roofs.link_bytes_per_s * t.link_byte),
        p=1.0 / t.apart,
    )


def in_order(
    gpu: Gpu,
    believed: Iterable[tuple[Gpu, StepParams]],
    precision: Precision,
    width: float,
    *,
    latent: bool = False,
) -> StepParams:
    """The constants of `gpu`, held to those of its generation before it in `believed`.

    Whoever comes first is believed as it is; each next one is no faster than a better one before
    it and no slower than a lesser one. Decode tokens, too, stay below the peak. Attention on a
    `latent` is bound by bytes or by FLOPs, so its share keeps the order at both roofs.
    """
    settled: list[tuple[Roofs, Paces]] = []
    for one, constants in believed:
        roofs = roofs_of(one, precision)
        raw = paces_of(constants, roofs, width)
        raw = raw._replace(decode_flop=max(raw.decode_flop, 1.0 / roofs.dense_flop_per_s))
        least = (
            _seen(t, other, roofs, max, latent) for other, t in settled if at_least(other, roofs)
        )
        floor = Paces(*map(max, zip(raw, *least, strict=True)))
        most = (
            _seen(t, other, roofs, min, latent) for other, t in settled if at_least(roofs, other)
        )
        held = Paces(*map(min, zip(floor, *most, strict=True)))
        if one.name == gpu.name:
            return constants_at(held, constants, roofs, width)
        settled.append((roofs, held))
    raise ValueError(f"{gpu.name} is not among the GPUs of its generation")


def _seen(
    paces: Paces, theirs: Roofs, ours: Roofs, side: Callable[[float, float], float], latent: bool
) -> Paces:
    """The paces of another GPU as bounds of ours: of the KV cache at the roof that binds more."""
    if not latent:
        return paces
    byte, flop = (
        theirs.bytes_per_s / ours.bytes_per_s,
        theirs.plain_flop_per_s / ours.plain_flop_per_s,
    )
    return paces._replace(kv_byte=paces.kv_byte * side(1.0, byte / flop))
