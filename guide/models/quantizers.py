"""Formats by the words of each quantiser: compressed-tensors, GPTQ, ModelOpt, Quark."""

from __future__ import annotations

import re
from collections.abc import Sequence

from guide.domain import Format
from guide.errors import shown
from guide.models.config import ConfigView
from guide.models.formats import MXFP4, MXFP8, block_fp8, fp8, integer, nvfp4
from guide.models.patterns import Patterns

_LISTS = ("ignore", "exclude_modules", "modules_to_not_convert", "ignored_layers", "exclude")
_INTEGER_BITS = (4, 8)


def unknown(view: ConfigView, what: str) -> Exception:
    """The error for a quantisation `what` that is not known here."""
    return view.fail(
        f"config.json has the quantisation {shown(what)}, which GUIDE does not know; use a "
        "checkpoint in bf16, fp16, fp8, int8, AWQ or GPTQ with 4 bits, MXFP4 or NVFP4"
    )


def patterns(q: ConfigView, entries: Sequence[str]) -> Patterns:
    """The list `entries`; `SpecError` for an expression that is none."""
    try:
        return Patterns(entries)
    except re.error as error:
        raise q.fail(f"its quantisation names modules by an expression: {error}") from error


def texts(q: ConfigView, key: str) -> list[str]:
    """The texts of the list `key`; empty where it is missing."""
    return [entry for entry in q.entries(key) or () if isinstance(entry, str)]


def excluded_names(q: ConfigView) -> list[str]:
    """Modules that stay in 16 bit, under any of the keys for it."""
    return [name for key in _LISTS for name in (texts(q, key) if q.get(key) else ())]


def group_size(q: ConfigView, *keys: str) -> int | None:
    """Weights of a row that share a scale; -1 and nothing mean the row."""
    for key in keys:
        value = q.get(key)
        if value == -1:
            return None
        if value is not None:
            return q.count(key)
    return 128 if q.get("strategy") is None and "bits" in q.as_dict() else None


def packed_integer(
    view: ConfigView, bits: int, group: int | None, method: str, *, zeros: bool = False
) -> Format:
    """Integers of 4 or 8 bits, as GPTQ and AWQ pack them."""
    if bits not in _INTEGER_BITS:
        raise unknown(view, f"{method} with {bits} bits")
    return integer(bits, group, zeros=zeros)


def gptq_exceptions(
    view: ConfigView, q: ConfigView, linear: Format, plain: Format
) -> list[tuple[Patterns, Format]]:
    """GPTQModel's ``dynamic``: expressions that leave modules out (-:) or store them otherwise."""
    found: list[tuple[Patterns, Format]] = []
    dynamic = q.section("dynamic")
    for key in dynamic.as_dict() if dynamic else ():
        expression = patterns(q, [f"re:{key.removeprefix('-:').removeprefix('+:')}"])
        if key.startswith("-:"):
            found.append((expression, plain))
            continue
        own = dynamic.section(key) if dynamic else None
        bits = own.count("bits", default=round(linear.bits)) if own else round(linear.bits)
        group = linear.group_inputs
        if own is not None and own.get("group_size") is not None:
            group = group_size(own, "group_size")
        found.append((expression, packed_integer(view, bits, group, "gptq", zeros=True)))
    if q.get("lm_head") is True:
        found.append((Patterns(["lm_head"]), linear))
    return found


def config_groups(
    view: ConfigView, q: ConfigView, method: str
) -> tuple[Format | None, list[tuple[Patterns, Format]]]:
    """compressed-tensors: each group names the modules it means, ``Linear`` means all.

    A group with names is asked before one for all, whatever their order in the file.
    """
    groups = q.section("config_groups")
    linear: Format | None = None
    named: list[tuple[Patterns, Format]] = []
    for key in groups.as_dict() if groups else ():
        group = groups.section(key) if groups else None
        weights = group.section("weights") if group else None
        if group is None or weights is None:
            continue
        own = _by_bits(view, weights, group, method)
        targets = texts(group, "targets") or ["Linear"]
        if "Linear" not in targets:
            named.append((patterns(q, targets), own))
        elif linear not in (None, own):
            raise view.fail(f"{method} has two config_groups for Linear; name what each means")
        else:
            linear = own
    if linear is None and not named:
        raise unknown(view, f"{method} without config_groups")
    return linear, sorted(named, key=lambda item: (item[1].bits, repr(item[1])))


def _by_bits(view: ConfigView, weights: ConfigView, group: ConfigView, method: str) -> Format:
    bits, size = weights.count("num_bits"), group_size(weights, "group_size")
    activations = group.get("input_activations") is not None
    if weights.get("type") != "float":
        if bits not in _INTEGER_BITS:
            raise unknown(view, f"{method} with {bits} bits")
        zeros = weights.get("symmetric") is False
        return integer(bits, size, zeros=zeros, activations=activations)
    if bits == 4:
        return nvfp4(weight_only=not activations) if size == 16 else MXFP4
    if bits != 8:
        raise unknown(view, f"{method} float with {bits} bits")
    block = [entry for entry in weights.entries("block_structure") or () if isinstance(entry, int)]
    if len(block) == 2:
        return fp8((block[0], block[1]))
    if size == 32:
        return MXFP8
    return fp8(per_row=weights.text("strategy") == "channel")


def modelopt(
    view: ConfigView, q: ConfigView
) -> tuple[Format | None, list[tuple[Patterns, Format]]]:
    """The format of all linear layers, or of each by name."""
    algorithm = (q.text("quant_algo") or "").upper()
    if algorithm == "MIXED_PRECISION":
        return None, _quantized_layers(view, q)
    if not algorithm and q.section("config_groups") is not None:
        return config_groups(view, q, "modelopt")
    return _algorithm(view, algorithm, group_size(q, "group_size")), []


def _quantized_layers(view: ConfigView, q: ConfigView) -> list[tuple[Patterns, Format]]:
    """Each module by name: what is not named stays in 16 bit."""
    layers = q.section("quantized_layers")
    if layers is None:
        raise unknown(view, "modelopt MIXED_PRECISION without quantized_layers")
    names: dict[tuple[str, int | None], list[str]] = {}
    for name in layers.as_dict():
        own = layers.section(name)
        if own is not None:
            key = ((own.text("quant_algo") or "").upper(), group_size(own, "group_size"))
            names.setdefault(key, []).append(name)
    return [(patterns(q, found), _algorithm(view, *key)) for key, found in names.items()]


def _algorithm(view: ConfigView, name: str, group: int | None) -> Format:
    match name:
        case "FP8":
            return fp8()
        case "FP8_PER_CHANNEL_PER_TOKEN":
            return fp8(per_row=True)
        case "FP8_PB_WO" | "FP8_PB_REAL":
            return block_fp8()
        case "NVFP4" | "NVFP4_AWQ" | "W4A8_NVFP4_FP8" | "NVFP4_SVDQUANT":
            return nvfp4(group or 16)
        case "W4A16_NVFP4":
            return nvfp4(group or 16, weight_only=True)
        case "MXFP8":
            return MXFP8
        case "MXFP4" | "W4A8_MXFP4_FP8":
            return MXFP4
        case "W4A16_AWQ" | "W4A8_AWQ" | "W4A16" | "INT4_AWQ":
            return integer(4, group or 128)
        case "W8A16" | "INT8":
            return integer(8, group)
        case "W8A8_SQ_PER_CHANNEL" | "INT8_SQ":
            return integer(8, None, activations=True)
        case _:
            raise unknown(view, f"modelopt {name or 'without quant_algo'}")


def quark(view: ConfigView, q: ConfigView) -> tuple[Format, list[tuple[Patterns, Format]]]:
    """The format of all linear layers, and of those that differ."""
    settings = q.section("global_quant_config")
    linear = _quark_format(view, settings)
    layers = q.section("layer_quant_config")
    named: list[tuple[Patterns, Format]] = []
    for name in layers.as_dict() if layers else ():
        named.append((patterns(q, [name]), _quark_format(view, layers and layers.section(name))))
    return linear, named


def _quark_format(view: ConfigView, settings: ConfigView | None) -> Format:
    weight = settings.section("weight") if settings is not None else None
    dtype = (weight and weight.text("dtype")) or "without a dtype in global_quant_config"
    group = group_size(weight, "group_size") if weight else None
    match dtype:
        case "fp4":
            return MXFP4
        case "fp8_e4m3":
            return fp8(per_row=bool(weight and weight.get("qscheme") == "per_channel"))
        case "int8":
            return integer(8, group, activations=True)
        case "int4" | "uint4":
            return integer(4, group)
        case _:
            raise unknown(view, f"quark {dtype}")
