"""Replay of published measurements: each source's benchmark protocol, simulated as it was run."""
