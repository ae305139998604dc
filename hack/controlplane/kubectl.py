"""kubectl against one cluster, as a value."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Calls one kubectl with one kubeconfig."""

    program: Path
    kubeconfig: Path

    def __call__(
        self, *arguments: str | Path, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl; with check, a failure raises AssertionError with what kubectl said."""
        words = [str(word) for word in arguments]
        result = subprocess.run(
            [self.program, f"--kubeconfig={self.kubeconfig}", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {result.stderr.strip()}")
        return result

    def json(self, *arguments: str | Path) -> Any:
        """The parsed `-o json` output of a command."""
        return json.loads(self(*arguments, "-o", "json").stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side apply of objects, refusing unknown fields."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self(
            "apply",
            "--server-side",
            "--validate=strict",
            "-f",
            "-",
            stdin=json.dumps(document),
        )
