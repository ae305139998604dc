"""A build hook: a wheel that holds the event loop as machine code too, by mypyc of its source.

Off by default: the plain wheel is one for every Python and system. `HATCH_BUILD_HOOKS_ENABLE=1`
turns it on; the machine needs a C compiler and the headers of its Python. What is compiled is
listed where the hook is named, in pyproject.toml: modules that simulations spend their time in,
with all that their steps call. Python imports the machine code where it is there, and the source
elsewhere.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

GROUP = "guide_compiled"  # the library that all compiled modules share
MYPY = ("--follow-imports=silent", "--ignore-missing-imports", "--python-version=3.11")


class Compiled(BuildHookInterface[Any]):
    """Compiles `modules` and adds the libraries to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; the libraries live until the wheel is written."""
        if self.target_name != "wheel" or version == "editable":
            return  # an edit of the source would change nothing
        from mypyc.build import mypycify
        from setuptools import Distribution

        self._folder = tempfile.TemporaryDirectory()
        built = Path(self._folder.name)
        with contextlib.chdir(self.root):
            extensions = mypycify(
                [*MYPY, *self.config["modules"]],
                target_dir=str(built / "c"),
                group_name=GROUP,
            )
            # not `setup`, which would read pyproject.toml
            build = Distribution({"name": "guide", "ext_modules": extensions})
            build.command_options["build_ext"] = {
                name: ("hack/compiled.py", str(built / folder))
                for name, folder in (("build_lib", "lib"), ("build_temp", "temp"))
            }
            build.run_command("build_ext")
        for library in (built / "lib").rglob("*.so"):
            inside = library.relative_to(built / "lib")
            build_data["force_include"][str(library)] = str(inside)
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], _wheel: str) -> None:
        """Clear up."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()
