"""Plans meant to do harm: each is refused in one sentence or answered, and no text gets out.

GUIDE_HOSTILE_PLANS sets the number of plans of each test.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.errors import SpecError
from guide.manifests.render import build_objects, render_files
from guide.spec import InferencePlan, load_plan, parse_plan, resolve_plan
from tests.good_plan import PLAN
from tests.handmade import RECOMMENDATION
from tests.hostile_plans import (
    MARKED,
    accepted,
    changed,
    changes,
    configs,
    filled,
    scalars,
    texts,
    values,
)

CATALOG = load()
# The API server takes no longer message in a condition.
LONGEST_MESSAGE = 32_768

many = settings(
    max_examples=int(os.environ.get("GUIDE_HOSTILE_PLANS", "200")),
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def one_sentence(error: SpecError) -> None:
    sentence = str(error)
    assert sentence
    assert len(sentence.splitlines()) == 1, sentence
    assert len(sentence) < LONGEST_MESSAGE
    assert sentence.isprintable(), sentence


def answer(plan: InferencePlan) -> None:
    """Go as far as the operator goes, but for the search: refuse, or write files."""
    try:
        resolve_plan(plan, CATALOG)
        files = render_files(plan, RECOMMENDATION)
    except SpecError as error:
        one_sentence(error)
        return
    assert RECOMMENDATION.best is not None
    for name, value in build_objects(plan, RECOMMENDATION.best):
        assert yaml.safe_load(files[name]) == value  # one document, and nothing more in it
        assert value["metadata"]["namespace"] == plan.metadata.namespace


@many
@given(changes)
def test_a_hostile_object_is_refused_in_one_sentence_or_answered(new: dict[str, Any]):
    try:
        plan = parse_plan(changed(new))
    except SpecError as error:
        one_sentence(error)
    else:
        answer(plan)


@many
@given(configs.map(json.dumps) | values.map(json.dumps) | texts)
def test_a_hostile_config_is_refused_in_one_sentence_or_answered(config: str):
    """What a ConfigMap of a tenant may hold as the config.json of a model."""
    try:
        resolve_plan(parse_plan(PLAN), CATALOG, config)
    except SpecError as error:
        one_sentence(error)


@many
@given(st.sampled_from(["", "spec", "metadata", "spec.deployment", "spec.model"]), texts, scalars)
def test_an_unknown_field_is_refused_in_one_sentence(below: str, name: str, value: Any):
    plan = copy.deepcopy(PLAN)
    place = plan
    for part in filter(None, below.split(".")):
        place = place.setdefault(part, {})
    place[name] = value
    with pytest.raises(SpecError) as error:
        parse_plan(plan)
    one_sentence(error.value)


lines = st.sampled_from(yaml.safe_dump(PLAN).splitlines()) | texts


@many
@given(st.text(max_size=200) | st.lists(lines, max_size=15).map("\n".join))
def test_a_hostile_text_is_refused_in_one_sentence_or_answered(text: str):
    try:
        plan = load_plan(text)
    except SpecError as error:
        one_sentence(error)
    else:
        answer(plan)


@many
@given(st.integers(2, 9), st.integers(2, 9), st.sampled_from(["*a{}", "[*a{0}, *a{0}]"]))
def test_an_alias_bomb_is_refused_before_it_grows(levels: int, width: int, use: str):
    rows = ["a0: &a0 [x, x]"]
    for level in range(levels):
        inside = ", ".join([use.format(level)] * width)
        rows.append(f"a{level + 1}: &a{level + 1} [{inside}]")
    with pytest.raises(SpecError, match="alias") as error:
        load_plan("\n".join(rows))
    one_sentence(error.value)


# --- text that is accepted stays where it belongs -------------------------------------------------


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, scalar) of all that a document holds."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from leaves(below, (*path, str(index)))
    else:
        yield path, value


def rendered(texts: tuple[str, ...]) -> dict[str, dict[tuple[str, ...], Any]]:
    """The leaves of every manifest of the plan with these texts."""
    files = render_files(parse_plan(filled(texts)), RECOMMENDATION)
    return {
        name: dict(leaves(yaml.safe_load(text)))
        for name, text in files.items()
        if name.endswith(".yaml")
    }


EXPECTED = rendered(MARKED)


@many
@given(accepted)
def test_accepted_text_stays_in_its_argument_or_value(texts: tuple[str, ...]):
    try:
        found = rendered(texts)
    except SpecError as error:
        one_sentence(error)
        return
    assert found.keys() == EXPECTED.keys()
    for name, marked in EXPECTED.items():
        wanted = {
            path: put_in(leaf, texts) if isinstance(leaf, str) else leaf
            for path, leaf in marked.items()
        }
        assert found[name] == wanted


def put_in(leaf: str, texts: tuple[str, ...]) -> str:
    """The leaf with the texts in place of their marks; a leaf holds at most one mark."""
    for mark, text in zip(MARKED, texts, strict=True):
        if mark in leaf:
            return leaf.replace(mark, text)
    return leaf


def test_every_mark_reaches_a_manifest_and_no_shell_reads_any():
    deployment = EXPECTED["deployment-0.yaml"]
    for mark in MARKED:
        assert any(mark in str(leaf) for leaf in deployment.values()), mark
    container = ("spec", "template", "spec", "containers", "0")
    command = [leaf for path, leaf in deployment.items() if path[:6] == (*container, "command")]
    assert command == ["vllm", "serve"]
