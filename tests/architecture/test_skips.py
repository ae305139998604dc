"""A test that does not run says what to install, to run or to set, so that it does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SKIPS = {"skip", "importorskip", "skipif", "skipIf", "skipUnless", "SkipTest"}
WAY_OUT = r"\b(install|make [a-z]|GUIDE_[A-Z_]+)"


def skips(source: str) -> list[tuple[int, str]]:
    """Line and words of each skip: the constants in its reason, and those its names stand for."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name not in SKIPS:
            continue
        named = [each.value for each in node.keywords if each.arg == "reason"]
        # `skip` has its reason first; the others have what they look for first
        reasons = named or (node.args[:1] if name in ("skip", "SkipTest") else node.args[1:])
        words: list[str] = []
        for part in (each for reason in reasons for each in ast.walk(reason)):
            if isinstance(part, ast.Constant):
                words.append(str(part.value))
            elif isinstance(part, ast.Name):
                words.append(str(constants.get(part.id, "")))
        found.append((node.lineno, " ".join(words)))
    return found


def test_each_skip_names_a_way_out():
    silent: list[str] = []
    seen = 0
    for path in sorted(TESTS.rglob("*.py")):
        for line, words in skips(path.read_text("utf-8")):
            seen += 1
            if not re.search(WAY_OUT, words):
                silent.append(f"{path.relative_to(TESTS)}:{line}: {words or 'no reason'}")
    assert not silent
    assert seen > 10


def test_what_would_be_silent_is_found():
    source = """
WHY = "set GUIDE_PICTURES"
pytest.skip("not here")
pytest.skip(f"{problem}")
psutil = pytest.importorskip("psutil")
@pytest.mark.skipif("GUIDE_PICTURES" not in os.environ, reason="no pictures")
@pytest.mark.skipif(os.name == "nt", reason=WHY)
@pytest.mark.skip(reason="pip install it")
def test(): ...
"""
    assert [bool(re.search(WAY_OUT, words)) for _, words in skips(source)].count(True) == 2
    assert len(skips(source)) == 6
