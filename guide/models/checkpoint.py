"""In which formats a checkpoint stores its weights, by its config.json and hf_quant_config.json.

vLLM reads the ``quantization_config`` of config.json, and hf_quant_config.json only where that is
missing (``transformers_utils/config.py``); so does GUIDE. A config states a format for the linear
layers, exceptions by name, or a format for each name; the answer is one format for each weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from guide.domain import BF16, Format, Part, Weight
from guide.errors import shown
from guide.models.config import ConfigView
from guide.models.formats import (
    MXFP4,
    MXFP8,
    SIXTEEN_BIT,
    block_fp8,
    fp8,
    integer,
    normal_float,
    nvfp4,
)
from guide.models.patterns import Patterns

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "bf16", "auto": "bf16"}
_LISTS = ("ignore", "exclude_modules", "modules_to_not_convert", "ignored_layers", "exclude")
_KV_FP8 = ("fp8", "float")
_INTEGER_BITS = (4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """The formats of a checkpoint, asked for one weight at a time."""

    plain: Format = BF16
    linear: Format | None = None  # of every linear layer that no list names
    experts: Format | None = None  # of routed experts, where they differ
    experts_only: bool = False
    excluded: Patterns = field(default_factory=lambda: Patterns(()))
    named: Sequence[tuple[Patterns, Format]] = ()
    kv_cache_dtype: str = "auto"
    mtp_plain: bool = False  # prediction layers are left as they were trained
    notes: tuple[str, ...] = ()

    @property
    def by_layer(self) -> bool:
        """Whether layers that are alike may be stored differently."""
        return bool(self.excluded or self.named)

    def of(self, layer: int, weight: Weight) -> Format:
        """The format of a weight of layer `layer`."""
        if self.excluded and self.excluded.match(layer, weight.name):
            return self.plain
        for names, format_ in self.named:
            if names.match(layer, weight.name):
                return format_
        if weight.part is Part.ROUTER:
            return self.plain
        if weight.part is Part.EXPERTS:
            return self.experts or self.linear or self.plain
        return self.plain if self.experts_only or self.linear is None else self.linear

    @property
    def head(self) -> Format:
        """The format of the output head, which no list means by being silent."""
        if self.excluded.match(None, "lm_head"):
            return self.plain
        return next((f for names, f in self.named if names.match(None, "lm_head")), self.plain)


def scheme(view: ConfigView, hf_quant: Mapping[str, object] | None = None) -> Scheme:
    """The formats of a checkpoint; `SpecError` for one that is not known here.

    32-bit checkpoints count as bf16, since both frameworks cast them when they load.
    """
    dtype = view.text("dtype", "torch_dtype") or "bfloat16"
    name = dtype.removeprefix("torch.")
    if name not in _DTYPES:
        raise view.fail(
            f"config.json has dtype = {shown(dtype)}, but it must be one of "
            f"{', '.join(sorted(_DTYPES))}"
        )
    plain = SIXTEEN_BIT[_DTYPES[name]]
    quantization = view.section("quantization_config")
    if quantization is None and hf_quant is not None:
        quantization = ConfigView(view.name, {"quant_method": "modelopt", **hf_quant})
    if quantization is None:
        return Scheme(plain=plain)
    return _scheme(view, _flat(quantization), plain)


def _flat(quantization: ConfigView) -> ConfigView:
    """hf_quant_config.json nests what config.json has at its top."""
    nested = quantization.section("quantization")
    if nested is None:
        return quantization
    return ConfigView(quantization.name, {**quantization.as_dict(), **nested.as_dict()})


def _scheme(view: ConfigView, q: ConfigView, plain: Format) -> Scheme:
    method = (q.text("quant_method") or "").lower()
    if not method and q.get("quant_algo") is not None:
        method = "modelopt"  # ModelOpt did not always write its own name
    excluded = _patterns(q, _names(q))
    kv = _kv_cache_dtype(q)
    experts_only, experts = False, None
    named: Sequence[tuple[Patterns, Format]] = ()
    linear: Format | None
    match method:
        case "fp8" | "fbgemm_fp8" | "deepseek_v4_fp8":
            linear, experts = _fp8(view, q, method)
        case "mxfp4" | "gpt_oss_mxfp4":
            linear, experts_only = MXFP4, True
        case "mxfp8":
            linear = MXFP8
        case "awq" | "awq_marlin":
            group = _group(q, "group_size", "q_group_size")
            linear = _integer(view, q.count("bits", "w_bit", default=4), group, method, zeros=True)
        case "gptq" | "gptq_marlin" | "gptq_bitblas" | "auto-round" | "inc" | "autoround":
            linear = _integer(
                view, q.count("bits", default=4), _group(q, "group_size"), method, zeros=True
            )
            named = _gptq_exceptions(view, q, linear, plain)
        case "bitsandbytes":
            four = q.flag("load_in_4bit", False)
            double = q.flag("bnb_4bit_use_double_quant", False)
            linear = normal_float(double=double) if four else integer(8, None, scale_bytes=4)
            excluded = _patterns(q, [*_names(q), *_texts(q, "llm_int8_skip_modules")])
        case "compressed-tensors":
            linear, named = _groups(view, q, method)
        case "modelopt" | "modelopt_fp4" | "modelopt_mixed" | "modelopt_mxfp8":
            linear, named = _modelopt(view, q)
            if linear == nvfp4() and not excluded and view.optional_count("moe_latent_size"):
                return _nemotron_stub(plain, kv)
        case "quark":
            linear, named = _quark(view, q)
        case _:
            raise _unknown(view, method)
    return Scheme(
        plain=plain,
        linear=linear,
        experts=experts,
        experts_only=experts_only,
        excluded=excluded,
        named=named,
        kv_cache_dtype=kv,
        mtp_plain=method.startswith("modelopt"),
    )


def _nemotron_stub(plain: Format, kv: str) -> Scheme:
    """Nemotron-3-Super's file says NVFP4 and names no exception; its model card states them."""
    note = (
        "The checkpoint's hf_quant_config.json says NVFP4 and names no layers: NVFP4 experts, FP8 "
        "Mamba and shared experts, and 16 bit elsewhere are assumed, as its model card states."
    )
    return Scheme(
        plain=plain,
        experts=nvfp4(),
        named=[(Patterns(["mamba", "shared_experts"]), fp8())],
        kv_cache_dtype=kv,
        mtp_plain=True,
        notes=(note,),
    )


def _unknown(view: ConfigView, what: str) -> Exception:
    return view.fail(
        f"config.json has the quantisation {shown(what)}, which GUIDE does not know; use a "
        "checkpoint in bf16, fp16, fp8, int8, AWQ or GPTQ with 4 bits, MXFP4 or NVFP4"
    )


def _patterns(q: ConfigView, entries: Sequence[str]) -> Patterns:
    try:
        return Patterns(entries)
    except re.error as error:
        raise q.fail(f"its quantisation names modules by an expression: {error}") from error


def _texts(q: ConfigView, key: str) -> list[str]:
    return [entry for entry in q.entries(key) or () if isinstance(entry, str)]


def _names(q: ConfigView) -> list[str]:
    """Modules that stay in 16 bit, under any of the keys for it."""
    return [name for key in _LISTS for name in (_texts(q, key) if q.get(key) else ())]


def _group(q: ConfigView, *keys: str) -> int | None:
    """Weights of a row that share a scale; -1 and nothing mean the row."""
    for key in keys:
        value = q.get(key)
        if value == -1:
            return None
        if value is not None:
            return q.count(key)
    return 128 if q.get("strategy") is None and "bits" in q.as_dict() else None


def _kv_cache_dtype(q: ConfigView) -> str:
    """What the checkpoint says of its KV cache: ``fp8`` or ``auto``."""
    algorithm = q.get("kv_cache_quant_algo") or q.get("kv_cache_scheme")
    if isinstance(algorithm, str):
        return "fp8" if algorithm.upper().startswith("FP8") else "auto"
    if isinstance(algorithm, dict):
        stated = q.section("kv_cache_scheme")
        eight = stated is not None and stated.optional_count("num_bits") == 8
        return "fp8" if eight and stated and stated.get("type") in _KV_FP8 else "auto"
    return "auto"


def _integer(
    view: ConfigView, bits: int, group: int | None, method: str, *, zeros: bool = False
) -> Format:
    if bits not in _INTEGER_BITS:
        raise _unknown(view, f"{method} with {bits} bits")
    return integer(bits, group, zeros=zeros)


def _fp8(view: ConfigView, q: ConfigView, method: str) -> tuple[Format, Format | None]:
    block = [entry for entry in q.entries("weight_block_size") or () if isinstance(entry, int)]
    exponent = q.text("scale_fmt") == "ue8m0" and view.get("compress_ratios") is not None
    scale = 1 if exponent else 4
    if len(block) == 2:
        linear = fp8((block[0], block[1]), scale_bytes=scale)
    else:
        linear = fp8(per_row=method == "fbgemm_fp8")
    # DeepSeek-V4 stores its experts in MXFP4, unless a checkpoint says otherwise
    if view.get("compress_ratios") is not None:
        stated = view.text("expert_dtype")
        four = stated == "fp4" if stated else view.text("model_type") == "deepseek_v4"
        return linear, MXFP4 if four else None
    return linear, None


def _gptq_exceptions(
    view: ConfigView, q: ConfigView, linear: Format, plain: Format
) -> list[tuple[Patterns, Format]]:
    """GPTQModel's ``dynamic``: expressions that leave modules out (-:) or store them otherwise."""
    found: list[tuple[Patterns, Format]] = []
    dynamic = q.section("dynamic")
    for key in dynamic.as_dict() if dynamic else ():
        expression = _patterns(q, [f"re:{key.removeprefix('-:').removeprefix('+:')}"])
        if key.startswith("-:"):
            found.append((expression, plain))
            continue
        own = dynamic.section(key) if dynamic else None
        bits = own.count("bits", default=round(linear.bits)) if own else round(linear.bits)
        group = linear.group_inputs
        if own is not None and own.get("group_size") is not None:
            group = _group(own, "group_size")
        found.append((expression, _integer(view, bits, group, "gptq", zeros=True)))
    if q.get("lm_head") is True:
        found.append((Patterns(["lm_head"]), linear))
    return found


def _groups(
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
        targets = _texts(group, "targets") or ["Linear"]
        if "Linear" not in targets:
            named.append((_patterns(q, targets), own))
        elif linear not in (None, own):
            raise view.fail(f"{method} has two config_groups for Linear; name what each means")
        else:
            linear = own
    if linear is None and not named:
        raise _unknown(view, f"{method} without config_groups")
    return linear, sorted(named, key=lambda item: (item[1].bits, repr(item[1])))


def _by_bits(view: ConfigView, weights: ConfigView, group: ConfigView, method: str) -> Format:
    bits, size = weights.count("num_bits"), _group(weights, "group_size")
    activations = group.get("input_activations") is not None
    if weights.get("type") != "float":
        if bits not in _INTEGER_BITS:
            raise _unknown(view, f"{method} with {bits} bits")
        zeros = weights.get("symmetric") is False
        return integer(bits, size, zeros=zeros, activations=activations)
    if bits == 4:
        return nvfp4(weight_only=not activations) if size == 16 else MXFP4
    if bits != 8:
        raise _unknown(view, f"{method} float with {bits} bits")
    block = [entry for entry in weights.entries("block_structure") or () if isinstance(entry, int)]
    if len(block) == 2:
        return fp8((block[0], block[1]))
    if size == 32:
        return MXFP8
    return fp8(per_row=weights.text("strategy") == "channel")


def _modelopt(
    view: ConfigView, q: ConfigView
) -> tuple[Format | None, list[tuple[Patterns, Format]]]:
    algorithm = (q.text("quant_algo") or "").upper()
    if algorithm == "MIXED_PRECISION":
        return None, _quantized_layers(view, q)
    if not algorithm and q.section("config_groups") is not None:
        return _groups(view, q, "modelopt")
    return _algorithm(view, algorithm, _group(q, "group_size")), []


def _quantized_layers(view: ConfigView, q: ConfigView) -> list[tuple[Patterns, Format]]:
    """Each module by name: what is not named stays in 16 bit."""
    layers = q.section("quantized_layers")
    if layers is None:
        raise _unknown(view, "modelopt MIXED_PRECISION without quantized_layers")
    names: dict[tuple[str, int | None], list[str]] = {}
    for name in layers.as_dict():
        own = layers.section(name)
        if own is not None:
            key = ((own.text("quant_algo") or "").upper(), _group(own, "group_size"))
            names.setdefault(key, []).append(name)
    return [(_patterns(q, found), _algorithm(view, *key)) for key, found in names.items()]


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
            raise _unknown(view, f"modelopt {name or 'without quant_algo'}")


def _quark(view: ConfigView, q: ConfigView) -> tuple[Format, list[tuple[Patterns, Format]]]:
    settings = q.section("global_quant_config")
    linear = _quark_format(view, settings)
    layers = q.section("layer_quant_config")
    named: list[tuple[Patterns, Format]] = []
    for name in layers.as_dict() if layers else ():
        named.append((_patterns(q, [name]), _quark_format(view, layers and layers.section(name))))
    return linear, named


def _quark_format(view: ConfigView, settings: ConfigView | None) -> Format:
    weight = settings.section("weight") if settings is not None else None
    dtype = (weight and weight.text("dtype")) or "without a dtype in global_quant_config"
    group = _group(weight, "group_size") if weight else None
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
            raise _unknown(view, f"quark {dtype}")
