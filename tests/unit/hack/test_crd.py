"""The committed CRD is the generated one, and structural."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from guide.errors import SpecError
from guide.spec import parse_plan
from hack import crd
from tests.good_plan import PLAN


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for child in schema.get("properties", {}).values():
        yield from schemas(child)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from schemas(schema[key])


ROOT: dict[str, Any] = crd.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("path", crd.TARGETS, ids=lambda p: str(p.relative_to(crd.ROOT)))
def test_the_committed_file_is_the_generated_one(path: Any):
    assert path.read_text(encoding="utf-8") == crd.text(), "run `make generate`"


def test_every_schema_is_structural_and_described():
    for schema in schemas(ROOT):
        assert "type" in schema or schema.get("x-kubernetes-int-or-string")
        assert not {"$ref", "anyOf", "title", "default", "patternProperties"} & set(schema)
        for name, child in schema.get("properties", {}).items():
            assert "description" in child or (schema is ROOT and name == "metadata")


def test_every_field_of_the_schema_is_one_that_the_reader_knows():
    spec = ROOT["properties"]["spec"]["properties"]
    plan = {**PLAN, "spec": {**PLAN["spec"], **{name: {} for name in spec if name != "frameworks"}}}
    with pytest.raises(SpecError) as error:
        parse_plan(plan)
    assert "not a field" not in str(error.value)


def unguarded(schema: dict[str, Any], rule: str) -> set[str]:
    """Fields that a rule reads though they may be absent, and does not ask for by `has`."""
    found: set[str] = set()
    for path in re.findall(r"\bself((?:\.[a-zA-Z0-9]+)+)\b(?!\()", rule):
        inside, so_far = schema, "self"
        for name in path[1:].split("."):
            fields = inside.get("properties", {})
            if name not in fields:
                break  # of a value: size, or a key of a map
            so_far += f".{name}"
            if name not in inside.get("required", ()) and f"has({so_far})" not in rule:
                found.add(so_far)
            inside = fields[name]
    return found


def test_no_rule_reads_a_field_that_may_be_absent():
    """The API server knows no defaults of the reader, and a rule that fails refuses the object."""
    rules = [
        (schema, each["rule"])
        for schema in schemas(ROOT)
        for each in schema.get("x-kubernetes-validations", ())
    ]
    assert len(rules) > 30
    assert not {rule: names for schema, rule in rules if (names := unguarded(schema, rule))}


def test_a_rule_that_reads_what_may_be_absent_is_found():
    part = {"required": ["a"], "properties": {"a": {}, "b": {}}}
    schema = {"required": ["p"], "properties": {"p": part, "q": part}}
    assert unguarded(schema, "self.p.a > 0 && self.p.b > 0") == {"self.p.b"}
    assert unguarded(schema, "!has(self.q) || self.q.a > self.p.a") == set()
    assert unguarded(schema, "!has(self.q) || self.q.b > 0") == {"self.q.b"}


def test_a_union_that_kubernetes_cannot_hold_is_refused():
    from pydantic import BaseModel

    class Odd(BaseModel):
        """Odd."""

        value: int | str

    with pytest.raises(ValueError, match="only a union with null"):
        crd.structural(Odd)
