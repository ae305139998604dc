"""Serving: schedulers that turn arriving requests into forward steps, event by event."""
