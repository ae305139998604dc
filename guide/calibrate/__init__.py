"""Fitting: measurements compiled into counted step shapes, partial pooling, left-out evaluation.

Needs SciPy.
"""
