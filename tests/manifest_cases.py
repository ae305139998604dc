"""Recommendations and plans whose manifests are kept as golden files and applied to a real API
server.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

from guide.domain import Interval, Job, Recommendation, ReplicaGroup
from guide.models.precision import PRECISIONS
from guide.spec import InferencePlan, parse_plan
from tests.good_plan import PLAN
from tests.handmade import AMD_POOL, DRA_POOL, GROUP, V100_POOL, recommendation

SGLANG = replace(GROUP, framework="SGLang", version="0.5.23")
FASTGEN = replace(GROUP, framework="FastGen", version="0.3.3")
SLOW = replace(GROUP, pool=V100_POOL, tp=4, replicas=1)
QUANTISED = replace(GROUP.model, name="neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", precision="fp8")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A plan by what differs from the plain one, and the groups recommended for it."""

    groups: tuple[ReplicaGroup, ...] = (GROUP,)
    name: str = "chat"
    spec: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def plan(self) -> InferencePlan:
        plan = copy.deepcopy(PLAN)
        plan["metadata"] = {"name": self.name, "namespace": "ml"}
        plan["spec"] |= self.spec
        return parse_plan(plan)

    @property
    def recommendation(self) -> Recommendation:
        found = recommendation(*self.groups)
        if self.plan.spec.workload.offline is None or found.best is None:
            return found
        job = Job(seconds=3000, interval=Interval(lower=2500, upper=3600), usd=14.95)
        best = replace(found.best, job=job)
        return replace(found, best=best, highest_throughput=best, lowest_latency=best)


CASES: dict[str, Case] = {
    "vllm": Case(),
    "fastgen": Case(groups=(FASTGEN,), spec={"deployment": {"imageFastGen": "reg.example/fg:1"}}),
    "sglang": Case(groups=(SGLANG,), spec={"slo": {"ttftP95Milliseconds": 500}}),
    "fp8-checkpoint": Case(
        groups=(replace(GROUP, model=QUANTISED, precision=PRECISIONS["fp8"], tp=1),)
    ),
    "fp8-online": Case(
        groups=(
            replace(
                GROUP,
                precision=PRECISIONS["fp8"],
                limits=replace(GROUP.limits, kv_cache_dtype="fp8"),
            ),
        )
    ),
    "volta": Case(groups=(SLOW,)),
    "amd": Case(groups=(replace(GROUP, pool=AMD_POOL, tp=1, replicas=2),)),
    "dra": Case(groups=(replace(GROUP, pool=DRA_POOL),)),
    "two-pools-even": Case(
        groups=(replace(GROUP, load_share=0.75), replace(SLOW, load_share=0.25))
    ),
    "two-pools-weighted": Case(
        groups=(replace(GROUP, load_share=0.9), replace(SLOW, load_share=0.1))
    ),
    "all-options": Case(
        spec={
            "placement": {"nodeSelector": {"team": "search"}},
            "deployment": {
                "image": "registry.example/vllm:v0.33.0@sha256:" + "0" * 64,
                "modelCache": {"claimName": "models"},
                "tokenSecretRef": {"name": "hf-token-secret"},
                "extraArgs": ["--seed=1", "--enable-auto-tool-choice"],
            },
            "output": {"monitoring": "PodMonitor"},
        }
    ),
    "production": Case(
        spec={
            "deployment": {
                "modelCache": {"ephemeral": {"size": "100Gi", "storageClassName": "fast"}},
                "resources": {
                    "requests": {"cpu": "6", "memory": "48Gi"},
                    "limits": {"memory": "64Gi", "ephemeralStorage": "20Gi"},
                },
                "imagePullSecrets": ["registry"],
                "serviceAccountName": "models",
                "priorityClassName": "serving",
                "podSecurityContext": {
                    "runAsUser": 1000,
                    "runAsGroup": 1000,
                    "fsGroup": 1000,
                    "supplementalGroups": [44, 109],
                },
                "env": [
                    {"name": "TZ", "value": "UTC"},
                    {
                        "name": "AWS_SECRET_ACCESS_KEY",
                        "secretKeyRef": {"name": "bucket", "key": "secret"},
                    },
                    {"name": "REGION", "configMapKeyRef": {"name": "site", "key": "region"}},
                ],
                "proxy": {"httpsProxy": "http://proxy.example:3128", "noProxy": ".svc"},
                "topologySpread": [
                    {
                        "topologyKey": "topology.kubernetes.io/zone",
                        "whenUnsatisfiable": "DoNotSchedule",
                    }
                ],
                "nodeAffinity": [
                    {"key": "disk", "values": ["nvme"], "weight": 50},
                    {"key": "spot", "operator": "DoesNotExist"},
                ],
                "labels": {"team": "search"},
                "annotations": {"sidecar.istio.io/inject": "false"},
            },
        }
    ),
    "node-cache": Case(
        spec={"deployment": {"modelCache": {"hostPath": "/var/lib/models"}}},
    ),
    "latency-limits": Case(
        spec={"slo": {"ttftP95Milliseconds": 500, "tpotP95Milliseconds": 7}},
    ),
    "no-monitoring": Case(spec={"output": {"monitoring": "None"}}),
    "long-name": Case(
        name="a-plan.with-a-name-that-is-much-longer-than-any-label-or-service-may-ever-be",
        groups=(FASTGEN,),
        spec={"deployment": {"imageFastGen": "reg.example/fg:1"}},
    ),
}

_BATCH = {
    "workload": {
        "inputTokens": {"mean": 512, "p95": 512},
        "outputTokens": {"mean": 256, "p95": 256},
        "offline": {"requests": 1000, "completeWithin": "2h"},
    },
    "slo": {},
}
# Plans that become Jobs and have no server.
BATCHES: dict[str, Case] = {
    "batch": Case(name="nightly", spec=_BATCH),
    "batch-dra": Case(name="nightly", groups=(replace(GROUP, pool=DRA_POOL),), spec=_BATCH),
    "batch-two-pools": Case(
        name="a-batch.with-a-name-that-is-much-longer-than-any-label-or-service-may-ever-be",
        groups=(
            replace(GROUP, tp=1, replicas=12, load_share=0.9),
            replace(SLOW, load_share=0.1),
        ),
        spec={
            **_BATCH,
            "deployment": {"modelCache": {"claimName": "models"}, "extraArgs": ["--seed=1"]},
            "output": {"monitoring": "PodMonitor"},
        },
    ),
}
