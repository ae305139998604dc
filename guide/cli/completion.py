"""Completion of ``kubectl guide``: kubectl runs ``kubectl_complete-guide`` with the words so far.

``guide --install-completion`` serves the shell itself. Both ask the same completer, whose words for
fish are those of kubectl: value, tab, help. The last line is a directive of cobra, see
https://pkg.go.dev/github.com/spf13/cobra#ShellCompDirective
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from contextlib import redirect_stdout, suppress

_FILES, _NO_FILES = ":0", ":4"


def main() -> None:
    """Print the completions of the last argument, one a line, and what else the shell may do."""
    found = complete(sys.argv[1:])
    print(found, end="")
    print(_NO_FILES if found else _FILES)


def complete(words: list[str]) -> str:
    """Completions of the last of `words`, one a line: value, tab, help."""
    from guide.cli.app import app

    os.environ |= {
        "COLUMNS": "10000",  # help that is wrapped would look like more values
        "_GUIDE_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": shlex.join(["guide", *words]),
    }
    said = io.StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        app(prog_name="guide")
    return said.getvalue().lstrip()  # nothing found is an empty line
