"""Plans meant to do harm: other values at any path, hostile text in every field that takes it."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from tests.good_plan import PLAN
from tests.llama_config import LLAMA

PAYLOADS = (
    "$(reboot)",
    "`id`",
    "; rm -rf / #",
    "' || true; '",
    '"; cat /etc/passwd; "',
    "a\nb: c",
    "x\n---\nkind: Secret",
    "{{ .Values.secret }}",
    "{% import os %}",
    "${HOME}",
    "$(HF_TOKEN)",
    "%s%n{0.__class__}",
    "../../etc/shadow",
    "kube-system/token",
    "&a *a",
    "!!python/object/apply:os.system [id]",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1)) | | \\",
    "\u202egnp.exe",
    "\u2028\x85\ufeff",
    "\x00\x1b[2J",
    "\ud800",
    "na\u0131ve\u0301",
    "~",
    "yes",
    "0x1f",
    "1e999",
    "-1",
    "a" * 5000,
)
PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.labels",
    "spec",
    "spec.model.name",
    "spec.model.configFrom",
    "spec.workload.inputTokens.mean",
    "spec.workload.outputTokens.p95",
    "spec.workload.requestsPerSecond",
    "spec.workload.arrivalCV",
    "spec.workload.maxContextTokens",
    "spec.slo.ttftP95Milliseconds",
    "spec.budget.maxGPUs",
    "spec.budget.maxHourlyUSD",
    "spec.preference",
    "spec.frameworks",
    "spec.optimizations",
    "spec.placement.gpus",
    "spec.placement.nodeSelector",
    "spec.deployment.image",
    "spec.deployment.imageFastGen",
    "spec.deployment.modelCache",
    "spec.deployment.modelCache.claimName",
    "spec.deployment.tokenSecretRef.name",
    "spec.deployment.tokenSecretRef.key",
    "spec.deployment.extraArgs",
    "spec.output.mode",
)

texts = st.sampled_from(PAYLOADS) | st.text(max_size=40)
arguments = st.builds("{}={}".format, st.sampled_from(("--seed", "--tokenizer")), texts)
scalars = (
    texts
    | arguments
    | st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from((0, -1, 2**63, 10**400))
    | st.floats()
)
values = st.recursive(
    scalars,
    lambda child: st.lists(child, max_size=3) | st.dictionaries(texts, child, max_size=3),
    max_leaves=6,
)
changes = st.dictionaries(st.sampled_from(PATHS), values, min_size=1, max_size=3)


def changed(new: dict[str, Any]) -> dict[str, Any]:
    """The good plan with other values at those paths."""
    plan = copy.deepcopy(PLAN)
    for path in sorted(new):  # parents first
        *parents, last = path.split(".")
        place: Any = plan
        for part in parents:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[last] = new[path]
    return plan


MODEL, IMAGE, CLAIM, SECRET, KEY, TEAM, ARGUMENT = (f"mark{index}mark" for index in range(7))
MARKED = (MODEL, IMAGE, CLAIM, SECRET, KEY, TEAM, ARGUMENT)


def filled(texts: tuple[str, ...]) -> dict[str, Any]:
    """A plan with these texts in every field that reaches a manifest."""
    model, image, claim, secret, key, team, argument = texts
    plan = copy.deepcopy(PLAN)
    plan["spec"] |= {
        "model": {"name": model},
        "placement": {"nodeSelector": {"team": team}},
        "output": {"monitoring": "PodMonitor"},
        "deployment": {
            "image": image,
            "modelCache": {"claimName": claim},
            "tokenSecretRef": {"name": secret, "key": key},
            "extraArgs": [f"--tokenizer={argument}", "--seed=1"],
        },
    }
    return plan


name_like = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
hostile_arguments = texts.filter(lambda text: not {"\r", "\n"} & set(text) and len(text) < 400)
accepted = st.tuples(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,20}", fullmatch=True),
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._/:-]{0,20}", fullmatch=True),
    name_like,
    name_like,
    st.from_regex(r"[-._a-zA-Z0-9]{1,12}", fullmatch=True),
    st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?)?", fullmatch=True),
    hostile_arguments,
)


def with_config(new: dict[str, Any]) -> dict[str, Any]:
    """The config.json of a good model with other values."""
    return {**LLAMA, **new}


numbers = st.sampled_from((0, 1, -1, 3, 64, 2**31, 2**63, 10**9, 10**400, 0.5, 1e308, "8", True))
# What a tenant may put into a ConfigMap as a model's config.json: other shapes and types.
configs = st.dictionaries(
    st.sampled_from(sorted(LLAMA)), numbers | values, min_size=1, max_size=4
).map(with_config)
