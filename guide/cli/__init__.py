"""The command line: `guide`, also `kubectl guide`. One file a command; each imports its room when
it runs.
"""

from __future__ import annotations

import sys

OK, DIFFERS, BAD_INPUT, INFEASIBLE = 0, 1, 2, 3


def main() -> None:
    """Run a command. Bad input ends in one sentence on stderr and exit code 2, never in a
    traceback.
    """
    from guide.cli.app import app
    from guide.errors import GuideError

    try:
        app()
    except GuideError as error:
        print(f"guide: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except BrokenPipeError:  # `guide ... | head` is no error
        sys.stderr.close()
        sys.exit(OK)
