"""What a check found, in the forms that people and continuous integration read.

Plain text, workflow commands of GitHub, SARIF 2.1.0 (code scanning), JUnit XML (GitLab and others).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any
from xml.etree import ElementTree

import guide
from guide.record import Record

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


class Level(StrEnum):
    """How bad a finding is: only an error means that the folder no longer holds."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Finding(Record, frozen=True, kw_only=True):
    """One thing that a check found: where, what, and what to do about it."""

    level: Level
    rule: str  # CamelCase, stable: people suppress by it
    message: str
    remedy: str
    file: str = ""
    line: int | None = None

    @property
    def sentence(self) -> str:
        """What and what to do."""
        return f"{self.message}. To do: {self.remedy}."


RULES: dict[str, str] = {
    "BetterPlan": "Another deployment now serves the plan better",
    "CatalogChanged": "The review was made with other facts, fits, prices or another GUIDE",
    "FileEdited": "A rendered file was changed by hand",
    "FileMissing": "A rendered file is gone",
    "InventoryChanged": "The cluster differs from the one of the review",
    "LimitBroken": "The deployment no longer keeps a limit of its plan",
    "NotReproducible": "Rendering again gives other manifests",
    "PlanMoved": "The plan is not the one that was rendered",
    "WhatIf": "The plan counts on a switch that no server has",
}


def failed(findings: Sequence[Finding], *, strict: bool = False) -> bool:
    """Whether a folder no longer meets its plan; `strict` counts warnings too."""
    bad = {Level.ERROR, Level.WARNING} if strict else {Level.ERROR}
    return any(finding.level in bad for finding in findings)


def as_text(findings: Sequence[Finding], folders: Sequence[str]) -> str:
    """One line a finding, and one for each folder without any."""
    bad = {f.file.rpartition("/")[0] for f in findings}
    lines = [f"{f.level.value}: {_place(f)}: {f.sentence} [{f.rule}]" for f in findings]
    lines += [f"{folder} meets its plan." for folder in folders if folder not in bad]
    return "".join(line + "\n" for line in lines)


def as_github(findings: Sequence[Finding], folders: Sequence[str]) -> str:
    """Workflow commands: annotations on the files of a pull request."""
    del folders
    words = {Level.NOTE: "notice"}
    lines: list[str] = []
    for f in findings:
        fields = {"file": f.file, "title": f.rule}
        if f.line is not None:
            fields["line"] = str(f.line)
        shown = ",".join(f"{k}={_property(v)}" for k, v in sorted(fields.items()))
        lines.append(f"::{words.get(f.level, f.level.value)} {shown}::{_data(f.sentence)}")
    return "".join(line + "\n" for line in lines)


def as_sarif(findings: Sequence[Finding], folders: Sequence[str]) -> str:
    """A SARIF log with one run."""
    del folders
    rules = sorted(RULES)
    log: dict[str, Any] = {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "guide",
                        "version": guide.__version__,
                        "semanticVersion": guide.__version__,
                        "rules": [
                            {"id": name, "shortDescription": {"text": RULES[name]}}
                            for name in rules
                        ],
                    }
                },
                "columnKind": "utf16CodeUnits",
                "results": [_result(f, rules.index(f.rule)) for f in findings],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def as_junit(findings: Sequence[Finding], folders: Sequence[str]) -> str:
    """A test suite with a case for each rule: failed by errors, the rest told as output."""
    by_rule = {rule: [f for f in findings if f.rule == rule] for rule in sorted(RULES)}
    broken = sum(failed(found) for found in by_rule.values())
    counts = {"errors": "0", "failures": str(broken), "tests": str(len(by_rule)), "time": "0"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(
        suites, "testsuite", {**counts, "name": f"guide check {' '.join(folders)}", "skipped": "0"}
    )
    for rule, found in by_rule.items():
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {"classname": f"guide.check.{rule}", "name": RULES[rule], "time": "0"},
        )
        text = "\n".join(f"{_place(f)}: {f.sentence}" for f in found)
        if failed(found):
            worst = next(f for f in found if f.level is Level.ERROR)
            told = {"message": worst.message, "type": rule}
            ElementTree.SubElement(case, "failure", told).text = text
        elif found:
            ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(suites)
    body = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _result(f: Finding, index: int) -> dict[str, Any]:
    region = {} if f.line is None else {"region": {"startLine": f.line}}
    return {
        "ruleId": f.rule,
        "ruleIndex": index,
        "level": f.level.value,
        "message": {"text": f.sentence},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(f.file)}, **region}}],
    }


def _place(f: Finding) -> str:
    return f.file if f.line is None else f"{f.file}:{f.line}"


def _uri(path: str) -> str:
    """A relative path as the reference that SARIF wants."""
    return path.replace("%", "%25").replace(" ", "%20").replace("#", "%23").replace("?", "%3F")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
