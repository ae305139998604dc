"""YAML in and out: one guarded reader and one deterministic writer for all of GUIDE's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import yaml

from guide.errors import SpecError
from guide.units import MIB

PLAN_LIMIT_BYTES = MIB
CONFIG_LIMIT_BYTES = 16 * MIB  # mixed formats name tens of thousands of modules
_MAX_DEPTH = 64
# libyaml's C code, ten times as fast at reading and four at writing; a source build may lack it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def read_document(text: str, what: str, limit_bytes: int = PLAN_LIMIT_BYTES) -> dict[str, Any]:
    """The one mapping in a YAML or JSON text.

    Raises `SpecError` for anything else: several documents, aliases (a few lines of them expand to
    gigabytes),
    duplicate keys, deep nesting or more than `limit_bytes`. `what` names the text in messages.
    """
    if len(text) > limit_bytes:
        raise SpecError(f"{what} is larger than {limit_bytes // 1024} KiB: is it the right file?")
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            _check(root, what)
            value: object = None
            if root is not None:
                value = loader.construct_document(root)  # pyright: ignore[reportUnknownMemberType]
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        if error.problem == "but found another document":
            raise SpecError(f"{what} holds several YAML documents: give one per file") from None
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError(
            f"{what} is not valid YAML{where}: {error.problem or error.context}"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpecError(f"{what} is not valid YAML: {reason}") from None
    if not isinstance(value, dict):
        found = "empty" if value is None else f"a {type(value).__name__}"
        raise SpecError(f"{what} must be one YAML mapping, but it is {found}")
    return cast("dict[str, Any]", value)


def write_document(value: Mapping[str, Any]) -> str:
    """`value` as YAML, sorted, in block style, without aliases: equal values give equal bytes."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=True,
        default_flow_style=False,
        width=120,
        allow_unicode=True,
    )


class _Dumper(_SafeDumper):
    """Texts of several lines as blocks, and no aliases for equal objects."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar(  # pyright: ignore[reportUnknownMemberType]
        "tag:yaml.org,2002:str", value, style=style
    )


_Dumper.add_representer(str, _text)


def _check(root: yaml.Node | None, what: str) -> None:
    """Refuse aliases (nodes reached twice), duplicate keys and deep nesting."""
    reached: set[int] = set()
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, yaml.CollectionNode):
            continue
        if id(node) in reached:
            raise SpecError(
                f"{what} refers to one value twice by a YAML alias (the value at line "
                f"{_line(node)}): write it out"
            )
        reached.add(id(node))
        if depth > _MAX_DEPTH:
            raise SpecError(
                f"{what} is nested deeper than {_MAX_DEPTH} levels: is it the right file?"
            )
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, what)
            waiting.extend((value, depth + 1) for _, value in node.value)
        else:
            waiting.extend((value, depth + 1) for value in node.value)


def _check_keys(node: yaml.MappingNode, what: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in seen:
            raise SpecError(
                f"{what} states {key.value} twice (again at line {_line(key)}): keep one of them"
            )
        seen.add(key.value)


def _line(at: yaml.Node) -> int:
    return at.start_mark.line + 1 if at.start_mark else 0
