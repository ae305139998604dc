"""The committed CRD is the generated one, and structural."""

from __future__ import annotations

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


def test_a_union_that_kubernetes_cannot_hold_is_refused():
    from pydantic import BaseModel

    class Odd(BaseModel):
        """Odd."""

        value: int | str

    with pytest.raises(ValueError, match="only a union with null"):
        crd.structural(Odd)
