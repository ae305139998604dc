"""Measured runs: read, replayed under their protocol, and fitted.

Fitting needs SciPy; replaying does not.
"""
