"""From a config.json to a `ModelArch`: one file per family, registered in `FAMILIES`.

To add a family: one file with `ARCHITECTURES` and `read`, and its line in `_MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.errors import shown
from guide.models.arch import weight_counts
from guide.models.by_keys import EXPERTS, missing_keys, read_by_keys
from guide.models.checkpoint import scheme
from guide.models.config import LANGUAGE, ConfigView
from guide.models.families import (
    bloom,
    cohere,
    deepseek,
    exaone,
    falcon,
    gemma,
    glm,
    gpt_neox,
    gpt_oss,
    gptj,
    hybrid,
    kimi,
    llama,
    llama4,
    longcat,
    mimo,
    minimax,
    mistral,
    nemotron,
    opt,
    phi,
    qwen,
    starcoder2,
    step,
)
from guide.models.storing import stored, stored_bytes
from guide.units import GIB

_MODULES = (
    bloom,
    cohere,
    deepseek,
    exaone,
    falcon,
    gemma,
    glm,
    gpt_neox,
    gpt_oss,
    gptj,
    hybrid,
    kimi,
    llama,
    llama4,
    longcat,
    mimo,
    minimax,
    mistral,
    nemotron,
    opt,
    phi,
    qwen,
    starcoder2,
    step,
)

_MOST_PARAMETERS = 10**15
_NOTED, _REFUSED = 0.02, 0.10  # between the weights counted and those of the index
_ENCODER_DECODERS = ("T5", "MT5", "Bart", "Whisper", "Marian", "Pegasus")
_NO_TEXT = (
    *("Model", "ForSequenceClassification", "ForMaskedLM", "ForTokenClassification"),
    *("ForRewardModel", "RewardModel", "ForEmbedding"),
)

FAMILIES: Mapping[str, Callable[[ConfigView, str], ModelArch]] = {
    architecture: module.read for module in _MODULES for architecture in module.ARCHITECTURES
}
"""Architecture string (config.json's ``architectures[0]``) -> reader."""


def read_config(
    name: str, config: Mapping[str, object], hf_quant: Mapping[str, object] | None = None
) -> ModelArch:
    """Read the architecture and the formats of the model `name` from its config.json.

    `hf_quant` is its hf_quant_config.json, where it has one; the key hf_quant_config of `config`
    may hold it too. With the key checkpoint_total_bytes (metadata.total_size of its index) what is
    read is checked: more than 2 % apart is noted, more than 10 % refused. Raises `SpecError` with
    one sentence: a field is missing or impossible, or the architecture is no decoder that can be
    read.
    """
    view = ConfigView(name, config)
    text = view.language_model()
    architecture = _architecture(view)
    reader = FAMILIES.get(architecture)
    arch = _unknown(text, architecture) if reader is None else reader(text, architecture)
    if _overlooks(text, arch):  # a newer model under the name of an older family
        arch = read_by_keys(text, architecture)
    beside = view.section("hf_quant_config")
    if hf_quant is None and beside is not None:
        hf_quant = beside.as_dict()
    return _checked(view, stored(arch, scheme(text, hf_quant)))


def _overlooks(view: ConfigView, arch: ModelArch) -> bool:
    if view.get("kv_lora_rank") and not any(attention.mla for attention in arch.attentions):
        return True
    return not arch.experts and (view.optional_count(*EXPERTS) or 0) > 1


def _checked(view: ConfigView, arch: ModelArch) -> ModelArch:
    parameters = weight_counts(arch).total
    if parameters > _MOST_PARAMETERS:
        raise view.fail(
            f"config.json counts {parameters:.1e} parameters, hundreds of times the largest model: "
            "a number is mistyped"
        )
    total = view.get("checkpoint_total_bytes")
    if total is None:
        return arch
    if isinstance(total, bool) or not isinstance(total, int | float) or not total > 0:
        raise view.fail(f"checkpoint_total_bytes is {shown(total)}, but it must be a size in bytes")
    # a checkpoint may lack its prediction layers, or hold a tied table twice
    counted = stored_bytes(arch)
    table = 2.0 * arch.vocab * arch.hidden
    sizes = (counted, stored_bytes(replace(arch, mtp=())), counted + table)
    counted = min(sizes, key=lambda size: abs(size / total - 1))
    off = counted / total - 1
    if abs(off) <= _NOTED:
        return arch
    sentence = (
        f"config.json counts {counted / GIB:,.1f} GiB of weights, but the index of the "
        f"checkpoint states {total / GIB:,.1f} GiB"
    )
    if abs(off) > _REFUSED:
        raise view.fail(f"{sentence}: the files do not belong together, or a part is unknown here")
    return replace(arch, notes=(*arch.notes, f"{arch.name}: {sentence} ({off:+.0%})."))


def _architecture(view: ConfigView) -> str:
    architectures = view.entries("architectures")
    if architectures and isinstance(architectures[0], str):
        return architectures[0]
    if view.get("n_layers") is not None and view.get("dim") is not None:
        raise view.fail(
            "this is a params.json of Mistral's own format; use the config.json that lies beside "
            "it in the repository on Hugging Face"
        )
    raise view.fail(
        "config.json names no architecture; use the config.json published with the checkpoint, "
        "with its field architectures"
    )


def _unknown(view: ConfigView, architecture: str) -> ModelArch:
    """An architecture of no family here: read by the usual keys and said so, or refused."""
    if view.flag("is_encoder_decoder", False) or architecture.startswith(_ENCODER_DECODERS):
        raise view.fail(
            f"{shown(architecture)} is an encoder-decoder; GUIDE sizes decoders that generate text"
        )
    has_text = any(view.get(key) is not None for key in LANGUAGE)
    if (architecture.endswith(_NO_TEXT) and not has_text) or "Bert" in architecture:
        raise view.fail(
            f"{shown(architecture)} makes embeddings or scores; GUIDE sizes models that generate "
            "text"
        )
    missing = missing_keys(view)
    if missing:
        raise view.fail(
            f"GUIDE does not know the architecture {shown(architecture)}, and config.json lacks "
            f"{', '.join(missing)} to read it by; describe the model by hand in a JSON file with "
            "these keys (docs/reference/models.md)"
        )
    arch = read_by_keys(view, architecture)
    counted = weight_counts(arch).total / 1e9
    kinds = ", ".join(dict.fromkeys(a.kind.value for a in arch.attentions))
    note = (
        f"GUIDE does not know the architecture {shown(architecture)}: it was read by the usual "
        f"keys of config.json as {arch.layers} layers ({kinds} attention) with {counted:.1f} "
        "billion parameters; compare that with the published size."
    )
    return replace(arch, notes=(*arch.notes, note))
