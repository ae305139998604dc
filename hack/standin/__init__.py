"""A stand-in for a vLLM or SGLang server: the real API and metrics, without a GPU or a model."""
