"""Plans meant to do harm: each is refused in one sentence or answered, and no text gets out.

GUIDE_HOSTILE_PLANS sets the number of plans of each test.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.errors import SpecError
from guide.kube.manifests import build_objects, render_files
from guide.spec import InferencePlan, load_plan, parse_plan, resolve_plan
from tests.broken_plans import PLAN
from tests.handmade import RECOMMENDATION

CATALOG = load()
# The API server takes no longer message in a condition.
LONGEST_MESSAGE = 32_768

many = settings(
    max_examples=int(os.environ.get("GUIDE_HOSTILE_PLANS", "200")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

PAYLOADS = (
    "$(reboot)",
    "`id`",
    "; rm -rf / #",
    "' || true; '",
    '"; cat /etc/passwd; "',
    "a\nb: c",
    "x\n---\nkind: Secret",
    "{{ .Values.secret }}",
    "{% import os %}",
    "${HOME}",
    "$(HF_TOKEN)",
    "%s%n{0.__class__}",
    "../../etc/shadow",
    "kube-system/token",
    "&a *a",
    "!!python/object/apply:os.system [id]",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1)) | | \\",
    "\u202egnp.exe",
    "\u2028\x85\ufeff",
    "\x00\x1b[2J",
    "\ud800",
    "na\u0131ve\u0301",
    "~",
    "yes",
    "0x1f",
    "1e999",
    "-1",
    "a" * 5000,
)
PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.labels",
    "spec",
    "spec.model.name",
    "spec.model.configFrom",
    "spec.workload.inputTokens.mean",
    "spec.workload.outputTokens.p95",
    "spec.workload.requestsPerSecond",
    "spec.workload.arrivalCV",
    "spec.workload.maxContextTokens",
    "spec.slo.ttftP95Milliseconds",
    "spec.budget.maxGPUs",
    "spec.budget.maxHourlyUSD",
    "spec.preference",
    "spec.frameworks",
    "spec.optimizations",
    "spec.placement.gpus",
    "spec.placement.nodeSelector",
    "spec.deployment.image",
    "spec.deployment.imageFastGen",
    "spec.deployment.modelCache",
    "spec.deployment.modelCache.claimName",
    "spec.deployment.tokenSecretRef.name",
    "spec.deployment.tokenSecretRef.key",
    "spec.deployment.extraArgs",
    "spec.output.mode",
)

texts = st.sampled_from(PAYLOADS) | st.text(max_size=40)
arguments = st.builds("{}={}".format, st.sampled_from(("--seed", "--tokenizer")), texts)
scalars = (
    texts
    | arguments
    | st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from((0, -1, 2**63, 10**400))
    | st.floats()
)
values = st.recursive(
    scalars,
    lambda child: st.lists(child, max_size=3) | st.dictionaries(texts, child, max_size=3),
    max_leaves=6,
)
changes = st.dictionaries(st.sampled_from(PATHS), values, min_size=1, max_size=3)


def changed(new: dict[str, Any]) -> dict[str, Any]:
    """The good plan with other values at those paths."""
    plan = copy.deepcopy(PLAN)
    for path in sorted(new):  # parents first
        *parents, last = path.split(".")
        place: Any = plan
        for part in parents:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[last] = new[path]
    return plan


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
        files = render_files(plan, RECOMMENDATION, CATALOG)
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

MODEL, IMAGE, CLAIM, SECRET, KEY, TEAM, ARGUMENT = (f"mark{index}mark" for index in range(7))
MARKED = (MODEL, IMAGE, CLAIM, SECRET, KEY, TEAM, ARGUMENT)


def filled(texts: tuple[str, ...]) -> dict[str, Any]:
    """A plan with these texts in every field that reaches a manifest."""
    model, image, claim, secret, key, team, argument = texts
    plan = copy.deepcopy(PLAN)
    plan["spec"] |= {
        "model": {"name": model},
        "placement": {"nodeSelector": {"team": team}},
        "output": {"monitoring": "PodMonitor"},
        "deployment": {
            "image": image,
            "modelCache": {"claimName": claim},
            "tokenSecretRef": {"name": secret, "key": key},
            "extraArgs": [f"--tokenizer={argument}", "--seed=1"],
        },
    }
    return plan


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
    files = render_files(parse_plan(filled(texts)), RECOMMENDATION, CATALOG)
    return {
        name: dict(leaves(yaml.safe_load(text)))
        for name, text in files.items()
        if name.endswith(".yaml")
    }


EXPECTED = rendered(MARKED)
name_like = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
hostile_arguments = texts.filter(lambda text: not {"\r", "\n"} & set(text) and len(text) < 400)
accepted = st.tuples(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,20}", fullmatch=True),
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._/:-]{0,20}", fullmatch=True),
    name_like,
    name_like,
    st.from_regex(r"[-._a-zA-Z0-9]{1,12}", fullmatch=True),
    st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?)?", fullmatch=True),
    hostile_arguments,
)


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
