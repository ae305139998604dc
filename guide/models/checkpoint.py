"""In which formats a checkpoint stores its weights, by its config.json and hf_quant_config.json.

vLLM reads the ``quantization_config`` of config.json, and hf_quant_config.json only where that is
missing (``transformers_utils/config.py``); so does GUIDE. A config states a format for the linear
layers, exceptions by name, or a format for each name; the answer is one format for each weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import field
from msgspec.structs import replace

from guide.domain import BF16, Format, Part, Weight
from guide.errors import shown
from guide.models.config import ConfigView
from guide.models.formats import (
    MXFP4,
    MXFP8,
    PLAIN,
    fp8,
    integer,
    normal_float,
    nvfp4,
)
from guide.models.patterns import Patterns
from guide.models.quantizers import (
    config_groups,
    excluded_names,
    gptq_exceptions,
    group_size,
    modelopt,
    packed_integer,
    patterns,
    quark,
    texts,
    unknown,
)
from guide.record import Record

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "bf16", "auto": "bf16"}
_KV_FP8 = ("fp8", "float")


class Scheme(Record, frozen=True, kw_only=True):
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

    def tells_apart(self, layer: int) -> bool:
        """Whether this layer may be stored unlike others of its kind."""
        lists = (self.excluded, *(names for names, _ in self.named))
        return any(names.tells_apart(layer) for names in lists)

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
    plain = PLAIN[_DTYPES[name]]
    quantization = view.section("quantization_config")
    beside = None
    if hf_quant is not None:
        beside = _flat(ConfigView(view.name, {"quant_method": "modelopt", **hf_quant}))
        if beside.get("quant_algo") is None:
            raise view.fail("hf_quant_config.json names no quant_algo; use the published file")
    if quantization is not None and beside is not None and not _names_method(quantization):
        quantization = None  # an empty one says no more than a missing one
    if quantization is None:
        return Scheme(plain=plain) if beside is None else _scheme(view, beside, plain)
    found = _scheme(view, _flat(quantization), plain)
    if beside is None:
        return found
    other = _scheme(view, beside, plain)
    if _mostly(other) == _mostly(found):
        return found
    note = (
        f"{view.name}: config.json says {_mostly(found).name} and hf_quant_config.json "
        f"{_mostly(other).name}; config.json holds, as in vLLM."
    )
    return replace(found, notes=(*found.notes, note))


def _names_method(quantization: ConfigView) -> bool:
    stated = _flat(quantization)
    return any(stated.get(key) for key in ("quant_method", "quant_algo", "config_groups"))


def _mostly(scheme: Scheme) -> Format:
    named = [format_ for _, format_ in scheme.named]
    stated = (scheme.plain, scheme.linear, scheme.experts, *named)
    return min((f for f in stated if f is not None), key=lambda f: f.bits)


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
    excluded = patterns(q, excluded_names(q))
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
            group = group_size(q, "group_size", "q_group_size")
            linear = packed_integer(
                view, q.count("bits", "w_bit", default=4), group, method, zeros=True
            )
        case "gptq" | "gptq_marlin" | "gptq_bitblas" | "auto-round" | "inc" | "autoround":
            linear = packed_integer(
                view, q.count("bits", default=4), group_size(q, "group_size"), method, zeros=True
            )
            named = gptq_exceptions(view, q, linear, plain)
        case "bitsandbytes":
            four = q.flag("load_in_4bit", False)
            double = q.flag("bnb_4bit_use_double_quant", False)
            linear = normal_float(double=double) if four else integer(8, None, scale_bytes=4)
            excluded = patterns(q, [*excluded_names(q), *texts(q, "llm_int8_skip_modules")])
        case "compressed-tensors":
            linear, named = config_groups(view, q, method)
        case "modelopt" | "modelopt_fp4" | "modelopt_mixed" | "modelopt_mxfp8":
            linear, named = modelopt(view, q)
            if linear == nvfp4() and not excluded and view.optional_count("moe_latent_size"):
                return _nemotron_stub(plain, kv)
        case "quark":
            linear, named = quark(view, q)
        case "":
            raise view.fail(
                "its quantization_config names no quant_method; use the published file, or give "
                "hf_quant_config.json beside it"
            )
        case _:
            raise unknown(view, method)
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


def _fp8(view: ConfigView, q: ConfigView, method: str) -> tuple[Format, Format | None]:
    block = [e for e in q.entries("weight_block_size") or () if isinstance(e, int) and e > 0]
    if q.entries("weight_block_size") and len(block) != 2:
        raise view.fail(
            f"config.json has weight_block_size = {shown(q.get('weight_block_size'))}, but it must "
            "be two whole numbers, such as [128, 128]"
        )
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
