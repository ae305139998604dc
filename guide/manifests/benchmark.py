"""`vllm bench serve` at the planned load, as Jobs that a person starts (pure).

No kustomization lists them: a Job that has run and is gone would be made anew by every sync of a
GitOps tool. What the pods report while it runs is what the operator learns from, as from any load;
the result, the last line of the log, is for `guide calibrate`. Flags: benchmarks/serve.py of vLLM
0.33.
"""

from __future__ import annotations

import math
from dataclasses import replace

from guide.domain import Evaluation, Workload
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.frameworks.base import HUGGING_FACE_HOME, hugging_face_env
from guide.frameworks.vllm import Vllm, default_image
from guide.frameworks.vllm_flags import NEWEST
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
    asks = evaluation.groups[0].group
    if asks.framework != Vllm.name:  # it asks any server of OpenAI's API
        asks = replace(asks, version=".".join(map(str, NEWEST)))
    pod: Object = {
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "bench",
                "image": plan.spec.deployment.images.get(Vllm.name) or default_image(asks),
                "imagePullPolicy": "IfNotPresent",
                "command": ["vllm", "bench", "serve"],
                "args": _args(plan, evaluation, service),
                "env": [
                    {"name": "HF_HOME", "value": HUGGING_FACE_HOME},
                    *map(dict, hardening.HOME_ENV),
                    *map(env, hugging_face_env(launch_options(plan))),
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


def _args(plan: InferencePlan, evaluation: Evaluation, service: Object) -> list[str]:
    load, group = plan.spec.workload.to_domain(), evaluation.groups[0].group
    share = sum(one.group.load_share for one in evaluation.groups)
    served = plan.spec.model.name if FRAMEWORKS[group.framework].serves_alias else group.model.name
    prompt = round(load.prompt.mean_tokens)
    prefix = round(prompt * load.prefix_hit_share)
    rate = share * (load.requests_per_s or evaluation.predicted.requests_per_s)
    where = service["metadata"]
    return [
        "--backend=openai",
        f"--base-url=http://{where['name']}.{where['namespace']}.svc:{PORT}",
        f"--model={group.model.name}",
        f"--served-model-name={served}",
        "--dataset-name=random",
        f"--random-input-len={prompt - prefix}",
        f"--random-prefix-len={prefix}",
        f"--random-output-len={round(load.output.mean_tokens)}",
        "--ignore-eos",
        *_arrivals(load, share),
        f"--num-prompts={max(_FEWEST_REQUESTS, math.ceil(rate * LASTS_S))}",
        "--save-result",  # into the log, as its last line
        "--result-dir=/dev",
        "--result-filename=stdout",
    ]


def _arrivals(load: Workload, share: float) -> list[str]:
    if load.requests_per_s is None:
        return [f"--max-concurrency={max(1, round(share * (load.concurrency or 1)))}"]
    burstiness = 1 / max(load.arrival_cv, 0.01) ** 2  # the shape of a gamma distribution
    return [f"--request-rate={share * load.requests_per_s:g}", f"--burstiness={burstiness:g}"]
