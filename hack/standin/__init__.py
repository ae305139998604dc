"""A stand-in for a vLLM server: the real one's API and metrics, without a GPU or a model."""
