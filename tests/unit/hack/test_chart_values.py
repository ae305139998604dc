"""The table of values in the chart's README is what values.yaml and its schema say."""

from __future__ import annotations

import json

import pytest

from hack.values import CHART, README, readme, rows

TEXT = README.read_text(encoding="utf-8")
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
ROWS = list(rows((CHART / "values.yaml").read_text(encoding="utf-8"), SCHEMA))


def test_the_table_is_the_generated_one():
    assert readme(TEXT) == TEXT, "run `make generate`"


def test_what_is_written_by_hand_stays():
    before, rest = TEXT.split("<!-- Generated", 1)
    assert readme(f"By hand.\n{before}<!-- Generated{rest}After.\n") == f"By hand.\n{TEXT}After.\n"


@pytest.mark.parametrize("row", [row for row in ROWS if row[1]], ids=lambda row: row[0])
def test_every_value_has_a_type_a_default_and_a_meaning(row: tuple[str, ...]):
    assert all(row), row


def test_comments_above_and_behind_and_defaults_are_read():
    schema = {
        "properties": {
            "a": {"properties": {"b": {"type": "integer", "minimum": 1}}},
            "c": {"type": "array", "items": {"type": "string"}},
        }
    }
    text = "# Title.\n\n# Of a,\n# in two lines.\na:\n  b: 2  # behind\nc: ['# x']\n"
    assert list(rows(text, schema)) == [
        ("`a`", "", "", "Of a, in two lines."),
        ("`a.b`", "integer from 1", "`2`", "behind"),
        ("`c`", "list of string", '`["# x"]`', ""),
    ]
