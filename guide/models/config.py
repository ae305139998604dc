"""Reading a Hugging Face config.json: typed access, and the fields that all families share.

A family reader (`guide.models.families`) calls `decoder` and replaces what its architecture does
differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from guide.errors import SpecError, shown
from guide.models.decoder import Decoder

_LARGEST = 10**9  # no count of a config.json comes near; larger ones are typing errors
LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers")
_MOST_LAYERS = 10_000  # read one by one where a family lists them

# where a multimodal config keeps its language model
LANGUAGE = ("text_config", "llm_config", "language_config", "thinker_config")

# rope types whose factor max_position_embeddings already contains, as vLLM derives its limit
_SCALED_ALREADY = frozenset({"default", "su", "longrope", "llama3", "mrope", "proportional"})


class ConfigView:
    """A config.json of the model `name`. Every accessor raises `SpecError` with one sentence."""

    def __init__(self, name: str, values: Mapping[str, object]) -> None:
        self.name = name
        self._values = values

    def as_dict(self) -> dict[str, object]:
        """A copy of all fields, to read on with some of them renamed."""
        return dict(self._values)

    def get(self, key: str) -> object:
        """The raw value, or None where it is missing or null."""
        return self._values.get(key)

    def fail(self, problem: str) -> SpecError:
        """The error to raise: which model, then `problem`."""
        return SpecError(f"Model {self.name}: {problem}.", field="spec.model")

    def optional_count(self, *keys: str) -> int | None:
        """The first of `keys` that is set, a whole number from 0; None if all are missing.

        Some makers state a number for each layer: where all are the same, it is that one.
        """
        for key in keys:
            value = self._values.get(key)
            if value is None:
                continue
            entries = cast("list[object]", value) if isinstance(value, list) else [value]
            value = entries[0] if entries and entries.count(entries[0]) == len(entries) else entries
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
                raise self.fail(
                    f"config.json has {key} = {shown(value)}, but it must be a whole number up to "
                    f"{_LARGEST:,}"
                )
            return value
        return None

    def count(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is set, as a whole number of at least 1, else `default`."""
        value = self.optional_count(*keys)
        if value is None:
            value = default
        if value is None:
            raise self.fail(
                f"config.json lacks {' or '.join(keys)}; use the file published with the checkpoint"
            )
        if value < 1:
            raise self.fail(f"config.json has {keys[0]} = {value}, but it must be at least 1")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A true/false value."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(f"config.json has {key} = {shown(value)}, but it must be true or false")
        return value

    def text(self, *keys: str) -> str | None:
        """The first of `keys` that holds a text, None where all are missing or empty."""
        for key in keys:
            value = self._values.get(key)
            if not value:
                continue
            if not isinstance(value, str):
                raise self.fail(f"config.json has {key} = {shown(value)}, but it must be a text")
            return value
        return None

    def section(self, key: str) -> ConfigView | None:
        """A nested object, or None where it is missing."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.fail(f"config.json has {key} = {shown(value)}, but it must be an object")
        return ConfigView(self.name, cast("Mapping[str, object]", value))

    def inside(self, key: str, value: object) -> ConfigView:
        """An entry of the list `key`, which must be an object."""
        if not isinstance(value, Mapping):
            raise self.fail(f"config.json has {shown(value)} in {key}, but it must hold objects")
        return ConfigView(self.name, cast("Mapping[str, object]", value))

    def language_model(self) -> ConfigView:
        """The language model of a multimodal config: its ``text_config`` over the outer fields."""
        inner = next((s for s in map(self.section, LANGUAGE) if s is not None), None)
        if inner is None:
            return self
        inner = inner.language_model()
        stated = {k: v for k, v in inner._values.items() if v is not None}
        outer = {k: v for k, v in self._values.items() if v is not None}
        kept = {k: outer[k] for k in ("architectures", "quantization_config") if k in outer}
        return ConfigView(self.name, {**outer, **stated, **kept})

    def first(self) -> ConfigView | None:
        """The first nested object, in the order of the file."""
        for key, value in self._values.items():
            if isinstance(value, Mapping):
                return self.section(key)
        return None

    def entries(self, key: str) -> Sequence[object] | None:
        """A list, or None where it is missing."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.fail(f"config.json has {key} = {shown(value)}, but it must be a list")
        return cast("list[object]", value)

    def number(self, key: str) -> float | None:
        """A positive number, or None where it is missing."""
        value = self._values.get(key)
        if value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 < value < _LARGEST
        ):
            raise self.fail(
                f"config.json has {key} = {shown(value)}, but it must be a positive number"
            )
        return float(value)


def decoder(
    view: ConfigView,
    *,
    architecture: str,
    tied: bool = False,
    norms: int = 2,
    norm_parameters: int = 1,
) -> Decoder:
    """Read the fields that decoder-only families share.

    `tied` is the family's default of ``tie_word_embeddings``; `norms` the hidden-wide
    normalisations of a layer and `norm_parameters` their parameters per channel (2 with bias);
    the last norm of the model is of the same kind.
    """
    layers = layer_count(view)
    hidden = view.count("hidden_size", "n_embd", "n_embed")
    heads = view.count("num_attention_heads", "n_head")
    kv_heads = view.count("num_key_value_heads", default=heads)
    head_dim = view.optional_count("head_dim")
    if not head_dim:
        if hidden % heads:
            raise view.fail(
                f"hidden_size {hidden} is no multiple of num_attention_heads {heads}, and "
                "head_dim is missing"
            )
        head_dim = hidden // heads
    if heads % kv_heads:
        raise view.fail(
            f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"
        )
    return Decoder(
        name=view.name,
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=view.count("intermediate_size"),
        vocab=view.count("vocab_size"),
        tied_embeddings=view.flag("tie_word_embeddings", tied),
        max_context_tokens=max_context_tokens(view),
        layer_parameters=norms * hidden * norm_parameters,
        extra_parameters=hidden * norm_parameters,
    )


def layer_count(view: ConfigView) -> int:
    """The layers of the stack, by any of its usual keys."""
    layers = view.count(*LAYER_KEYS)
    if layers > _MOST_LAYERS:
        raise view.fail(f"{layers:,} layers are more than the {_MOST_LAYERS:,} that GUIDE reads")
    return layers


def max_context_tokens(view: ConfigView) -> int:
    """The longest context, with rotary scaling applied the way vLLM derives its limit."""
    longest = view.count("max_position_embeddings", "seq_length", "n_positions")
    scaling = view.section("rope_scaling") or view.section("rope_parameters")
    if scaling is None:
        return longest
    kind = scaling.text("rope_type", "type") or "default"
    factor = scaling.number("factor")
    if kind in _SCALED_ALREADY or factor is None:
        return longest
    if kind == "yarn":
        longest = scaling.count("original_max_position_embeddings", default=longest)
    return round(longest * factor)


def mixture(view: ConfigView, *experts: str) -> tuple[int, int]:
    """Routed experts (the first of the keys `experts` that is set), and how many a token uses."""
    total = view.count(*experts)
    active = view.count("num_experts_per_tok", "experts_per_token")
    if active > total:
        raise view.fail(f"num_experts_per_tok {active} exceeds the {total} experts")
    return total, active


def effective_window(view: ConfigView, max_context: int, key: str = "sliding_window") -> int | None:
    """The attention window in tokens; None where it is missing or covers the longest context."""
    window = view.optional_count(key)
    return window if window and window < max_context else None


def layers_of_type(view: ConfigView, layers: int, kind: str) -> frozenset[int] | None:
    """The layers whose entry in ``layer_types`` is `kind`; None where the list is missing."""
    types = view.entries("layer_types")
    if types is None:
        return None
    if len(types) != layers:
        raise view.fail(f"layer_types has {len(types)} entries for {layers} layers")
    return frozenset(i for i, entry in enumerate(types) if entry == kind)


def all_but_every(layers: int, period: int) -> frozenset[int]:
    """The layers between each `period`-th one."""
    return frozenset(i for i in range(layers) if (i + 1) % period)
