"""The errors of GUIDE, by who must act; all are a `GuideError`.

- `SpecError`, the user: the plan, a file or a flag is wrong (exit 2, condition InvalidSpec).
- `CatalogError`, us: shipped facts, fits or prices fail their checks (refuse to start).
- `ClusterError`, wait: the API server could not answer (retry).

An infeasible plan is no error: it is a `Recommendation` without `best`.
"""

LONGEST = 4096  # characters of a sentence: a status with more may be refused by the API server
ECHOED = 200  # of what a user wrote, enough to find it again


def cut(text: str, most: int = LONGEST) -> str:
    """`text`, with its end left out where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def shown(value: object) -> str:
    """A value of an input as a sentence echoes it, however long or deep it is."""
    try:
        return cut(repr(value), ECHOED)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        return f"a value of type {type(value).__name__}"


class GuideError(Exception):
    """Base of every error that GUIDE raises on purpose; its text is one clear sentence."""


class SpecError(GuideError):
    """The input is wrong: says what, where and how to mend it.

    ``field`` is the path in the plan, if any. Line breaks and other unprintable characters of the
    input are shown as escapes: what a user wrote must not forge a line of a log or a terminal. No
    message is longer than `LONGEST`.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        shown = (char if char.isprintable() else ascii(char)[1:-1] for char in cut(message))
        super().__init__(cut("".join(shown)))
        self.field = field


class UnknownModel(SpecError):
    """The catalogue does not know a model; `close` are names that its user may have meant."""

    def __init__(self, message: str, field: str, *, name: str, close: list[str]) -> None:
        super().__init__(message, field)
        self.name, self.close = name, close


class TookTooLong(SpecError):
    """The question was ended before it was answered: it asks for more work than is allowed."""


class CatalogError(GuideError):
    """Shipped or user-supplied catalogue data fail a check."""


class ClusterError(GuideError):
    """The cluster could not be read or written; trying again may help."""
