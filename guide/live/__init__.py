"""Predicted against observed: what pods report to Prometheus, and what is learnt from it."""
