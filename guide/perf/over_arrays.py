"""The step formula over arrays: `guide.perf.formula` as Python reads it.

Compiled it takes floats alone. So its source is loaded a second time here; where it is not compiled
that is the same text, read twice.
"""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guide.perf import formula as _formula
else:
    _source = SourceFileLoader(__name__ + ".formula", str(files("guide.perf") / "formula.py"))
    _formula = module_from_spec(spec_from_loader(_source.name, _source))
    _source.exec_module(_formula)

FixedTerms = _formula.FixedTerms
fixed_seconds = _formula.fixed_seconds
context_seconds, window_seconds = _formula.context_seconds, _formula.window_seconds
pair_seconds, step_seconds = _formula.pair_seconds, _formula.step_seconds
