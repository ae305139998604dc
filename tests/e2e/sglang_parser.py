"""The parser of an unpacked SGLang wheel, in a process of its own: ``python THIS FOLDER < ARGVS``.

`sglang.srt.server_args` and its `arg_groups`, where every flag is declared, are the wheel's own.
All else of SGLang that they import wants torch with CUDA: a stand-in that answers anything takes
its place. Flags that take their choices from there (--reasoning-parser, --tool-call-parser) are
known, but not their choices.

stdin: a JSON list of argvs. stdout: the `flags` that there are, and `answers`: what became of each
argv, its values by name or the sentence that refuses it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

OWN = ("sglang.srt.server_args", "sglang.srt.arg_groups", "sglang.srt.environ")
PACKAGES = ("sglang", "sglang.srt")  # what their __init__ imports is not needed


class _Type(type):
    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __iter__(cls) -> Iterator[object]:
        return iter(())

    def __add__(cls, _: object) -> type:
        return cls

    __radd__ = __or__ = __ror__ = __add__


class Anything(metaclass=_Type):
    """A base class, a decorator, an enumeration, a list: whatever is asked of it."""

    def __new__(cls, *args: Any, **_: Any) -> Any:
        decorated = len(args) == 1 and callable(args[0])
        return args[0] if decorated else cls


class _StandIn(ModuleType):
    __path__ = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        del path, target
        if not fullname.startswith("sglang.") or fullname in PACKAGES or fullname.startswith(OWN):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        del module


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parser(folder: str) -> argparse.ArgumentParser:
    """As ``python3 -m sglang.launch_server`` makes it."""
    sys.path.insert(0, folder)
    sys.meta_path.insert(0, _Finder())
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [f"{folder}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    made = _Parser()
    import_module("sglang.srt.server_args").ServerArgs.add_cli_args(made)
    return made


def main() -> None:
    """Parse every argv of stdin."""
    made = parser(sys.argv[1])
    answers: list[dict[str, object] | str] = []
    for argv in json.load(sys.stdin):
        try:
            answers.append(vars(made.parse_args(argv)))
        except ValueError as refusal:
            answers.append(str(refusal))
    flags = sorted(made._option_string_actions)  # pyright: ignore[reportPrivateUsage]
    json.dump({"flags": flags, "answers": answers}, sys.stdout, default=str)


if __name__ == "__main__":
    main()
