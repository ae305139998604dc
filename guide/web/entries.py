"""What the form is made of: fields, lists to choose from, and groups of both."""

from __future__ import annotations

from guide.record import Record


class Field(Record, frozen=True, kw_only=True):
    """One text field; `name` is its key in the URL, `path` its place in the plan."""

    name: str
    path: str
    label: str
    unit: str = ""
    hint: str = ""
    whole: bool = True  # an integer; else a decimal, which plans hold as text
    text: bool = False
    many: bool = False  # several of them, with commas between


class Choice(Record, frozen=True, kw_only=True):
    """One drop-down list of the plan: value -> words."""

    name: str
    path: str
    label: str
    hint: str
    options: tuple[tuple[str, str], ...]


class Group(Record, frozen=True, kw_only=True):
    """Fields that belong together; `folded` ones are open only when one is filled in."""

    title: str
    hint: str
    fields: tuple[Field | Choice, ...]
    folded: bool = False
    intake: str = ""  # template of what people say instead of these numbers
