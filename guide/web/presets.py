"""Typical shapes of traffic, to begin with; each answers \"what would you ask for?\"."""

from __future__ import annotations

PRESETS: dict[str, tuple[str, dict[str, str]]] = {
    "chat": (
        "Chat",
        {
            "input": "1024",
            "input95": "3000",
            "output": "256",
            "output95": "700",
            "rps": "8",
            "ttft": "1000",
            "tpot": "50",
        },
    ),
    "rag": (
        "Documents (RAG)",
        {
            "input": "6000",
            "input95": "12000",
            "output": "300",
            "output95": "800",
            "rps": "2",
            "ttft": "3000",
            "tpot": "60",
        },
    ),
    "code": (
        "Code completion",
        {
            "input": "2000",
            "input95": "6000",
            "output": "60",
            "output95": "200",
            "rps": "10",
            "ttft": "500",
            "e2e": "3000",
        },
    ),
    "agents": (
        "Agents",
        {
            "input": "12000",
            "input95": "30000",
            "output": "400",
            "output95": "1500",
            "rps": "1",
            "prefix": "70",
            "ttft": "5000",
            "tpot": "60",
        },
    ),
    "reasoning": (
        "Reasoning",
        {
            "input": "800",
            "input95": "2500",
            "output": "4000",
            "output95": "12000",
            "rps": "0.5",
            "ttft": "3000",
            "tpot": "50",
        },
    ),
    "voice": (
        "Voice",
        {
            "input": "600",
            "input95": "1500",
            "output": "80",
            "output95": "200",
            "rps": "4",
            "ttft": "400",
            "tpot": "80",
        },
    ),
    "batch": (
        "A batch of documents",
        {
            "input": "1500",
            "input95": "4000",
            "output": "500",
            "output95": "1500",
            "batch": "20000",
            "within": "6h",
        },
    ),
}
_OF_A_PRESET = {  # beside its lengths: what another preset empties
    *("rps", "users", "batch", "within", "cv", "context"),
    *("ttft", "tpot", "e2e", "throughput", "prefer", "prefix"),
}
PRESET_FIELDS = frozenset({"input", "input95", "output", "output95"} | _OF_A_PRESET)
