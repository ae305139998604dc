"""One clear sentence out of a pydantic error: which field, what is wrong, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from guide.errors import SpecError, shown

_WHOLE = {"int_type", "int_from_float", "int_parsing", "int_parsing_size"}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("above", "gt"),
    "less_than": ("below", "lt"),
}


def spec_error(error: ValidationError, root: type[BaseModel]) -> SpecError:
    """The most telling of pydantic's errors as a `SpecError`.

    Unknown fields come first: a misspelt name also shows up as a missing one, and only the former
    can be mended.
    """
    details = error.errors(include_url=False)
    return told(min(details, key=lambda d: d["type"] != "extra_forbidden"), root)


def spec_errors(error: ValidationError, root: type[BaseModel]) -> list[SpecError]:
    """Each of pydantic's errors as a `SpecError`, for a form that shows all at once."""
    return [told(each, root) for each in error.errors(include_url=False)]


def told(chosen: ErrorDetails, root: type[BaseModel], whole: str = "the plan") -> SpecError:
    """One of pydantic's errors about a `root`, which a sentence calls `whole`."""
    path = field_path(chosen["loc"])
    return SpecError(f"{path or whole} {_sentence(chosen, root)}", field=path or None)


def field_path(loc: Sequence[str | int]) -> str:
    """``("spec", "frameworks", 0)`` as ``spec.frameworks[0]``."""
    path = ""
    for part in loc:
        if part == "[key]":
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def nearest(word: str, names: Iterable[str], count: int = 1) -> list[str]:
    """Names close to `word` in any case, closest first; a part of a name counts as close."""
    by_lower = {name.lower(): name for name in sorted(names, reverse=True)}
    lower = word.lower()
    longer = sorted(n for n in by_lower if len(lower) > 2 and n.startswith(lower))
    close = difflib.get_close_matches(lower, by_lower, n=count, cutoff=0.6)
    holding = sorted((n for n in by_lower if len(lower) > 2 and lower in n), key=len)
    return [by_lower[name] for name in dict.fromkeys([*longer, *close, *holding])][:count]


def _sentence(error: ErrorDetails, root: type[BaseModel]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    value = _show(error["input"])
    if kind == "extra_forbidden":
        return _unknown_field(error["loc"], root)
    if kind == "missing":
        return "is required, but it is missing: add it"
    if kind in _WHOLE:
        return (
            f"must be a whole number, not {value}: write it without quotes and without a fraction"
        )
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        limit = context[key]
        return f"is {value}, but it must be {word} {limit:,}"
    if kind == "literal_error":
        expected = str(context["expected"])
        close = nearest(
            str(error["input"]), expected.replace("'", "").replace(" or ", ", ").split(", ")
        )
        return f"is {value}, but it must be {expected}" + (
            f": did you mean {close[0]}?" if close else ""
        )
    if kind == "string_pattern_mismatch":
        return f"is {value}, which is not a valid {_described(error['loc'], root)}"
    if kind == "string_type":
        return f"must be a text, not {value}: put it in quotes"
    if kind == "bool_type":
        return f"must be true or false, not {value}"
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return f"must be a mapping of fields, not {value}"
    if kind in {"tuple_type", "list_type"}:
        return f"must be a list, not {value}: start each element with a dash"
    if kind in {"plan", "quantity", "distinct", "extra_arg"}:
        return f"is wrong: {error['msg']}"
    return f"is {value}, which is refused: {error['msg'][0].lower()}{error['msg'][1:]}"


def _unknown_field(loc: Sequence[str | int], root: type[BaseModel]) -> str:
    known = _aliases(_model_at(loc[:-1], root))
    close = nearest(str(loc[-1]), known)
    mend = (
        f"did you mean {close[0]}?" if close else f"the fields here are {', '.join(sorted(known))}"
    )
    return f"is not a field of an InferencePlan: {mend}"


def _aliases(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(loc: Sequence[str | int], root: type[BaseModel]) -> type[BaseModel]:
    """The model class that `loc` points at."""
    model = root
    for part in loc:
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                model = _model_in(field.annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _described(loc: Sequence[str | int], root: type[BaseModel]) -> str:
    """What the field at `loc` holds, in the words of its description."""
    names = [part for part in loc if isinstance(part, str) and part != "[key]"]
    for depth in range(len(names), 0, -1):
        parent = _model_at(names[: depth - 1], root)
        for name, field in parent.model_fields.items():
            if names[depth - 1] in (name, field.alias) and field.description:
                return f"{names[depth - 1]} ({field.description.rstrip('.')})"
    return "value"


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = " ".join(shown(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
