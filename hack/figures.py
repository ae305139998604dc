"""Pages of figures say which commit made them and from what: `python -m hack.figures stamp NAME`.

Each figure is a target of `make` that ends with `stamp`. Its stamp is a line of its page: a commit
and a digest of the inputs. A test compares the digest with the inputs of today; where a figure
takes long or a quiet machine, `admit` lets its page say that it is older than they are.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[1]
# What answers are made of beside code. Code that computes them is no input: tests hold what it
# says (golden answers, errors of the ratchet, counts of work), and pages would age by the hour.
FACTS = ("guide/catalog/*.yaml", "guide/catalog/kernels/*.yaml")
FITS = tuple(
    f"guide/catalog/{name}.yaml" for name in ("calibration", "gpus", "models", "kernels/*")
)
ROWS = "tests/accuracy/data/*.csv"

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@dataclass(frozen=True, slots=True)
class Figure:
    """A target of `make`, the page that carries its stamp, and the files that it is made from."""

    name: str
    page: str
    inputs: tuple[str, ...]
    root: Path = ROOT

    def files(self) -> Iterator[Path]:
        """The inputs, as paths from the root of the repository."""
        for pattern in self.inputs:
            found = sorted(self.root.glob(pattern))
            if not found:
                raise FileNotFoundError(f"{self.name}: no file is {pattern}.")
            yield from (path.relative_to(self.root) for path in found)

    def digest(self) -> str:
        """Twelve digits that change with any input, by name or content."""
        seen = hashlib.sha256()
        for path in self.files():
            content = hashlib.sha256((self.root / path).read_bytes()).hexdigest()
            seen.update(f"{path.as_posix()} {content}\n".encode())
        return seen.hexdigest()[:12]

    def stamp(self) -> str:
        """The stamp that its page carries; empty where there is none."""
        found = re.search(self._line(), (self.root / self.page).read_text("utf-8"), re.MULTILINE)
        return found[0] if found else ""

    def is_told(self) -> bool:
        """Whether the stamp speaks of the inputs of today, be it that it is older than they are."""
        return self.digest() in self.stamp()

    def is_current(self) -> bool:
        """Whether the page was made from the inputs of today."""
        return f"inputs {self.digest()}." in self.stamp()

    def write(self, words: str) -> None:
        """Put a stamp into the page, in place of the one before or at its end."""
        page = self.root / self.page
        text = page.read_text("utf-8")
        line = f"{words} <!-- figures: {self.name} -->"
        if self.stamp():
            text = re.sub(self._line(), lambda _: line, text, flags=re.MULTILINE)
        else:
            text = f"{text.rstrip()}\n\n{line}\n"
        page.write_text(text, "utf-8")

    def _line(self) -> str:
        return rf"^.+ <!-- figures: {self.name} -->$"


FIGURES = {
    each.name: each
    for each in (
        Figure(
            "decisions",
            "docs/decisions.md",
            (*FACTS, "hack/decisions/*.py", "hack/decisions/questions.yaml"),
        ),
        Figure("accuracy", "docs/accuracy.md", (*FITS, ROWS, "hack/accuracy/*.py")),
        Figure("paper", "docs/paper/README.md", (*FITS, ROWS, "hack/paper/*.py")),
        Figure("bench", "docs/benchmarks.md", ("hack/bench/*.py", "hack/bench/work.yaml")),
        Figure(
            "screenshots",
            "docs/img/README.md",
            (
                *("guide/web/templates/*", "guide/web/static/*", "guide/web/*chart*.py"),
                *("guide/web/roofline.py", "guide/web/minute.py"),
                *("hack/screenshots.py", "hack/plans_page.py"),
            ),
        ),
        Figure(
            "panels",
            "docs/img/README.md",
            ("charts/guide/dashboards/*.json", "hack/panels.py", "hack/learning_picture.py"),
        ),
    )
}
Name = Annotated[str, typer.Argument(help=f"{', '.join(FIGURES)}.")]


@app.command()
def stamp(name: Name) -> None:
    """Say in the page that it is made from the inputs of today, at this commit."""
    figure = _named(name)
    figure.write(f"Made at commit {commit(figure)}, inputs {figure.digest()}.")


@app.command()
def admit(name: Name) -> None:
    """Say in the page that its inputs have changed since it was made."""
    figure = _named(name)
    if figure.is_current():
        raise typer.BadParameter(f"{figure.page} is current.")
    made = re.search(r"Made at commit [\w-]+", figure.stamp())
    made_at = made[0] if made else "Made before pages were stamped"
    figure.write(
        f"**Out of date.** {made_at}; the inputs changed since, to {figure.digest()}: "
        f"`make {figure.name}` renews it."
    )


@app.command()
def stale(every: Annotated[bool, typer.Option("--all", help="All of them.")] = False) -> None:
    """Print the targets whose pages are older than their inputs, for `make figures`."""
    print(*(name for name, figure in FIGURES.items() if every or not figure.is_current()))


def commit(figure: Figure) -> str:
    """HEAD in short; `-dirty` where inputs differ from it, `unknown` outside of git."""
    head = _git(figure.root, "rev-parse", "--short", "HEAD")
    changed = _git(figure.root, "status", "--porcelain", "--", *map(str, figure.files()))
    return (head or "unknown") + ("-dirty" if changed else "")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _named(name: str) -> Figure:
    if name not in FIGURES:
        raise typer.BadParameter(f"{name} is none of {', '.join(FIGURES)}.")
    return FIGURES[name]


if __name__ == "__main__":
    app()
