"""The command line: `guide`, also `kubectl guide`. One file a command; each imports its room when
it runs.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from guide.garbage import look_rarely

OK, DIFFERS, BAD_INPUT, INFEASIBLE = 0, 1, 2, 3
QUICK_START = {
    "PYDANTIC_DISABLE_PLUGINS": "__all__",  # nobody has one; looking takes a while
    "OPENBLAS_NUM_THREADS": "1",  # starting more takes NumPy a tenth of a second of CPU
}


def main() -> None:
    """Run a command. Bad input ends in one sentence on stderr and exit code 2, never in a
    traceback.
    """
    look_rarely()
    for name, value in QUICK_START.items():
        os.environ.setdefault(name, value)
    from guide.cli.commands import face
    from guide.errors import GuideError

    called = "kubectl guide" if Path(sys.argv[0]).stem == "kubectl-guide" else "guide"
    try:
        face(sys.argv[1] if len(sys.argv) > 1 else "")(prog_name=called)
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
    finally:
        gc.freeze()  # else the end looks for cycles, a tenth of a second, in what goes anyway
