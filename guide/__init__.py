"""GUIDE: advice on deploying LLM inference, as a pure library with thin edges."""
