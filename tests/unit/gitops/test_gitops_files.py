"""The ready files of docs/gitops call commands and flags that exist, and say what they do."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from guide.cli.app import app
from guide.cli.commands import COMMANDS
from tests.tutorial import ROOT

FOLDER = ROOT / "docs/gitops"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
CALL = re.compile(r"(?<![\w./-])guide (?=[a-z])([^|;&>\n]*)")


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def calls(path: Path) -> list[list[str]]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "#" not in line[:3]]
    found = CALL.findall("\n".join(lines))
    return [shlex.split(call) for call in found if call.split()[0] in COMMANDS]


@pytest.mark.parametrize("path", [p for p in FILES if calls(p)], ids=lambda p: p.name)
def test_commands_and_flags_exist(path: Path):
    for words in calls(path):
        known = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "300"}).output
        for word in words[1:]:
            if word.startswith("-"):
                assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", known), (path, word)


def test_at_least_the_ready_files_call_the_check():
    checking = {path.name for path in FILES if any(call[0] == "check" for call in calls(path))}
    assert {"github-actions.yaml", "gitlab-ci.yaml"} <= checking


def test_the_github_workflow_has_the_rights_that_it_needs():
    flow = load("github-actions.yaml")
    assert flow["permissions"] == {"contents": "read", "security-events": "write"}
    for step in flow["jobs"]["check"]["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert "@v" in step.get("uses", "@v")


def test_the_gitlab_job_keeps_its_report_when_it_fails():
    job = load("gitlab-ci.yaml")["guide-check"]
    assert job["artifacts"] == {"when": "always", "reports": {"junit": "guide.xml"}}
    assert any("--output junit" in line for line in job["script"])


def test_the_hook_is_the_one_that_the_example_names():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    (repository,) = load("pre-commit-hooks.yaml")["repos"]
    assert [each["id"] for each in repository["hooks"]] == [hook["id"]]
    assert hook["entry"].split()[1] in COMMANDS
    assert hook["language"] == "python"


def test_the_argo_plugin_prints_exactly_the_objects(tmp_path: Path):
    spec = load("argocd-plugin.yaml")["spec"]
    shutil.copy(FOLDER / "kustomize/nodes.yaml", tmp_path)
    plan = yaml.safe_load((FOLDER / "kustomize/plan.yaml").read_text(encoding="utf-8"))
    plan["spec"]["frameworks"] = ["vLLM"]
    (tmp_path / spec["discover"]["fileName"]).write_text(yaml.safe_dump(plan))
    generate = spec["generate"]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        [*generate["command"], *generate["args"]],
        cwd=tmp_path,
        env={"PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    kinds = [item["kind"] for item in yaml.safe_load_all(done.stdout) if item]
    assert kinds == ["Deployment", "PodDisruptionBudget", "Service"]
