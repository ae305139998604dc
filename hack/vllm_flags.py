"""Prints which flags of GUIDE each unpacked vLLM has: ``python -m hack.vllm_flags FOLDER...``.

FOLDER holds the files of one vLLM wheel and is named by its version (``0.33.0/vllm/...``). The
table goes into `guide.frameworks.vllm_flags`, read and reviewed by people.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from guide.frameworks.vllm_flags import FLAGS

_SOURCES = (
    "vllm/engine/arg_utils.py",
    "vllm/entrypoints/cli/serve.py",
    "vllm/entrypoints/common/cli_args.py",  # since 0.33
    "vllm/entrypoints/launchers/cli_args.py",
    "vllm/entrypoints/openai/cli_args.py",
)


def flags(folder: Path) -> frozenset[str]:
    """Every flag of ``vllm serve`` in the unpacked wheel `folder`."""
    found: set[str] = set()
    for name in _SOURCES:
        path = folder / name
        if not path.is_file():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if node.value.startswith("--") and node.value[2:3].isalpha():
                    found.add(node.value)
            elif isinstance(node, ast.ClassDef) and node.name.endswith("FrontendArgs"):
                fields = (n for n in node.body if isinstance(n, ast.AnnAssign))
                names = (n.target.id for n in fields if isinstance(n.target, ast.Name))
                found |= {"--" + each.replace("_", "-") for each in names}
    return frozenset(found)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.name.split("."))


if __name__ == "__main__":
    folders = sorted(map(Path, sys.argv[1:]), key=_version)
    read = {folder.name: flags(folder) for folder in folders}
    for flag in sorted(FLAGS):
        has = [name for name, found in read.items() if flag in found]
        print(f"{flag:32} {' '.join(has) or 'nowhere'}")
