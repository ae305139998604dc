"""Commands as users call them: output, exit codes, one sentence for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

import guide.cli
from guide.cli.app import app
from guide.cli.commands import COMMANDS, face
from guide.errors import GuideError, SpecError
from tests import toy
from tests.llama_config import LLAMA

PLAN = """
apiVersion: guide.dev/v1alpha1
kind: InferencePlan
metadata: {name: chat, namespace: ml}
spec:
  model: {name: meta-llama/Llama-3.1-8B-Instruct}
  workload:
    inputTokens: {mean: 1024, p95: 3000}
    outputTokens: {mean: 256, p95: 700}
    requestsPerSecond: 8
"""
NODES = """
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata:
    name: gpu-1
    labels:
      nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3
      nvidia.com/gpu.count: "8"
      nvidia.com/gpu.memory: "81559"
      topology.kubernetes.io/zone: a
  status:
    allocatable: {nvidia.com/gpu: "8", cpu: "64", memory: 512Gi}
    capacity: {nvidia.com/gpu: "8"}
    conditions: [{type: Ready, status: "True"}]
"""


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "nodes.yaml").write_text(NODES)
    return tmp_path


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=text)


def plan(files: Path, *more: str) -> Result:
    arguments = ("plan", "-f", str(files / "plan.yaml"), "--nodes", str(files / "nodes.yaml"))
    return run(*arguments, *more)


def test_a_feasible_plan_exits_0_and_names_the_choice(files: Path):
    result = plan(files)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Run one replica of meta-llama/Llama-3.1-8B-Instruct")
    assert "Top three" in result.output
    assert "\x1b[" not in result.output  # colour only on a terminal


def test_json_and_yaml_say_the_same(files: Path):
    as_json, as_yaml = plan(files, "-o", "json"), plan(files, "-o", "yaml")
    assert json.loads(as_json.output) == yaml.safe_load(as_yaml.output)
    assert json.loads(as_json.output)["kind"] == "Recommendation"


def test_a_plan_can_come_from_stdin(files: Path):
    result = run("plan", "-f", "-", "--nodes", str(files / "nodes.yaml"), "-o", "json", text=PLAN)
    assert result.exit_code == 0, result.output


def test_an_infeasible_plan_exits_3_with_every_reason(files: Path):
    (files / "plan.yaml").write_text(PLAN + "  slo: {ttftP95Milliseconds: 1}\n")
    result = plan(files)
    assert result.exit_code == 3
    assert result.output.startswith("None of ")
    assert "MissesTTFT" in result.output
    assert "spec.slo.ttftP95Milliseconds" in result.output


def test_no_gpu_node_is_exit_3_with_a_sentence(files: Path):
    (files / "nodes.yaml").write_text("apiVersion: v1\nkind: List\nitems: []\n")
    result = plan(files)
    assert result.exit_code == 3
    assert "no node with GPUs" in result.output


def test_node_selector_limits_the_nodes(files: Path):
    here = PLAN + "  placement: {nodeSelector: {topology.kubernetes.io/zone: ZONE}}\n"
    for zone, code in (("a", 0), ("b", 3)):
        (files / "plan.yaml").write_text(here.replace("ZONE", zone))
        assert plan(files).exit_code == code


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("plan.yaml", "{", "not valid YAML"),
        ("plan.yaml", PLAN.replace("requestsPerSecond: 8", "requestsPerSecond: -1"), "requests"),
        ("plan.yaml", PLAN + "  colour: blue\n", "colour"),
        ("plan.yaml", PLAN.replace("Llama-3.1-8B-Instruct", "Llama-9"), "not in the catalogue"),
        ("nodes.yaml", "kind: PodList\nitems: [{kind: Pod}]\n", "no Node"),
        ("nodes.yaml", "kind: List\nitems: 7\n", "items must be a list"),
        ("nodes.yaml", '{"kind": ', "not valid JSON"),
    ],
)
def test_bad_input_is_one_sentence(files: Path, name: str, content: str, sentence: str):
    (files / name).write_text(content)
    result = plan(files)
    assert isinstance(result.exception, SpecError)
    assert sentence in str(result.exception)
    assert "\n" not in str(result.exception)


def test_missing_files_are_named(files: Path):
    (files / "nodes.yaml").unlink()
    assert "nodes.yaml" in str(plan(files).exception)


def test_pods_alone_are_refused(files: Path):
    result = run("plan", "-f", str(files / "plan.yaml"), "--pods", str(files / "nodes.yaml"))
    assert "--pods needs --nodes" in str(result.exception)


def test_errors_end_in_exit_2_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(prog_name: str) -> None:
        raise GuideError("the plan is wrong")

    monkeypatch.setattr("guide.cli.commands.face", lambda called: fail)
    with pytest.raises(SystemExit) as stopped:
        guide.cli.main()
    assert stopped.value.code == guide.cli.BAD_INPUT == 2
    assert capsys.readouterr().err == "guide: the plan is wrong\n"


@pytest.mark.parametrize("command", ["gpus", "models"])
def test_lists_come_as_table_and_document(command: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("guide.perf.fits.resolve", toy.resolve)
    items = json.loads(run(command, "-o", "json").output)["items"]
    assert len(items) > 20
    table = run(command)
    assert table.exit_code == 0
    assert items[0]["name"] in table.output


@pytest.mark.parametrize("word", ["", "--help", "none-such", *COMMANDS])
def test_a_command_is_built_alone_where_the_first_word_names_one(word: str):
    built = [each.name for each in face(word).registered_commands]
    assert built == ([word] if word in COMMANDS else list(COMMANDS))


def test_a_command_that_is_named_is_the_only_one_that_is_loaded():
    script = "import sys, guide.cli.commands as c; c.face('gpus'); print(*sys.modules, sep='\\n')"
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    assert {name for name in COMMANDS if f"guide.cli.{name}" in loaded} == {"gpus"}


def test_a_command_ends_without_a_look_for_garbage():
    script = (
        "import atexit, gc, guide.cli\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"
        "guide.cli.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, "--version"], check=True, capture_output=True, text=True
    )
    assert ended.stdout.splitlines()[-1] == "True"


def test_every_command_has_help():
    for command in COMMANDS:
        result = run(command, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.output


@pytest.mark.parametrize(
    ("program", "called"), [("guide", "guide"), ("kubectl-guide", "kubectl guide")]
)
def test_help_names_the_program_as_it_was_called(
    program: str,
    called: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    with pytest.raises(SystemExit):
        guide.cli.main()
    assert f"Usage: {called} [OPTIONS]" in capsys.readouterr().out


def test_the_version_is_printed_without_a_command():
    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"guide {guide.__version__}\n")


def test_help_loads_no_engine():
    heavy = (
        "guide.search",
        "guide.catalog",
        "guide.spec",
        "pydantic",
        "yaml",
        "numpy",
        "kubernetes",
    )
    script = f"import sys, guide.cli.app\nprint(sorted(m for m in {heavy!r} if m in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert loaded.stdout.strip() == "[]"


def test_a_question_is_given_up_after_its_time(monkeypatch: pytest.MonkeyPatch, files: Path):
    def endless(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr("guide.question.recommend", endless)
    result = plan(files, "--timeout", "0.01")
    assert isinstance(result.exception, SpecError)  # exit code 2
    assert "takes more than 0.01 seconds of computing" in str(result.exception)


def test_a_plan_may_name_its_model_by_a_path(files: Path):
    own = files / "own"
    own.mkdir()
    (own / "config.json").write_text(json.dumps(LLAMA))
    named = PLAN.replace("meta-llama/Llama-3.1-8B-Instruct", "./own")
    (files / "plan.yaml").write_text(named)
    flags = ("-f", str(files / "plan.yaml"), "--nodes", str(files / "nodes.yaml"))
    for command in ("plan", "explain"):
        result = run(command, *flags)
        assert result.exit_code == 0, result.output
        assert "replica of own " in result.output
    refused = run("render", *flags, "--out", str(files / "out"))
    assert isinstance(refused.exception, SpecError)
    assert "which no pod can load" in str(refused.exception)
    assert not (files / "out").exists()
    (files / "plan.yaml").write_text(named.replace("./own", "./gone"))
    missing = run("plan", *flags)
    assert isinstance(missing.exception, SpecError)
    assert "spec.model.name: there is no" in str(missing.exception)


@pytest.mark.parametrize("command", ["explain", "simulate"])
def test_gpus_of_the_user_may_be_explained_and_simulated(command: str, files: Path):
    gpus, trace = files / "gpus.yaml", files / "trace.csv"
    gpus.write_text("rows: [{name: Z9, vendor: nvidia, memory_gb: 80}]\n", encoding="utf-8")
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,9,9\n", encoding="utf-8")
    more = ("--trace", str(trace)) if command == "simulate" else ()
    result = run(command, "-f", str(files / "plan.yaml"), "--gpus", str(gpus), *more)
    assert "row 1 (Z9): generation is missing." in str(result.exception)
