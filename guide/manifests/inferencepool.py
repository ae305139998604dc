"""Deployments behind a router of Gateway API's inference extension: InferencePool
(inference.networking.k8s.io/v1) and HTTPRoute (pure).

The endpoint picker is the user's to install, by its own chart; a pool names its Service. One picker
serves one pool, and is calibrated with one peak prefill throughput, so each replica group is a pool
and the route weighs them.
https://gateway-api-inference-extension.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import Evaluation, GroupEvaluation
from guide.errors import SpecError
from guide.manifests.deployment import Object, selector
from guide.manifests.names import meta, object_name
from guide.manifests.objects import Named, launch_options, route, served
from guide.spec import InferencePlan
from guide.spec.plan import EndpointPickerSpec
from guide.units import significant

GROUP = "inference.networking.k8s.io"
PORT = 8000  # of every pod, whatever the engine
PICKER = "epp"  # how the picker's own chart names its Service: that of the pool and -epp
_LONGEST = 63 - len(f"-{PICKER}")  # of a pool's name, so that its picker's is a Service's too


def inference_pools(plan: InferencePlan, evaluation: Evaluation) -> Named:
    """File name and object for everything to be applied, sorted by file name.

    Raises `SpecError` where one picker is named for several pools.
    """
    gateway = plan.spec.output.gateway
    picker = EndpointPickerSpec() if gateway is None else gateway.endpoint_picker
    if picker.name and len(evaluation.groups) > 1:
        raise SpecError(
            f"spec.output.gateway.endpointPicker.name names one picker, and the answer has "
            f"{len(evaluation.groups)} pools, each with a picker of its own: leave the name out, "
            "or set spec.placement.mix to Never",
            field="spec.output.gateway.endpointPicker.name",
        )
    objects = served(plan, evaluation, replace(launch_options(plan), port=PORT))
    pools = [_pool(plan, index, group, picker) for index, group in enumerate(evaluation.groups)]
    backends = [
        {"group": GROUP, "kind": "InferencePool", "name": pool["metadata"]["name"]}
        for pool in pools
    ]
    objects |= {f"inferencepool-{index}.yaml": pool for index, pool in enumerate(pools)}
    objects["httproute.yaml"] = route(plan, backends, evaluation.groups)
    return sorted(objects.items())


def _pool(
    plan: InferencePlan, index: int, group: GroupEvaluation, picker: EndpointPickerSpec
) -> Object:
    """Defaults of the API are written out, so that a server-side apply shows no drift."""
    name = object_name(plan.metadata.name, str(index), _LONGEST)
    metadata = meta(plan, name, group.group.framework)
    if said := _peak(group):
        metadata["annotations"] = said
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "InferencePool",
        "metadata": metadata,
        "spec": {
            "endpointPickerRef": {
                "failureMode": "FailClose",
                "group": "",
                "kind": "Service",
                "name": picker.name or f"{name}-{PICKER}",
                "port": {"number": picker.port},
            },
            "selector": {"matchLabels": selector(plan.metadata.name, index)},
            "targetPorts": [{"number": PORT}],
        },
    }


def _peak(group: GroupEvaluation) -> dict[str, str]:
    """What to calibrate the picker with: prompt tokens/s of one replica, how sure, and of what."""
    peak, within = group.peak_prefill_tokens_per_s, group.peak_prefill_interval
    if peak is None or within is None:
        return {}
    ends = (significant(within.lower), significant(within.upper))
    return {
        "guide.dev/peak-prefill-tokens-per-second": f"{significant(peak):.0f}",
        "guide.dev/peak-prefill-interval90": "-".join(f"{end:.0f}" for end in ends),
        "guide.dev/peak-prefill-provenance": group.provenance.value,
        "guide.dev/peak-prefill-of": f"{group.group.model.name} on "
        f"{group.group.gpus_per_replica} x {group.group.gpu.name}",
    }
