"""Which extra of the distribution brings a library that is not installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTION = "guide-advisor"
_OF_AN_EXTRA = re.compile(r"^([\w.-]+).*extra == ['\"]([\w-]+)['\"]")


def how_to_install(module: str, command: str) -> str | None:
    """One sentence for a missing top-level module; None where no extra names it.

    Of several extras that bring it, the one named like the command is for it.
    """
    try:
        found = map(_OF_AN_EXTRA.match, requires(DISTRIBUTION) or [])
    except PackageNotFoundError:
        return None
    extras = [m[2] for m in found if m and m[1].replace("-", "_") == module]
    if not extras:
        return None
    extra = command if command in extras else extras[0]
    return f"this needs {module}: pip install '{DISTRIBUTION}[{extra}]'"
