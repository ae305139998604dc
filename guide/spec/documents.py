"""YAML in and out: one guarded reader and one deterministic writer for all of GUIDE's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import yaml

from guide.errors import SpecError
from guide.units import MIB

PLAN_LIMIT_BYTES = MIB
_MAX_DEPTH = 64
# libyaml's C parser, ten times faster; PyYAML wheels carry it, a source build may not.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_document(text: str, what: str, limit_bytes: int = PLAN_LIMIT_BYTES) -> dict[str, Any]:
    """The one mapping in a YAML or JSON text.

    Raises `SpecError` for anything else: several documents, aliases (a few lines of them expand to
    gigabytes),
    duplicate keys, deep nesting or more than `limit_bytes`. `what` names the text in messages.
    """
    if len(text) > limit_bytes:
        raise SpecError(f"{what} is larger than {limit_bytes // 1024} KiB: is it the right file?")
    try:
        _check_events(text, what)
        node = yaml.compose(text, Loader=_Loader)
        _check_duplicates(node, what)
        value: object = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
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


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and no aliases for equal objects."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar(  # pyright: ignore[reportUnknownMemberType]
        "tag:yaml.org,2002:str", value, style=style
    )


_Dumper.add_representer(str, _text)


def _check_events(text: str, what: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise SpecError(
                f"{what} uses a YAML alias (*{event.anchor}) at line {_line(event)}: "
                f"write the value out"
            )
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise SpecError(f"{what} holds several YAML documents: give one per file")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > _MAX_DEPTH:
                raise SpecError(
                    f"{what} is nested deeper than {_MAX_DEPTH} levels: is it the right file?"
                )
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1


def _check_duplicates(root: yaml.Node | None, what: str) -> None:
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.SequenceNode):
            nodes.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else None
                if name is not None and name in seen:
                    line = _line(key)
                    raise SpecError(
                        f"{what} states {name} twice (again at line {line}): keep one of them"
                    )
                if name is not None:
                    seen.add(name)
                nodes.append(value)


def _line(at: yaml.Event | yaml.Node) -> int:
    return at.start_mark.line + 1 if at.start_mark else 0
