"""Definitions of other projects' kinds, from their Go modules, as users of envtest load them.

Each module is pinned by version and by the checksum of its content; nothing of it is compiled or
copied into the repository. A module lies in the Go module cache, like the control plane's sources.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hack.controlplane.build import ControlPlaneError, cache_dir, find_go, locked, run_go


class Pinned(NamedTuple):
    """A Go module of one version, and the files in it that define kinds."""

    module: str
    version: str
    checksum: str  # of its content, as go.sum writes it
    files: tuple[str, ...]


PINS = (
    Pinned(
        "sigs.k8s.io/gateway-api",
        "v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        (
            "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
            "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        ),
    ),
    Pinned(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        ("example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",),
    ),
    Pinned(
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
)


def definitions() -> list[dict[str, Any]]:
    """CustomResourceDefinitions of all `PINS`.

    Raises ControlPlaneError with one sentence where a module cannot be had, or is another than the
    pinned one.
    """
    with locked(cache_dir() / "lock"):
        go = find_go()
        return [each for pinned in PINS for each in _of(pinned, go)]


def _of(pinned: Pinned, go: Path) -> Iterator[dict[str, Any]]:
    # Outside of a module: what the module itself needs plays no part.
    name = f"{pinned.module}@{pinned.version}"
    said = json.loads(run_go(go, "mod", "download", "-json", name, module=cache_dir()))
    if said["Sum"] != pinned.checksum:
        raise ControlPlaneError(f"{name} is not the pinned one: its checksum is {said['Sum']}.")
    for file in pinned.files:
        yield from yaml.safe_load_all((Path(said["Dir"]) / file).read_text("utf-8"))
