"""An offline batch as Jobs, one a replica group: a pod a replica, a file of requests a pod (pure).

The requests lie on a claim of the user's, split beforehand, since every pod must know its part
without asking anybody. A Job is immutable, so its name holds a digest of it: other content is
another Job, and the former one is pruned. None removes itself when it is done: a Job that is gone
would be made anew by whoever applies the folder.
"""

from __future__ import annotations

import hashlib
import json
import math

from guide.domain import Evaluation, GroupEvaluation
from guide.frameworks import Launch
from guide.frameworks.base import BATCH_FOLDER
from guide.manifests.deployment import Object, replica_template, workload_meta
from guide.manifests.names import LIMIT, object_name
from guide.manifests.objects import (
    Named,
    beside_pods,
    deployable,
    launch_options,
    monitoring,
)
from guide.spec import InferencePlan

TO_DO = "guide.dev/to-do"
_PART = "$(JOB_COMPLETION_INDEX)"  # set by the Job controller
_RETRIES = 3  # of a part; nodes that are drained or taken away do not count
_NO_LIMIT = 2**31 - 1  # what the API server makes of a limit that is stated for each index instead
_GRACE_S = 30


def batch_objects(plan: InferencePlan, evaluation: Evaluation, requests: int) -> Named:
    """File name and object for everything to be applied for a batch, sorted by file name."""
    options = launch_options(plan)
    objects: dict[str, Object] = {}
    launches: list[Launch] = []
    for index, group in enumerate(evaluation.groups):
        files = (part_file(kind, index, _PART) for kind in ("requests", "answers"))
        paths = (f"{BATCH_FOLDER}/{name}" for name in files)
        launch = deployable(group.group).batch_launch(group.group, options, *paths)
        launches.append(launch)
        objects[f"job-{index}.yaml"] = job(plan, index, group, launch, requests)
        objects |= beside_pods(plan, index, group, launch)
    return sorted((objects | monitoring(plan, launches)).items())


def how_to_split(objects: Named) -> str:
    """A section of REVIEW.md: which files of requests the Jobs read, and how to make them."""
    lines = ["## Requests of the batch", ""]
    for _, value in objects:
        if value["kind"] != "Job":
            continue
        metadata, parts = value["metadata"], value["spec"]["completions"]
        group = metadata["name"].rsplit("-", 2)[1]
        file = f'"{part_file("requests", int(group), "@")}"'.replace("@", f'" (NR - 1) % {parts} "')
        lines += [
            f"Before Job `{metadata['name']}` runs, {metadata['annotations'][TO_DO]}. Dealt in "
            "turn, the parts are alike:",
            "",
            f"    awk '{{ print > ({file}) }}' batch.jsonl",
            "",
        ]
    return "\n".join(lines)


def part_file(kind: str, group: int, part: int | str) -> str:
    """The file of a part's ``requests`` or ``answers``, in the format of OpenAI's batches."""
    return f"{kind}-{group}-{part}.jsonl"


def batch_claim(plan: str) -> str:
    """The PersistentVolumeClaim with the requests of `plan`, in its namespace."""
    return object_name(plan, "batch")


def job(
    plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch, requests: int
) -> Object:
    """The Job of one replica group, for its share of the `requests` of the batch."""
    parts = group.group.replicas
    share = math.ceil(requests * group.group.load_share / parts)
    spec: Object = {
        "backoffLimit": _NO_LIMIT,
        "backoffLimitPerIndex": _RETRIES,  # a part that fails leaves the others their work
        "completionMode": "Indexed",
        "completions": parts,
        "manualSelector": False,
        "parallelism": parts,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"status": "True", "type": "DisruptionTarget"}],
                }
            ]
        },
        "podReplacementPolicy": "Failed",  # the next attempt needs the GPUs of the last one
        "suspend": False,
        "template": _template(plan, index, group, launch, share),
    }
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    metadata = workload_meta(plan, index, group)
    last = part_file("requests", index, parts - 1)
    to_do = (
        f"put {part_file('requests', index, 0)} to {last}, up to {share} requests each, on claim "
        f"{batch_claim(plan.metadata.name)}"
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **metadata,
            # The pods get names with their index behind it.
            "name": object_name(
                plan.metadata.name, f"{index}-{digest}", LIMIT - len(f"-{parts - 1}")
            ),
            "annotations": {**metadata.get("annotations", {}), TO_DO: to_do},
        },
        "spec": spec,
    }


def _template(
    plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch, share: int
) -> Object:
    """Its annotation makes a batch of other length another Job, though its pods were the same."""
    template = replica_template(plan, index, group, launch)
    metadata, pod = template["metadata"], template["spec"]
    (container,) = pod["containers"]
    mount = {"mountPath": BATCH_FOLDER, "name": "batch"}
    volume = {
        "name": "batch",
        "persistentVolumeClaim": {"claimName": batch_claim(plan.metadata.name)},
    }
    return {
        "metadata": {
            **metadata,
            "annotations": {**metadata.get("annotations", {}), "guide.dev/requests": str(share)},
        },
        "spec": {
            **pod,
            "containers": [{**container, "volumeMounts": [*container["volumeMounts"], mount]}],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": _GRACE_S,
            "volumes": [*pod["volumes"], volume],
        },
    }
