"""All commands as one application: what completes words and writes the reference asks."""

from __future__ import annotations

from guide.cli.commands import face

app = face()
