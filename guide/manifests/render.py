"""A recommendation as Kubernetes objects and as the files of a kustomize base (pure).

The ConfigMap that the operator writes and ``guide render`` use `render_files`, and so hold the
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from guide.domain import Evaluation, Recommendation
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.manifests.autoscaling import NONE, autoscaled
from guide.manifests.helm_values import helm_values
from guide.manifests.inferencepool import inference_pools
from guide.manifests.job import batch_objects, how_to_split
from guide.manifests.leaderworkerset import leader_worker_sets
from guide.manifests.llminferenceservice import llm_inference_service
from guide.manifests.objects import Named, launch_options, served, traffic
from guide.report.review import review_markdown
from guide.spec import InferencePlan, write_document

DEFAULT_FORMAT = "kustomize"
_OF_DEPLOYMENTS = (DEFAULT_FORMAT, "inferencepool")
KUSTOMIZATION = "kustomization.yaml"


def render_files(
    plan: InferencePlan,
    recommendation: Recommendation,
    *,
    form: str = DEFAULT_FORMAT,
    autoscaling: str = NONE,
) -> dict[str, str]:
    """File name -> text: manifests, ``kustomization.yaml`` and ``REVIEW.md``.

    An infeasible recommendation gives ``REVIEW.md`` alone. Raises `SpecError` when the deployment
    needs an image that nobody named, when `form` cannot hold it, or when nothing says how to scale.
    """
    files = {"REVIEW.md": review_markdown(plan, recommendation)}
    if recommendation.best is None:
        return files
    _held_by(plan, form, recommendation.best)
    if autoscaling != NONE and form not in _OF_DEPLOYMENTS:
        raise SpecError(f"--autoscaling scales Deployments, which --format {form} has not")
    objects = formats()[form](plan, recommendation.best)
    objects = autoscaled(plan, recommendation, autoscaling, objects)
    if plan.spec.workload.offline is not None:
        files["REVIEW.md"] += f"\n{how_to_split(objects)}"
    if form != "helm-values":
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": sorted(name for name, _ in objects),
        }
        objects = [*objects, (KUSTOMIZATION, kustomization)]
    for name, value in objects:
        files[name] = write_document(value)
    return dict(sorted(files.items()))


def _held_by(plan: InferencePlan, form: str, best: Evaluation) -> None:
    if form != DEFAULT_FORMAT and plan.spec.workload.offline is not None:
        raise SpecError(
            f"--format {form} holds servers, and spec.workload.offline is a batch, which is a Job: "
            f"take --format {DEFAULT_FORMAT}"
        )
    for name in sorted({item.group.framework for item in best.groups}):
        if form != DEFAULT_FORMAT and form not in FRAMEWORKS[name].formats:
            able = [each.name for each in FRAMEWORKS.values() if form in each.formats]
            raise SpecError(
                f"--format {form} serves {' and '.join(able)} only, and {name} was chosen: leave "
                "it out of spec.frameworks, or take another format"
            )


def formats() -> dict[str, Callable[[InferencePlan, Evaluation], Named]]:
    """The forms of output by name."""
    return {
        DEFAULT_FORMAT: build_objects,
        "helm-values": helm_values,
        "inferencepool": inference_pools,
        "leaderworkerset": leader_worker_sets,
        "llminferenceservice": llm_inference_service,
    }


def build_objects(plan: InferencePlan, evaluation: Evaluation) -> Named:
    """File name and object for everything to be applied, sorted by file name.

    Raises `SpecError` for what no image or no framework can run.
    """
    if plan.spec.workload.offline is not None:
        return batch_objects(plan, evaluation, plan.spec.workload.offline.requests)
    objects = served(plan, evaluation, launch_options(plan))
    return sorted((objects | traffic(plan, evaluation.groups)).items())
