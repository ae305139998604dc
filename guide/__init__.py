"""GUIDE: advice on deploying LLM inference, as a pure library with thin edges."""

__version__ = "0.1.0"
