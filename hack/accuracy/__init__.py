"""Errors and intervals beside measured rows: docs/accuracy.md and the ratchet of the tests."""
