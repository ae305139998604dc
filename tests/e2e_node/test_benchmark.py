"""The benchmark Job with the real `vllm bench serve`, a client that needs no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from guide import catalog
from hack.controlplane.build import locked
from hack.controlplane.kubectl import Kubectl
from hack.node.node import Node
from hack.node.programs import node_dir
from tests.e2e_node.plans import MODEL, plan, serving, stuck

NAME, NAMESPACE = "measured", "bench"
REQUESTS = 120
WORDS = 4000  # of the tokenizer
LIBRARIES = "/opt/vllm"


@pytest.fixture(scope="module")
def client() -> Path:
    """The modelled release of vLLM for the Python of the operator's image, 9 GB once."""
    version = catalog.release(catalog.load(), "vLLM").version
    done = node_dir() / f"vllm-{version}"
    install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python-version=3.11")
    with locked(node_dir() / "vllm.lock"):
        if not (done / "vllm").exists():
            subprocess.run([*install, f"--target={done}", f"vllm=={version}"], check=True)
    return done


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A Hugging Face cache with a tokenizer of whole words: random prompts keep their length."""
    vocabulary = {word: i for i, word in enumerate(["<unk>", *(f"w{i}" for i in range(WORDS))])}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    files: dict[str, Any] = {
        "tokenizer.json": {
            **{"version": "1.0", "added_tokens": [], "truncation": None, "padding": None},
            **{"normalizer": None, "post_processor": None, "decoder": None},
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": model,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
            "model_max_length": 131072,
        },
        "config.json": {"model_type": "llama", "vocab_size": len(vocabulary)},
    }
    folder = tmp_path / "hub" / f"models--{MODEL.replace('/', '--')}"
    revision = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    snapshot = folder / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for name, value in files.items():
        (snapshot / name).write_text(json.dumps(value))
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """One that lets pods mount folders of the node, which the plans' own forbids."""
    kubectl("create", "namespace", NAMESPACE)
    secret = ("create", "secret", "generic", "hf-token-secret", "--from-literal=token=none")
    kubectl("-n", NAMESPACE, *secret)
    yield NAMESPACE
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_the_benchmark_runs_and_its_result_is_read(
    node: Node,
    kubectl: Kubectl,
    release: str,
    standin_image: str,
    client: Path,
    weights: Path,
    namespace: str,
    tmp_path: Path,
):
    with serving(kubectl, release, NAME, standin_image, 3):
        job = _rendered(kubectl, plan(release, NAME, standin_image, 3), tmp_path)
        kubectl.apply(_on_the_node(job, namespace, standin_image, client, weights))

        result = tmp_path / "run.json"
        result.write_text(_log_when_done(kubectl, job["metadata"]["name"]).splitlines()[-1])
    told = json.loads(result.read_text())
    assert told["completed"] == REQUESTS
    words = ("calibrate", str(result), "--gpu", "H100-SXM", "--out", str(tmp_path / "fits.yaml"))
    subprocess.run([Path(sys.executable).parent / "guide", *words], check=True)
    assert (tmp_path / "fits.yaml").exists()


def _log_when_done(kubectl: Kubectl, job: str) -> str:
    """What the Job printed; a Job that failed, or whose pod cannot start, is waited for no more."""

    @retry(
        stop=stop_after_delay(400), wait=wait_fixed(2), retry=retry_if_result(lambda log: not log)
    )
    def log() -> str:
        status = kubectl.json("-n", NAMESPACE, "get", "job", job)["status"]
        said = kubectl("-n", NAMESPACE, "logs", "-l", "app=bench", "--tail=-1", check=False)
        pods = kubectl.json("-n", NAMESPACE, "get", "pods", "-l", "app=bench")["items"]
        assert not status.get("failed"), f"{stuck(pods)}\n{said.stdout[-3000:]}{said.stderr}"
        assert not stuck(pods)
        return said.stdout if status.get("succeeded") else ""

    return log()


def _rendered(kubectl: Kubectl, document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The Job as `guide render` writes it for the cluster as it is."""
    (folder / "nodes.yaml").write_text(kubectl("get", "nodes", "-o", "yaml").stdout)
    (folder / "plan.yaml").write_text(yaml.safe_dump(document))
    words = ("render", "-f", "plan.yaml", "--nodes", "nodes.yaml", "--with-benchmark", "--out")
    subprocess.run([Path(sys.executable).parent / "guide", *words, "out"], cwd=folder, check=True)
    return yaml.safe_load((folder / "out" / "benchmark.yaml").read_text())


def _on_the_node(
    job: dict[str, Any], namespace: str, image: str, client: Path, weights: Path
) -> dict[str, Any]:
    """The same Job, shorter, with vLLM and a tokenizer from folders instead of its image."""
    template = job["spec"]["template"]
    template["metadata"]["labels"]["app"] = "bench"
    job["metadata"]["namespace"] = namespace
    pod = template["spec"]
    (bench,) = pod["containers"]
    assert bench["command"] == ["vllm", "bench", "serve"]
    bench["command"] = ["python", "-m", "vllm.entrypoints.cli.main", "bench", "serve"]
    bench["image"] = image
    bench["resources"] = {"requests": {"cpu": "10m", "memory": "64Mi"}}
    bench["env"] += [
        {"name": "PYTHONPATH", "value": LIBRARIES},
        {"name": "HF_HUB_OFFLINE", "value": "1"},
    ]
    bench["args"] = [
        f"--num-prompts={REQUESTS}" if arg.startswith("--num-prompts=") else arg
        for arg in bench["args"]
    ]
    bench["volumeMounts"].append({"name": "vllm", "mountPath": LIBRARIES, "readOnly": True})
    folders = {"vllm": client, "models": weights}
    pod["volumes"] = [v for v in pod["volumes"] if v["name"] not in folders] + [
        {"name": name, "hostPath": {"path": str(path)}} for name, path in folders.items()
    ]
    return job
