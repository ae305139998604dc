"""The command line: `guide`, also `kubectl guide`. One file a command; each imports its room when
it runs.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

OK, DIFFERS, BAD_INPUT, INFEASIBLE = 0, 1, 2, 3
GARBAGE_THRESHOLD = 100_000  # new objects between two looks for garbage; Python's 700 cost 8 %


def main() -> None:
    """Run a command. Bad input ends in one sentence on stderr and exit code 2, never in a
    traceback.
    """
    gc.set_threshold(GARBAGE_THRESHOLD)  # what a short process reads stays until its end
    from guide.cli.app import app
    from guide.errors import GuideError

    called = "kubectl guide" if Path(sys.argv[0]).stem == "kubectl-guide" else "guide"
    try:
        app(prog_name=called)
    except GuideError as error:
        print(f"guide: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except ModuleNotFoundError as error:
        from guide.cli.extras import how_to_install

        command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        sentence = how_to_install((error.name or "").partition(".")[0], command)
        if sentence is None:
            raise
        print(f"guide: {sentence}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except BrokenPipeError:  # `guide ... | head` is no error
        sys.stderr.close()
        sys.exit(OK)
