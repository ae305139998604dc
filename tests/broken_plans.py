"""A good plan, and one-field mutations of it that must be refused: by the CLI and at admission."""

from __future__ import annotations

from typing import Any

from tests.broken_advice import ADVISED
from tests.good_plan import ABSENT, changed

# what is wrong -> (path, value, what the sentence must say)
BROKEN: dict[str, tuple[str, Any, str]] = {
    "unknown field": (
        "spec.slo.ttftP95",
        100,
        "spec.slo.ttftP95 is not a field of an InferencePlan: did you mean ttftP95Milliseconds?",
    ),
    "unknown field at the top of spec": (
        "spec.workloads",
        {},
        "spec.workloads is not a field of an InferencePlan: did you mean workload?",
    ),
    "python name of a field": (
        "spec.workload.arrival_cv",
        2,
        "spec.workload.arrival_cv is not a field of an InferencePlan: did you mean arrivalCV?",
    ),
    "zero tokens": (
        "spec.workload.inputTokens.mean",
        0,
        "spec.workload.inputTokens.mean is 0, but it must be at least 1",
    ),
    "negative tokens": ("spec.workload.outputTokens.mean", -5, "is -5, but it must be at least 1"),
    "too many tokens": (
        "spec.workload.inputTokens.mean",
        10_000_001,
        "but it must be at most 10,000,000",
    ),
    "fraction of a token": (
        "spec.workload.inputTokens.mean",
        1.5,
        "spec.workload.inputTokens.mean must be a whole number, not 1.5",
    ),
    "quoted integer": ("spec.budget.maxGPUs", "16", "must be a whole number, not '16'"),
    "p95 below mean": (
        "spec.workload.inputTokens.p95",
        1000,
        "spec.workload.inputTokens is wrong: p95 is 1000 and below the mean of 1024",
    ),
    "both loads": (
        "spec.workload.concurrency",
        64,
        "spec.workload is wrong: requestsPerSecond and concurrency are set",
    ),
    "a load beside a batch": (
        "spec.workload.offline",
        {"requests": 5},
        "spec.workload is wrong: requestsPerSecond and offline are set",
    ),
    "no load": (
        "spec.workload.requestsPerSecond",
        ABSENT,
        "spec.workload is wrong: none of them is set",
    ),
    "zero rate": ("spec.workload.requestsPerSecond", 0, "0 is out of range: it must be above 0"),
    "negative rate": (
        "spec.workload.requestsPerSecond",
        -1,
        "-1 is no positive decimal number up to 1,000,000",
    ),
    "zero rate as text": ("spec.workload.requestsPerSecond", "0.0", "must be above 0"),
    "rate beyond the limit": ("spec.workload.requestsPerSecond", "1000000.5", "at most 1,000,000"),
    "tiny rate": (
        "spec.workload.requestsPerSecond",
        1e-07,
        "1e-07 is no positive decimal number up to 1,000,000",
    ),
    "rate in words": ("spec.workload.requestsPerSecond", "fast", "'fast' is no positive decimal"),
    "rate with exponent": (
        "spec.workload.requestsPerSecond",
        "1e3",
        "'1e3' is no positive decimal",
    ),
    **{
        f"a part of the day that is {what}": (
            "spec.workload",
            {
                "inputTokens": {"mean": 64},
                "outputTokens": {"mean": 64},
                "dayProfile": {"requestsPerSecond": [1, part]},
            },
            f"spec.workload.dayProfile.requestsPerSecond[1] is wrong: {words}",
        )
        for what, part, words in (
            ("negative", -1, "-1 is no positive decimal"),
            ("too much", 1_000_001, "1000001 is out of range"),
            ("too much as text", "1000000.5", "1000000.5 is out of range"),
            ("no number", "much", "'much' is no positive decimal"),
        )
    },
    "context too small": (
        "spec.workload.maxContextTokens",
        512,
        "maxContextTokens is 512, yet the mean input and output take 1280 tokens",
    ),
    "unknown preference": (
        "spec.preference",
        "cost",
        "spec.preference is 'cost', but it must be 'Cost', 'Latency' or 'Throughput': "
        "did you mean Cost?",
    ),
    "unknown framework": ("spec.frameworks", ["vLLM", "TGI"], "spec.frameworks[1] is 'TGI'"),
    "framework twice": ("spec.frameworks", ["vLLM", "vLLM"], "vLLM is listed twice: keep it once"),
    "no framework": ("spec.frameworks", [], "spec.frameworks"),
    "no model": ("spec.model", ABSENT, "spec.model is required, but it is missing: add it"),
    "model name with blanks": ("spec.model.name", "my model", "is not a valid name"),
    "number for a name": ("spec.model.name", 7, "must be a text, not 7: put it in quotes"),
    "text for a section": ("spec.slo", "fast", "spec.slo must be a mapping of fields, not 'fast'"),
    "text for a list": ("spec.placement.gpus", "L4", "spec.placement.gpus must be a list"),
    "text for a switch": (
        "spec.optimizations.flashAttention",
        "yes",
        "must be true or false, not 'yes'",
    ),
    "argument that moves the operating point": (
        "spec.deployment.extraArgs",
        ["--max-num-seqs=4"],
        "'--max-num-seqs' is not allowed here",
    ),
    "argument that is a shell line": ("spec.deployment.extraArgs", ["x; rm"], "extraArgs[0]"),
    "variable from two sources": (
        "spec.deployment.env",
        [{"name": "A", "value": "b", "secretKeyRef": {"name": "s", "key": "k"}}],
        "state one of value, secretKeyRef and configMapKeyRef",
    ),
    "variable that GUIDE sets": (
        "spec.deployment.env",
        [{"name": "VLLM_ATTENTION_BACKEND", "value": "x"}],
        "GUIDE sets this variable",
    ),
    "variable twice": (
        "spec.deployment.env",
        [{"name": "A", "value": "b"}, {"name": "A", "value": "c"}],
        "env",
    ),
    "cache of two kinds": (
        "spec.deployment.modelCache",
        {"claimName": "models", "hostPath": "/models"},
        "state one of claimName, ephemeral and hostPath",
    ),
    "cache that climbs": (
        "spec.deployment.modelCache",
        {"hostPath": "/models/../etc"},
        "hostPath goes no level up",
    ),
    "label of GUIDE": (
        "spec.deployment.labels",
        {"guide.dev/plan": "other"},
        "labels of guide.dev and app.kubernetes.io are GUIDE's own",
    ),
    "user that is root": (
        "spec.deployment.podSecurityContext.runAsUser",
        0,
        "must be at least 1",
    ),
    "standby of a batch": (
        "spec",
        {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "workload": {
                "inputTokens": {"mean": 9},
                "outputTokens": {"mean": 9},
                "offline": {"requests": 5},
            },
            "deployment": {"minReplicas": 2},
        },
        "workload.offline and deployment.minReplicas exclude each other",
    ),
    "image that is no image": ("spec.deployment.image", "a b", "is not a valid image"),
    "keeping none of the cache": ("spec.optimizations.h2oKeepPercent", 0, "must be at least 1"),
    "keeping more than all of the cache": (
        "spec.optimizations.h2oKeepPercent",
        101,
        "must be at most 100",
    ),
    "more than all": ("spec.workload.prefixCacheHitPercent", 101, "must be at most 100"),
    **ADVISED,
    "label value with blanks": ("spec.placement.nodeSelector", {"pool": "a b"}, "nodeSelector"),
}


def broken(name: str) -> dict[str, Any]:
    """The good plan with the mutation of that name."""
    path, value, _ = BROKEN[name]
    return changed(path, value)
