"""Realistic questions with the answers of the engine, for docs/decisions.md."""
