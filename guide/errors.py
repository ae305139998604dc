"""The errors of GUIDE, by who must act; all are a `GuideError`.

- `SpecError`, the user: the plan, a file or a flag is wrong (exit 2, condition InvalidSpec).
- `CatalogError`, us: shipped facts, fits or prices fail their checks (refuse to start).
- `ClusterError`, wait: the API server could not answer (retry).

An infeasible plan is no error: it is a `Recommendation` without `best`.
"""


class GuideError(Exception):
    """Base of every error that GUIDE raises on purpose; its text is one clear sentence."""


class SpecError(GuideError):
    """The input is wrong: says what, where and how to mend it.

    ``field`` is the path in the plan, if any. Line breaks and other unprintable characters of the
    input are shown as escapes: what a user wrote must not forge a line of a log or a terminal.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        shown = (char if char.isprintable() else ascii(char)[1:-1] for char in message)
        super().__init__("".join(shown))
        self.field = field


class CatalogError(GuideError):
    """Shipped or user-supplied catalogue data fail a check."""


class ClusterError(GuideError):
    """The cluster could not be read or written; trying again may help."""
