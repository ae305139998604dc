"""The framework's benchmark at the planned load, as Jobs that a person starts (pure).

No kustomization lists them: a Job that has run and is gone would be made anew by every sync of a
GitOps tool. What the pods report while it runs is what the operator learns from, as from any load;
the result is the last line of the log.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from guide.domain import Evaluation
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.frameworks.base import HUGGING_FACE_HOME, BenchLoad, hugging_face_env
from guide.frameworks.vllm import Vllm
from guide.manifests import hardening
from guide.manifests.deployment import Object, env
from guide.manifests.names import meta, object_name
from guide.manifests.objects import PORT, Named, launch_options, traffic
from guide.manifests.wishes import models_volume
from guide.spec import InferencePlan

FORMATS = ("kustomize", "leaderworkerset")  # those that write the Services which it asks
LASTS_S = 3600  # several windows of the operator after the one in which pods are cold
_KEPT_S = 7 * 86_400
_FEWEST_REQUESTS = 100


def benchmarks(plan: InferencePlan, evaluation: Evaluation, form: str) -> Named:
    """File name and Job for every Service of the plan, each with its share of the load.

    Raises `SpecError` for a format without these Services, and when no image is known.
    """
    if form not in FORMATS:
        raise SpecError(f"--with-benchmark works with --format {' and '.join(FORMATS)} only")
    if plan.spec.workload.offline is not None:
        raise SpecError(
            "--with-benchmark asks the Service of a plan, and a batch (spec.workload.offline) has "
            "none: leave the option out"
        )
    prefixes = plan.spec.workload.prefixes
    if prefixes is not None and prefixes.turns > 1:
        raise SpecError(
            "--with-benchmark: no benchmark of a framework sends conversations "
            "(spec.workload.prefixes.turns above 1): leave the option out"
        )
    groups = evaluation.groups
    services = [v for v in traffic(plan, groups).values() if v["kind"] == "Service"]
    if len(services) == 1:  # all groups stand behind it
        return [("benchmark.yaml", _job(plan, evaluation, services[0], ""))]
    return [
        (
            f"benchmark-{index}.yaml",
            _job(plan, replace(evaluation, groups=(group,)), service, f"-{index}"),
        )
        for index, (group, service) in enumerate(zip(groups, services, strict=True))
    ]


def _job(plan: InferencePlan, evaluation: Evaluation, service: Object, suffix: str) -> Object:
    asks, options = evaluation.groups[0].group, launch_options(plan)
    load = _load(plan, evaluation, service)
    bench = FRAMEWORKS[asks.framework].bench(asks, options, load)
    bench = bench or Vllm().bench(asks, options, load)  # it asks any server of OpenAI's API
    pod: Object = {
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "bench",
                "image": bench.image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(bench.command),
                "args": list(bench.args),
                "env": [
                    {"name": "HF_HOME", "value": HUGGING_FACE_HOME},
                    *map(dict, hardening.HOME_ENV),
                    *map(env, hugging_face_env(options)),
                ],
                # One process; without a limit it takes the cores that are idle.
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
                "securityContext": hardening.proxy_security(),
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "volumeMounts": [
                    {"mountPath": HUGGING_FACE_HOME, "name": "models"},
                    dict(hardening.SCRATCH_MOUNT),
                ],
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "schedulerName": "default-scheduler",
        "securityContext": hardening.pod_security("nvidia"),  # it uses no GPU
        "terminationGracePeriodSeconds": 30,
        "volumes": [models_volume(plan), {**hardening.SCRATCH_VOLUME}],
    }
    # Services and monitors select pods by the label of the plan, which this one must not have.
    labels = {"app.kubernetes.io/managed-by": "guide", "app.kubernetes.io/name": "benchmark"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta(plan, object_name(plan.metadata.name, f"benchmark{suffix}"), "benchmark"),
        "spec": {
            "activeDeadlineSeconds": 2 * LASTS_S,
            "backoffLimit": 0,
            "completionMode": "NonIndexed",
            "completions": 1,
            "manualSelector": False,
            "parallelism": 1,
            "podReplacementPolicy": "TerminatingOrFailed",
            "suspend": False,
            "template": {"metadata": {"labels": labels}, "spec": pod},
            "ttlSecondsAfterFinished": _KEPT_S,
        },
    }


def _load(plan: InferencePlan, evaluation: Evaluation, service: Object) -> BenchLoad:
    load, group = plan.spec.workload.to_domain(), evaluation.groups[0].group
    share = sum(one.group.load_share for one in evaluation.groups)
    named = FRAMEWORKS[group.framework].serves_alias
    prompt, prefixes = round(load.prompt.mean_tokens), load.prefixes
    groups = prefixes.groups if prefixes else 1
    rate = share * (load.requests_per_s or evaluation.predicted.requests_per_s)
    open_loop = load.requests_per_s is not None
    where = service["metadata"]
    return BenchLoad(
        url=f"http://{where['name']}.{where['namespace']}.svc:{PORT}",
        served_name=plan.spec.model.name if named else group.model.name,
        prompt_tokens=prompt,
        prefix_tokens=prefixes.shared_tokens if prefixes else round(prompt * load.prefix_hit_share),
        output_tokens=round(load.output.mean_tokens),
        requests=max(_FEWEST_REQUESTS, groups, math.ceil(rate * LASTS_S)),
        requests_per_s=rate if open_loop else None,
        concurrency=None if open_loop else max(1, round(share * (load.concurrency or 1))),
        arrival_cv=load.arrival_cv,
        groups=groups,
    )
