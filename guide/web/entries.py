"""What the form is made of: fields, lists to choose from, and groups of both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One text field; `name` is its key in the URL, `path` its place in the plan."""

    name: str
    path: str
    label: str
    unit: str = ""
    hint: str = ""
    whole: bool = True  # an integer; else a decimal, which plans hold as text
    text: bool = False
    many: bool = False  # several of them, with commas between


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One drop-down list of the plan: value -> words."""

    name: str
    path: str
    label: str
    hint: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Fields that belong together; `folded` ones are open only when one is filled in."""

    title: str
    hint: str
    fields: tuple[Field | Choice, ...]
    folded: bool = False
    intake: str = ""  # template of what people say instead of these numbers
