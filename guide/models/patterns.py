"""Whether a quantisation config means a weight: its lists name modules in many ways.

Lists hold whole names (``model.layers.3.self_attn.q_proj``), parts of names (``gate``,
``self_attn``), shell patterns (``model.layers.0*``) and expressions (``re:.*mlp.*``), over the
names that the maker's checkpoint uses. A weight is asked by its place in the stack and its usual
name; prefixes and synonyms of other makers are tried too.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterable
from functools import cache

PREFIXES = (
    "model.",
    "model.language_model.",
    "language_model.model.",
    "language_model.",
    "backbone.",
    "transformer.",
)
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)(?=\.|\*|$)")
_WILD = re.compile(r"[*?]")
_NUMBERED = re.compile(r"layers|\d")  # an expression that may count layers
_SYNONYMS = {
    "self_attn": ("self_attn", "attention", "attn", "mixer"),
    "linear_attn": ("linear_attn", "self_attn", "mixer"),
    "mamba": ("mixer", "mamba"),
    "conv": ("conv",),
    "mlp": ("mlp", "block_sparse_moe", "feed_forward", "mixer", "moe", "ffn"),
    "shared_experts": ("shared_experts", "shared_expert", "share_expert", "shared_mlp"),
    "experts": ("experts.0", "experts"),
    "gate_proj": ("gate_proj", "w1", "gate_up_proj"),
    "up_proj": ("up_proj", "w3", "gate_up_proj"),
    "down_proj": ("down_proj", "w2"),
    "q_proj": ("q_proj", "qkv_proj"),
    "k_proj": ("k_proj", "qkv_proj"),
    "v_proj": ("v_proj", "qkv_proj"),
    "q_a_proj": ("q_a_proj", "fused_qkv_a_proj"),
    "kv_a_proj_with_mqa": ("kv_a_proj_with_mqa", "fused_qkv_a_proj"),
}


@cache
def spellings(name: str) -> tuple[str, ...]:
    """The names that makers give a weight inside its layer, the usual one first."""
    choices = [_SYNONYMS.get(segment, (segment,)) for segment in name.split(".")]
    return tuple(".".join(parts) for parts in itertools.product(*choices))


@cache
def _runs(name: str) -> frozenset[str]:
    """Every run of whole segments in any spelling of `name`."""
    found: set[str] = set()
    for spelling in spellings(name):
        parts = spelling.split(".")
        found.update(
            ".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)
        )
    return frozenset(found)


@cache
def _heads(name: str) -> frozenset[str]:
    """Every spelling of `name` and of what it lies in."""
    found: set[str] = set()
    for spelling in spellings(name):
        parts = spelling.split(".")
        found.update(".".join(parts[:j]) for j in range(1, len(parts) + 1))
    return frozenset(found)


def _of_the_stack(prefix: str) -> bool:
    """Whether layers under `prefix` are those of the decoder, not of a tower or a predictor."""
    return any(fnmatch.fnmatchcase(known, prefix) for known in ("", *PREFIXES))


class Patterns:
    """A list of module names, asked for one weight at a time."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._anywhere: set[str] = set()  # names and parts of names, in every layer
        self._inside: dict[int, set[str]] = {}  # names inside one layer
        self._like: dict[int, list[re.Pattern[str]]] = {}  # shell patterns inside one layer
        self._layers: set[int] = set()  # whole layers
        self._numbers: set[str] = set()  # how the numbers of whole layers begin
        self._expressions: list[re.Pattern[str]] = []  # over whole names
        for entry in entries:
            self._add(entry.removesuffix(".weight"))
        self._numbered = any(_NUMBERED.search(p.pattern) for p in self._expressions)

    def _add(self, entry: str) -> None:
        if entry.startswith("re:"):
            self._expressions.append(re.compile(entry[3:]))
            return
        layer = _LAYER.search(entry)
        # model.layers.1*.mlp: of layer 1 and of 10, so the whole name must tell
        if layer is None or re.match(r"\*.", entry[layer.end() :]):
            if _WILD.search(entry):
                self._expressions.append(_beginning(entry))
            else:
                self._anywhere.add(entry)
        elif _of_the_stack(entry[: layer.start(1)].removesuffix("layers.")):
            self._add_inside(layer[1], entry[layer.end() :])

    def _add_inside(self, number: str, rest: str) -> None:
        inside = rest.removeprefix(".")
        if rest == "*":  # model.layers.1*: 1 alone, or 10
            self._numbers.add(number)
        elif not inside.strip("*"):
            self._layers.add(int(number))
        elif _WILD.search(inside):
            self._like.setdefault(int(number), []).append(_beginning(inside))
        else:
            self._inside.setdefault(int(number), set()).add(inside)

    def __bool__(self) -> bool:
        return bool(
            self._anywhere
            or self._inside
            or self._like
            or self._layers
            or self._numbers
            or self._expressions
        )

    def tells_apart(self, layer: int) -> bool:
        """Whether an entry may mean something of this layer and not of others."""
        return self._numbered or self._whole(layer) or layer in self._inside or layer in self._like

    def match(self, layer: int | None, name: str) -> bool:
        """Whether the list means the weight `name` of layer `layer` (None: outside layers)."""
        if self._anywhere & _runs(name):
            return True
        if layer is not None and (
            self._whole(layer)
            or self._inside.get(layer, set()) & _heads(name)
            or any(p.match(s) for p in self._like.get(layer, ()) for s in spellings(name))
        ):
            return True
        if not self._expressions:
            return False
        place = "" if layer is None else f"layers.{layer}."
        full = [f"{prefix}{place}{s}" for s in spellings(name) for prefix in ("", *PREFIXES)]
        return any(p.match(text) for p in self._expressions for text in full)

    def _whole(self, layer: int) -> bool:
        return layer in self._layers or any(map(str(layer).startswith, self._numbers))


def _beginning(shell: str) -> re.Pattern[str]:
    """A shell pattern that means what stands in a module with it."""
    return re.compile(fnmatch.translate(shell.removesuffix("*") + "*"))
