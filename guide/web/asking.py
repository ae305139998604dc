"""From the page's state to the engine's question, with an error beside each field that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast

from msgspec.structs import asdict, replace
from pydantic import ValidationError

from guide.cluster.imagined import rentable
from guide.domain import Inventory, Plan, Recommendation
from guide.errors import GuideError, SpecError, UnknownModel
from guide.insight.explain import Explanation, explain
from guide.insight.load_curve import LoadPoint
from guide.insight.minute import Timeline
from guide.question import Cluster, Question, ask
from guide.spec import API_VERSION, KIND, InferencePlan
from guide.spec.messages import spec_errors
from guide.web import engine
from guide.web.engine import catalog
from guide.web.fields import BY_PATH, DEFAULTS, ENTRIES, Choice, Field
from guide.web.nodes import Node, RowError, imagined, live, unpacked_nodes
from guide.web.running import REMEMBERED, answer_within
from guide.web.settings import Settings
from guide.web.state import State, plain_number, unpack


class PageQuestion(Question, frozen=True, kw_only=True):
    """A question of the page, and what its downloads hold beside it."""

    nodes: tuple[Node, ...]  # those that can be written to a file for `guide plan --nodes`
    rented: bool = False  # its GPUs are all that can be rented


class Wrong(Exception):
    """What is wrong in a form: sentences by field; "" holds what belongs to no field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors = errors


def question(state: State, settings: Settings) -> PageQuestion:
    """The question of a filled-in form; raises `Wrong`."""
    errors: dict[str, str] = {}
    document = plan_document(state, errors)
    written: InferencePlan | None = None
    if not state.model:
        errors["model"] = "Name the model: choose one of the list, or paste its config.json too."
    else:
        try:
            written = InferencePlan.model_validate(document)
        except ValidationError as error:
            for one in spec_errors(error, InferencePlan):
                _put(errors, one)
    found = _found(state, settings, errors)
    config = _config(state, errors)
    if errors or written is None:
        raise Wrong(errors)
    try:
        rented = state.source == "rent"
        asked = page_question(
            written, found, config, shown=not rented and state.source != "cluster"
        )
        return replace(asked, rented=rented)
    except SpecError as error:
        if isinstance(error, UnknownModel) and error.field == "spec.model.name":
            raise Wrong({"model": _unknown(error)}) from None
        if error.field in BY_PATH:
            _put(errors, error)
            raise Wrong(errors) from None
        raise Wrong({"model" if config is None else "config": sentence(str(error))}) from None


def _unknown(error: UnknownModel) -> str:
    meant = f" Did you mean {' or '.join(error.close)}?" if error.close else ""
    return f"GUIDE does not know {error.name}.{meant} Or give its config.json below."


def page_question(
    written: InferencePlan, found: Cluster, config: str | None, *, shown: bool = True
) -> PageQuestion:
    """The question of a plan; its nodes go into downloads where they are `shown`."""
    asked = ask(written, found, catalog(), config)
    nodes = tuple(found.nodes) if shown else ()
    return PageQuestion(**asdict(asked), nodes=nodes)


def plan_document(state: State, errors: dict[str, str]) -> dict[str, Any]:
    """The InferencePlan that the form describes, as a document; numbers that are none go to
    `errors`.
    """
    document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {}}
    lengths: dict[str, Any] = {"inputTokens": {}, "outputTokens": {}}  # what lacks is named exactly
    document["spec"] = {"model": {"name": state.model}, "workload": lengths}
    for name, entry in ENTRIES.items():
        text = state.values.get(name, "")
        if text:
            value = _value(entry, text, errors)
            _place(document, entry.path, [value] if name == "framework" else value)
    return document


def _value(entry: Field | Choice, text: str, errors: dict[str, str]) -> Any:
    if isinstance(entry, Choice) or entry.text:
        return text
    if entry.many:
        parts = [part for part in re.split(r"[,;\s]+", text) if part]
        return [_value(replace(entry, many=False), part, errors) for part in parts]
    number = plain_number(text)
    if not entry.whole:
        return number
    if re.fullmatch(r"[0-9]{1,15}", number):
        return int(number)
    errors[entry.name] = f"Must be a whole number, not “{text[:40]}”."
    return 1  # any number, so that the other fields are checked too


def _place(document: dict[str, Any], path: str, value: Any) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        document = document.setdefault(folder, {})
    document[last] = value


def flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The leaves of a document by path."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        found |= flat(item, here) if isinstance(item, Mapping) else {here: item}  # pyright: ignore[reportUnknownArgumentType]
    return found


def form_of(written: InferencePlan) -> tuple[State, tuple[str, ...]]:
    """The form that describes a plan, without GPUs; and fields of the plan that no form has."""
    leaves = flat(written.model_dump(by_alias=True, exclude_defaults=True))
    values: dict[str, str] = {}
    for name, entry in ENTRIES.items():
        value = leaves.get(entry.path)
        if name == "framework":
            several = cast("tuple[str, ...]", value or ())
            value = several[0] if len(several) == 1 else None  # several: the default
        elif isinstance(value, tuple):
            value = ", ".join(map(str, cast("tuple[int, ...]", value)))
        if value is not None:
            values[name] = f"{value:f}" if isinstance(value, Decimal) else str(value)
    known = {*(entry.path for entry in ENTRIES.values()), "spec.model.name"}
    left_out = tuple(p for p in leaves if p.startswith("spec.") and p not in known)
    return State(values={**DEFAULTS, **values}, model=written.spec.model.name), left_out


def _put(errors: dict[str, str], error: SpecError) -> None:
    """Beside its field, or beside the nearest one above it; the first error of a field stays."""
    path = error.field or ""
    place = path
    while place and place not in BY_PATH:
        place = place.rpartition(".")[0] if not place.endswith("]") else place.rpartition("[")[0]
    name, text = BY_PATH.get(place, ""), str(error).removeprefix(path).lstrip(": ").strip()
    if place == "spec.workload":
        for word, other in (
            ("maxContextTokens", "context"),
            ("maxOutputTokens", "most"),
            ("arrivalCV", "cv"),
            ("prefixes", "prefixgroups"),
        ):
            name = other if word in text else name
        if "exactly one" in text:
            text = (
                "fill in requests per second, requests at a time, a batch or a day: one of the four"
            )
    if text.startswith("is required"):
        text = "fill this in"
    errors.setdefault(name, sentence(text))


def sentence(text: str) -> str:
    """An error as a sentence, with a capital letter and an end."""
    text = text.removeprefix("is wrong: ")
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _found(state: State, settings: Settings, errors: dict[str, str]) -> Cluster:
    try:
        if state.source == "rent":
            return Cluster(nodes=rentable(catalog()))
        if state.source == "cluster":
            if not settings.live:
                raise SpecError("this server reads no cluster: choose pools or upload a node list")
            return live(settings)
        if state.source == "nodes":
            if not state.nodes:
                raise SpecError("upload a node list: the output of `kubectl get nodes -o yaml`")
            return Cluster(nodes=unpacked_nodes(state.nodes))
        found = imagined(state.pools, catalog())
        if not found:
            raise RowError(0, "gpu", "Choose a GPU for at least one pool.")
        return Cluster(nodes=found)
    except RowError as error:
        errors[f"pool-{error.row}-{error.column}"] = sentence(str(error))
    except GuideError as error:
        errors["nodes" if state.source == "nodes" else "source"] = sentence(str(error))
    return Cluster()


def _config(state: State, errors: dict[str, str]) -> str | None:
    if not state.config:
        return None
    try:
        value = unpack(state.config)
        if not isinstance(value, str):
            raise SpecError("this part of the link is damaged: paste the file again")
        return value
    except SpecError as error:
        errors["config"] = sentence(str(error))
        return None


def answer(asked: Question) -> Recommendation:
    """The recommendation: remembered, since the page, its downloads and its API share answers."""
    return _waited_for(asked.plan, asked.inventory)


def _waited_for(plan: Plan, inventory: Inventory) -> Recommendation:
    found = answer_within(plan, inventory)
    assert isinstance(found, Recommendation)  # there was no limit of time
    return found


def explained(asked: Question) -> Explanation | None:
    """The recommended deployment taken apart."""
    best = answer(asked).best
    return None if best is None else explain(best, asked.plan, asked.catalog)


def drawn(asked: Question) -> tuple[tuple[LoadPoint, ...], tuple[Timeline, ...]]:
    """The best deployment under growing load, and a minute of a replica of each of its groups;
    remembered like the answer.
    """
    return _drawn(asked.plan, asked.inventory)


@lru_cache(maxsize=REMEMBERED)
def _drawn(plan: Plan, inventory: Inventory) -> tuple[tuple[LoadPoint, ...], tuple[Timeline, ...]]:
    best = _waited_for(plan, inventory).best
    return ((), ()) if best is None else engine.drawn(best, plan)
